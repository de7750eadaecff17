from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effscope.detect.boxes import (
    area,
    ciou,
    dfl_expectation,
    distances_to_xyxy,
    iou_matrix,
    xywh_to_xyxy,
    xyxy_to_distances,
    xyxy_to_xywh,
)
from effscope.detect.letterbox import PAD_VALUE, letterbox, letterboxed, resize

coordinate = st.floats(-500, 500, width=32)
side = st.floats(1, 400, width=32)


@st.composite
def boxes(draw: st.DrawFn, n: int = 3) -> torch.Tensor:
    rows = []
    for _ in range(n):
        x, y, w, h = draw(coordinate), draw(coordinate), draw(side), draw(side)
        rows.append((x, y, x + w, y + h))
    return torch.tensor(rows)


@given(boxes())
def test_formats_round_trip(some: torch.Tensor) -> None:
    assert torch.allclose(xywh_to_xyxy(xyxy_to_xywh(some)), some, atol=1e-3)


@given(boxes(), st.tuples(coordinate, coordinate))
def test_distances_round_trip(some: torch.Tensor, at: tuple[float, float]) -> None:
    point = torch.tensor(at)
    assert torch.allclose(distances_to_xyxy(xyxy_to_distances(some, point), point), some, atol=1e-3)


@given(boxes(), boxes())
def test_iou_is_symmetric_and_within_0_and_1(a: torch.Tensor, b: torch.Tensor) -> None:
    iou = iou_matrix(a, b)
    assert torch.allclose(iou, iou_matrix(b, a).T, atol=1e-6)
    assert bool(((iou >= 0) & (iou <= 1)).all())
    assert torch.allclose(iou_matrix(a, a).diagonal(), torch.ones(len(a)), atol=1e-5)


@given(boxes(), boxes())
def test_ciou_is_at_most_iou(a: torch.Tensor, b: torch.Tensor) -> None:
    assert bool((ciou(a, b) <= iou_matrix(a, b).diagonal() + 1e-5).all())


@given(boxes())
def test_ciou_of_a_box_with_itself_is_one(a: torch.Tensor) -> None:
    assert torch.allclose(ciou(a, a), torch.ones(len(a)), atol=1e-4)


def test_ciou_by_hand() -> None:
    truth, predicted = torch.tensor([0.0, 0.0, 2.0, 4.0]), torch.tensor([2.0, 0.0, 6.0, 4.0])
    aspect = 4 / math.pi**2 * (math.atan(1.0) - math.atan(0.5)) ** 2
    expected = 0 - (4 - 1) ** 2 / (6**2 + 4**2) - aspect * aspect / (1 + aspect)
    assert ciou(truth, predicted).item() == pytest.approx(expected, abs=1e-5)


def test_inverted_box_has_no_area() -> None:
    assert area(torch.tensor([[5.0, 5.0, 3.0, 9.0]])).item() == 0


def test_dfl_expectation_of_bfloat16_is_float32_and_exact_for_a_peak() -> None:
    logits = torch.full((1, 64), -100.0, dtype=torch.bfloat16)
    for k, bin_ in enumerate((0, 3, 7, 15)):
        logits[0, k * 16 + bin_] = 100
    distances = dfl_expectation(logits)
    assert distances.dtype == torch.float32
    assert distances.tolist() == [[0, 3, 7, 15]]


sizes = st.tuples(st.integers(8, 3000), st.integers(8, 3000))


@given(sizes, st.sampled_from([256, 320, 640]), st.sampled_from([None, 32]))
def test_letterbox_round_trip(size: tuple[int, int], imgsz: int, stride: int | None) -> None:
    fit = letterbox(size, imgsz, stride)
    whole = torch.tensor([[0.0, 0.0, *map(float, size)]])
    inside = fit.forward(whole)
    slack = 1e-3
    assert inside.min() >= -slack
    assert inside[0, 2] <= fit.out[0] + slack
    assert inside[0, 3] <= fit.out[1] + slack
    assert torch.allclose(fit.back(inside), whole, rtol=1e-5, atol=0.05)


@given(sizes, st.sampled_from([250, 256, 640]))
def test_letterbox_sizes(size: tuple[int, int], imgsz: int) -> None:
    square, least = letterbox(size, imgsz), letterbox(size, imgsz, 32)
    assert square.out == (imgsz, imgsz)
    assert max(least.out) == -(-imgsz // 32) * 32
    assert all(side % 32 == 0 for side in least.out)
    assert square.resized == least.resized
    for fit in (square, least):
        for k in range(2):
            assert 0 <= fit.out[k] - fit.resized[k] - 2 * fit.pad[k] <= 1


def test_back_clips_to_the_image() -> None:
    fit = letterbox((640, 480), 256, 32)
    back = fit.back(torch.tensor([[-50.0, -50.0, 900.0, 900.0]]))
    assert back.tolist() == [[0, 0, 640, 480]]


def test_letterboxed_is_grey_around_the_image() -> None:
    image = torch.full((3, 30, 60), 200, dtype=torch.uint8)
    out = letterboxed(image, letterbox((60, 30), 64))
    assert out.shape == (3, 64, 64)
    assert out[:, 0].unique().tolist() == [PAD_VALUE]
    assert out[:, 16:48].unique().tolist() == [200]


def test_resize_does_not_antialias() -> None:
    stripes = torch.zeros(3, 8, 8, dtype=torch.uint8)
    stripes[:, :, ::4] = 255
    assert set(resize(stripes, (2, 2)).unique().tolist()) == {0}
