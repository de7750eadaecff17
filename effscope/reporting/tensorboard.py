"""The curves of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from effscope.errors import EffscopeError

FOLDER = "tensorboard"


def check_installed() -> None:
    """Raises EffscopeError if TensorBoard is not installed. Imports nothing."""
    if find_spec("tensorboard") is None:
        raise _missing()


def _missing() -> EffscopeError:
    return EffscopeError('`track` needs TensorBoard: pip install "effscope[track]"')


def board(folder: Path) -> Callable[[dict[str, float]], None]:
    """Returns a function that writes the row of an epoch to the event files in `folder/tensorboard`.

    A resumed training replaces the epochs that it repeats.

    Raises:
        EffscopeError: TensorBoard is not installed.
    """
    check_installed()
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError:
        raise _missing() from None
    writer: Any = None

    def take(row: dict[str, float]) -> None:
        nonlocal writer
        epoch = round(row["epoch"])
        if writer is None:
            writer = SummaryWriter(str(folder / FOLDER), purge_step=epoch)
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(f"{_GROUPS.get(name, 'training')}/{name}", value, epoch)
        writer.flush()

    return take


_GROUPS = {
    "box": "loss", "cls": "loss", "dfl": "loss", "ap": "val", "ap50": "val",
    "gap": "matching", "top1": "matching", "top5": "matching", "top10": "matching",
}  # fmt: skip
