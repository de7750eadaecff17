"""Image files that end too early: never trained on with grey in place of the picture, always said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from effscope.data.check import decodable, fault_lines
from effscope.data.cut_short import FilledWithGrey
from effscope.data.load import load
from effscope.data.read import decode
from effscope.errors import EffscopeError

NOISE = np.random.default_rng(0).integers(0, 255, (123, 171, 3), dtype=np.uint8)
GREY_BELOW = np.vstack((NOISE[:60], np.full((63, 171, 3), 128, np.uint8)))
WAYS = {
    "full colour": {"subsampling": 0},
    "half colour": {"subsampling": 2},
    "restarts": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


def jpeg(pixels: np.ndarray, way: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **WAYS[way])
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pixels", [NOISE, GREY_BELOW, GREY_BELOW * 0 + 128], ids=["noise", "grey below", "grey"])
def test_a_cut_file_is_refused_and_a_whole_one_is_not(pixels: np.ndarray, way: str, mode: str, tmp_path: Path) -> None:
    """With an end marker after the cut, Pillow fills the rest with grey and says nothing."""
    file, whole = tmp_path / "a.jpg", jpeg(pixels, way, mode)
    for end in (b"", b"\0" * 50, b"something else"):
        file.write_bytes(whole + end)
        assert decode(file).shape == pixels.shape
    start = whole.find(b"\xff\xda") + 20
    for share in (0.1, 0.5, 0.9):
        cut = whole[: start + int(share * (len(whole) - start))]
        for end in (b"", b"\xff\xd9") if way != "progressive" else (b"",):
            file.write_bytes(cut + end)
            kind = FilledWithGrey if end else EffscopeError
            with pytest.raises(kind, match=r"a\.jpg is cut short .*: replace the file"):
                decode(file)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "gif"])
def test_also_if_another_library_lets_pillow_fill_it(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(NOISE).save(file)
    decode(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(Exception, match=f"a.{suffix}"):
        decode(file)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_the_check_says_which_file_is_cut_short_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    whole = jpeg(NOISE, "half colour")
    files = {"whole": whole, "cut": whole[:3000], "closed": whole[:3000] + b"\xff\xd9", "text": b"no picture"}
    for name, content in files.items():
        (tmp_path / "images" / f"{name}.jpg").write_bytes(content)
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a]\n")
    data = decodable(load(str(tmp_path), "train"))
    assert [sample.name for sample in data.samples] == ["whole.jpg"]
    unreadable, cut = fault_lines(data)
    assert unreadable.startswith("unreadable image: 2, dropped")
    assert cut.startswith(
        "JPEG cut short and closed: 1, dropped, because decoders fill the missing part with grey (e.g. "
    )
    assert "closed.jpg is cut short" in cut
    assert {name: (tmp_path / "images" / f"{name}.jpg").read_bytes() for name in files} == files
