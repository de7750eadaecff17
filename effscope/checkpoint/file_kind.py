"""The kind of a file by its content. Files named `best.pt` can be anything."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Literal

from effscope.errors import EffscopeError

HEAD_BYTES = 4096
ONNX_START = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x3a\x42]")
TORCH_LEGACY = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
RESAVE = "open it with torch on a machine you trust and save it with torch.save(model.state_dict(), 'weights.pt')"

# (offset, first bytes, what it is and what to do)
BINARY_KINDS: tuple[tuple[int, bytes, str], ...] = (
    (2, TORCH_LEGACY, f"it is a torch checkpoint in the old format, from before torch 1.6: {RESAVE}"),
    *((0, bytes((0x80, n)), f"it is a plain pickle, not a torch checkpoint: {RESAVE}") for n in range(2, 6)),
    (0, b"\x1f\x8b", "it is a gzip archive: unpack it and give the weights file inside"),
    (257, b"ustar", "it is a tar archive: unpack it and give the weights file inside"),
    (0, b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive: unpack it and give the weights file inside"),
    (0, b"Rar!", "it is a RAR archive: unpack it and give the weights file inside"),
    (0, b"%PDF", "it is a PDF document, not weights: get the weights file"),
    (0, b"\x89PNG", "it is an image (PNG), not weights: get the weights file"),
    (0, b"\xff\xd8\xff", "it is an image (JPEG), not weights: get the weights file"),
    (0, b"\x89HDF", "it is an HDF5 file (Keras), not torch weights: give a .pt or .safetensors file"),
    (4, b"TFL3", "it is a TFLite model, not torch weights: give a .pt or .safetensors file"),
    (0, b"GGUF", "it is a GGUF file, not torch weights: give a .pt or .safetensors file"),
)

# (pattern at the beginning of some line, what it is and what to do)
TEXT_KINDS: tuple[tuple[str, str], ...] = (
    (
        r"\A\s*<(!doctype html|html|head|body)",
        "it is a web page (HTML), not weights: use the download link of the file, not the link of the page",
    ),
    (r"\A\s*<", "it is XML text, often an error answer of a server, not weights: download it again"),
    (r"\A\s*[{\[]", "it is JSON text, not weights: give the .pt or .safetensors file"),
    (
        r"^(#!.*python|import \w|from [\w.]+ import |print\(|def \w+\(|class \w+[(:]|\"\"\")",
        "it is Python source code, not weights: give the .pt or .safetensors file it saves",
    ),
)


def file_kind(path: Path) -> Literal["torch_zip", "safetensors", "onnx"]:
    """The kind of a weights file, by its content.

    Raises:
        EffscopeError: There is no such file, or it is something else. The message says what it is, without the file
            name.
    """
    head, n_bytes = _head(path)
    if head.startswith(b"PK\x03\x04"):
        return "torch_zip"
    header_bytes = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_bytes < n_bytes:
        return "safetensors"
    if path.suffix == ".safetensors" and _text(head) is None:
        raise EffscopeError("it is a damaged or cut safetensors file: download or save it again")
    if _looks_like_onnx(head):
        return "onnx"
    for offset, magic, message in BINARY_KINDS:
        if head[offset:].startswith(magic):
            raise EffscopeError(message)
    raise EffscopeError(_text_kind(head, n_bytes))


def _looks_like_onnx(head: bytes) -> bool:
    """Whether the bytes begin like an ONNX model.

    A protobuf has no magic number. Every model starts with field 1 (the format version, a small number), then strings
    (2-6), a number (5), the graph (7) or an operator set (8).
    """
    return ONNX_START.match(head) is not None


def _head(path: Path) -> tuple[bytes, int]:
    """The first bytes of the file and its size in bytes. Raises EffscopeError if it is empty or not a regular file."""
    if path.is_dir():
        raise EffscopeError("it is a folder: give the .pt or .safetensors file inside it")
    if not path.exists():
        raise EffscopeError("there is no such file: check the path")
    if not path.is_file():
        raise EffscopeError("it is a device or a pipe: give a .pt or .safetensors file")
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise EffscopeError("it is empty (0 bytes): the download or the save failed, do it again")
    return head, path.stat().st_size


def _text(head: bytes) -> str | None:
    """The head as text, or None if it is binary. It may end within a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    return None if re.search(r"[\x00-\x08\x0e-\x1f]", text) else text


def _text_kind(head: bytes, n_bytes: int) -> str:
    """Description of a file that has no known binary kind, and what to do."""
    text = _text(head)
    if text is None:
        return "it is not a weights file that effscope can read: give a .pt or .safetensors file"
    if not text.strip():
        return f"it holds only an empty line ({n_bytes} bytes): the download or the save failed, do it again"
    if text.startswith("version https://git-lfs"):
        size = re.search(r"^size (\d+)", text, re.MULTILINE)
        target = f" of a file of {size[1]} bytes" if size else ""
        return f"it is only the git-lfs pointer{target}: run `git lfs pull` in its repository"
    for pattern, message in TEXT_KINDS:
        if re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
            return message
    return "it is a text file, not weights: give the .pt or .safetensors file"
