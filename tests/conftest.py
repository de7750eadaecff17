"""Fixtures that more than one test file uses."""

from __future__ import annotations

import gc
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import TorchZip
from threadpoolctl import threadpool_limits

gc.freeze = lambda: None  # commands do it for a process that ends with them; this one goes on
torch.set_num_threads(1)  # as the peers have: another number sums in another order, and random nets amplify that
threadpool_limits(1, "blas")  # two workers with two LAPACK threads each take minutes over small matrices


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of real data beside the repository; a test that asks for it is skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{request.node.name} needs the real files in {folder}")
    return folder


@pytest.fixture
def torch_zip(tmp_path: Path) -> TorchZip:
    """Writes a torch-like zip from a pickle (bytes, or a value to pickle) and storages by key."""

    def write(content: Any, storages: Mapping[str, bytes] | None = None, **options: Any) -> Path:
        raw = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
        path = tmp_path / "made.pt"
        with zipfile.ZipFile(path, "w", **options) as archive:
            archive.writestr("archive/data.pkl", raw)
            archive.writestr("archive/version", "3\n")
            for key, data in (storages or {}).items():
                archive.writestr(f"archive/data/{key}", data)
        return path

    return write
