"""Zip archives by torch.save: their pickle and tensors, with all lengths checked."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from effscope.checkpoint.pickled.policy import MAX_PICKLE_BYTES, shown
from effscope.checkpoint.pickled.records import TensorRecord
from effscope.errors import EffscopeError

MAX_ENTRIES = 200_000
MAX_RATIO = 200
MAX_DIMS = 64
MAX_TEXT_BYTES = 16 * 2**20
MAX_EXTENT = 2**40
AGAIN = "download or save it again"


class CheckedZip:
    """An open zip archive with a checked directory; a context manager.

    Its error messages do not have the name of the file; `read_checkpoint` adds it.
    """

    def __init__(self, path: Path) -> None:
        """Open the archive and check its directory.

        Args:
            path: A file that begins like a zip archive.

        Raises:
            EffscopeError: It is truncated or damaged, its sizes are not plausible, or it is another kind of archive.
        """
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # a damaged zip raises BadZipFile, ValueError, struct.error, ...
            raise EffscopeError(
                f"it is a zip archive and its end is missing or damaged, cut at {path.stat().st_size} bytes: "
                "download or copy it again"
            ) from error
        try:
            self._entries = {info.filename: info for info in self._zip.infolist()}
            self._check_sizes(path.stat().st_size)
            self._folder = self._find_folder()
            self._check_byte_order()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        """The archive itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._zip.close()

    def names(self) -> list[str]:
        """Names of the entries, relative to the archive's folder."""
        return [name.removeprefix(f"{self._folder}/") for name in self._entries]

    def _check_sizes(self, n_file_bytes: int) -> None:
        infos = self._zip.infolist()
        if len(infos) > MAX_ENTRIES or len(infos) != len(self._entries):
            raise EffscopeError(f"it is a zip archive with repeated or too many entries: {AGAIN}")
        if sum(info.compress_size for info in infos) > n_file_bytes:
            raise EffscopeError(f"it is a zip archive with overlapping entries: {AGAIN}")
        for info in infos:
            stored = info.compress_type == zipfile.ZIP_STORED
            limit = info.compress_size * (1 if stored else MAX_RATIO)
            if info.file_size > limit:
                raise EffscopeError(
                    f"entry {shown(info.filename)} claims {info.file_size} bytes in {info.compress_size}: "
                    "it is a zip bomb or damaged, do not use it"
                )

    def _find_folder(self) -> str:
        """The folder that holds all entries."""
        raise NotImplementedError

    def _check_byte_order(self) -> None:
        info = self._entries.get(f"{self._folder}/byteorder")
        if info is not None and self._read(info) != b"little":
            raise EffscopeError("it was saved on a big-endian machine: re-save it there as safetensors")

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(info)
        except MemoryError:
            raise
        except Exception as error:  # bad checksum, bad header, encryption, unknown compression
            raise EffscopeError(f"entry {shown(info.filename)} is damaged or encrypted: {AGAIN}") from error


class TorchArchive(CheckedZip):
    """A file by torch.save or torch.jit.save: a pickle and the storages that it refers to."""

    def __init__(self, path: Path) -> None:
        """Open the archive; arguments and errors as in `CheckedZip`."""
        super().__init__(path)
        self._storages: dict[str, bytearray] = {}

    @property
    def is_script(self) -> bool:
        """Whether it is by torch.jit.save. Its code is read as text."""
        return f"{self._folder}/constants.pkl" in self._entries

    def pickle_bytes(self) -> bytes:
        """The pickle that describes the checkpoint.

        Raises:
            EffscopeError: It is too large or damaged.
        """
        info = self._entries[f"{self._folder}/data.pkl"]
        if info.file_size > MAX_PICKLE_BYTES:
            raise EffscopeError(
                f"its pickle has {info.file_size} bytes, more than the {MAX_PICKLE_BYTES} a checkpoint "
                "needs: re-save only the state dict"
            )
        return self._read(info)

    def text(self, name: str) -> str:
        """A text entry, by its name in the archive's folder; empty if there is none or it is too large.

        Raises:
            EffscopeError: It is damaged.
        """
        info = self._entries.get(f"{self._folder}/{name}")
        if info is None or info.file_size > MAX_TEXT_BYTES:
            return ""
        return self._read(info).decode("utf-8", "replace")

    def tensor(self, record: TensorRecord) -> torch.Tensor:
        """Build a tensor on the CPU. Tensors with the same storage share memory, as in torch.

        Args:
            record: The tensor as described in the pickle; it is checked.

        Returns:
            A tensor of the recorded shape and dtype, without gradient.

        Raises:
            EffscopeError: It reaches beyond its storage.
        """
        check_extent(record)
        storage = record.storage
        dtype: torch.dtype = getattr(torch, record.dtype)
        buffer = self._storage(storage.key)
        if storage.n_elements * dtype.itemsize > len(buffer):
            raise EffscopeError(
                f"storage {shown(storage.key)} has {len(buffer)} bytes for {storage.n_elements} numbers of "
                f"{record.dtype}: the file is damaged, {AGAIN}"
            )
        if math.prod(record.size) == 0:
            return torch.empty(record.size, dtype=dtype)
        flat = torch.frombuffer(buffer, dtype=dtype, count=storage.n_elements)
        return flat.as_strided(record.size, record.stride, record.offset)

    def _find_folder(self) -> str:
        """The folder of data.pkl."""
        names = [name for name in self._entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise EffscopeError("it is a zip archive, but not by torch.save: unpack it and give the weights file")
        return names[0].removesuffix("/data.pkl")

    def _storage(self, key: str) -> bytearray:
        if key not in self._storages:
            info = self._entries.get(f"{self._folder}/data/{key}")
            if info is None:
                raise EffscopeError(f"the numbers of storage {shown(key)} are missing: {AGAIN}")
            self._storages[key] = bytearray(self._read(info))
        return self._storages[key]


def check_extent(record: TensorRecord) -> None:
    """Check that a tensor is inside its storage, by the numbers in the file.

    Raises:
        EffscopeError: It does not, or the numbers are impossible.
    """
    size, stride = record.size, record.stride
    if len(size) != len(stride) or len(size) > MAX_DIMS:
        raise EffscopeError(f"a tensor of {len(size)} dimensions has {len(stride)} strides: {AGAIN}")
    if any(not 0 <= part <= MAX_EXTENT for part in (*size, *stride, record.offset)):
        raise EffscopeError(f"a tensor has a negative or too large shape, stride or offset: {AGAIN}")
    n_elements = math.prod(size)
    if math.prod(max(part, 1) for part in size) > MAX_EXTENT:
        raise EffscopeError(f"a tensor has a too large shape: {AGAIN}")
    last = record.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if n_elements and (n_elements > record.storage.n_elements or last >= record.storage.n_elements):
        raise EffscopeError(
            f"a tensor of shape {size} at offset {record.offset} reaches past its storage of "
            f"{record.storage.n_elements} numbers: {AGAIN}"
        )
