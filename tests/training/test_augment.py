from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_detector import COLOURS, coloured_squares

from effscope.detect.bank import Bank, limited, load_bank
from effscope.detect.letterbox import PAD_VALUE
from effscope.recipes import Recipe
from effscope.training.augment import (
    Draws,
    Tile,
    arrange,
    colour,
    colour_matrices,
    flip,
    move_boxes,
    paint,
    worth_learning,
)
from effscope.training.batches import (
    batches,
    epoch_order,
    padded,
    plain_batch,
    training_batch,
)

IMGSZ = 64
CPU = torch.device("cpu")
NO_COLOUR = Recipe(hsv_h=0, hsv_s=0, hsv_v=0)
STILL = replace(NO_COLOUR, mosaic=0, scale=0, translate=0, flip_lr=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return load_bank(coloured_squares(12), IMGSZ)


def colour_share(image: torch.Tensor, box: torch.Tensor, label: int) -> float:
    """Share of the pixels inside a box, without its rim, that have the colour of the class."""
    x0, y0, x1, y1 = (box.round().int() + torch.tensor([1, 1, -1, -1])).tolist()
    inside = image[:, y0:y1, x0:x1].float()
    strong, weak = (0, 2) if COLOURS[label][0] > COLOURS[label][2] else (2, 0)
    return float((inside[strong] > inside[weak] + 0.2).float().mean()) if inside.numel() else 1.0


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
@pytest.mark.parametrize("flip_lr", [0.0, 1.0])
@pytest.mark.parametrize("flip_ud", [0.0, 1.0])
def test_boxes_stay_on_their_pixels(bank: Bank, mosaic: float, flip_lr: float, flip_ud: float) -> None:
    recipe = replace(NO_COLOUR, mosaic=mosaic, flip_lr=flip_lr, flip_ud=flip_ud)
    shares = []
    for seed in range(4):
        batch = training_batch(bank, range(12), recipe, Draws(generator(seed)))
        for k, n in batch.truth.valid.nonzero().tolist():
            shares.append(colour_share(batch.pixels(CPU)[k], batch.truth.boxes[k, n], int(batch.truth.labels[k, n])))
    assert len(shares) > 40
    assert sum(shares) / len(shares) > 0.9  # the rest is covered by later boxes of the generated images


def test_without_augmentation_the_batch_is_the_letterboxed_image(bank: Bank) -> None:
    batch = training_batch(bank, range(12), STILL, Draws(generator()))
    plain = plain_batch(bank, range(12))
    assert torch.equal(batch.truth.boxes, plain.truth.boxes)
    assert (batch.pixels(CPU) - plain.pixels(CPU)).abs().max() < 1e-5
    image = bank.images[3]
    top = (IMGSZ - image.shape[0]) // 2
    pixels = (plain.pixels(CPU)[3, :, top : top + image.shape[0]] * 255).round().byte()
    assert torch.equal(pixels, image.permute(2, 0, 1))
    assert (plain.pixels(CPU)[3, :, 0] * 255).round().unique().tolist() == [PAD_VALUE]


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_boxes_are_inside_and_large_enough(bank_seed: int) -> None:
    bank = load_bank(coloured_squares(6, seed=1), IMGSZ)
    batch = training_batch(bank, range(6), Recipe(), Draws(generator(bank_seed)))
    boxes = batch.truth.boxes[batch.truth.valid]
    assert bool(((boxes >= 0) & (boxes <= IMGSZ)).all())
    assert bool(((boxes[:, 2:] - boxes[:, :2]) > 2).all())
    assert batch.pixels(CPU).shape == (6, 3, IMGSZ, IMGSZ)
    assert 0 <= batch.pixels(CPU).min() <= batch.pixels(CPU).max() <= 1


def test_equal_seeds_give_equal_batches_and_keep_the_global_random_state(bank: Bank) -> None:
    before = torch.random.get_rng_state()
    first, second, other = (
        list(batches(bank, 5, Recipe(), generator(seed))) for seed in (3, 3, 4)
    )  # fmt: skip
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a.pixels(CPU), b.pixels(CPU)) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a.truth.boxes, b.truth.boxes) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].pixels(CPU), other[0].pixels(CPU))


def test_epoch_has_every_image_once() -> None:
    order = epoch_order(23, 5, generator())
    assert sorted(n for part in order for n in part) == list(range(23))
    assert [len(part) for part in order] == [5, 5, 5, 5, 3]


def test_mosaic_joins_four_images(bank: Bank) -> None:
    plan = arrange(range(12), bank.sizes, IMGSZ, Recipe(mosaic=1), Draws(generator()))
    assert {len(tiles) for tiles in plan} == {4}
    assert [tiles[0].source for tiles in plan] == list(range(12))
    plan = arrange(range(12), bank.sizes, IMGSZ, Recipe(mosaic=0), Draws(generator()))
    assert {len(tiles) for tiles in plan} == {1}


def test_a_tile_outside_is_left_out() -> None:
    image = torch.full((10, 10, 3), 7, dtype=torch.uint8)
    images, painted = paint(((Tile(0, 1.0, 70.0, 0.0), Tile(0, 2.0, 60.0, -4.0)),), [image], IMGSZ)
    assert [tile.left for tile in painted[0]] == [60.0]
    assert (images[0] == 7).nonzero()[:, :2].amin(0).tolist() == [0, 60]
    boxes, labels, owner = move_boxes(painted, [torch.tensor([[0.0, 0, 10, 10]])], [torch.tensor([1])], IMGSZ, Recipe())
    assert boxes.tolist() == [[60, 0, 64, 16]]
    assert labels.tolist() == [1]
    assert owner.tolist() == [0]


def test_boxes_that_are_hardly_visible_are_dropped() -> None:
    whole = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 20], [0, 0, 20, 20], [0, 0, 400, 3]])
    visible = torch.tensor([[0.0, 0, 10, 10], [0, 0, 2, 20], [0, 0, 5, 5], [0, 0, 400, 3]])
    assert worth_learning(whole, visible, Recipe()).tolist() == [True, False, False, False]


def test_two_flips_change_nothing() -> None:
    images = torch.randint(0, 255, (3, 8, 8, 3), dtype=torch.uint8, generator=generator())
    boxes, owner = torch.tensor([[1.0, 2, 3, 7], [0, 0, 8, 8]]), torch.tensor([0, 2])
    chosen = torch.tensor([True, False, True])
    for axis in (0, 1):
        once = flip(images, boxes, owner, chosen, axis)
        twice = flip(*once, owner, chosen, axis)
        assert torch.equal(twice[0], images)
        assert torch.equal(twice[1], boxes)
        assert not torch.equal(once[0], images)


def test_colour_changes_keep_grey_grey() -> None:
    matrices = colour_matrices(50, replace(Recipe(), hsv_v=0), Draws(generator()))
    grey = torch.full((50, 1, 1, 3), 100, dtype=torch.uint8)
    assert (colour(grey, matrices) * 255 - 100).abs().max() < 1e-3


def test_no_colour_change_is_the_identity() -> None:
    matrices = colour_matrices(4, NO_COLOUR, Draws(generator()))
    assert torch.allclose(matrices, torch.eye(3).expand(4, 3, 3), atol=1e-6)


def test_padding_keeps_every_box_with_its_image() -> None:
    boxes = torch.arange(12, dtype=torch.float32).view(3, 4)
    truth = padded(boxes, torch.tensor([4, 5, 6]), torch.tensor([0, 2, 2]), 3)
    assert truth.valid.tolist() == [[True, False], [False, False], [True, True]]
    assert torch.equal(truth.boxes[truth.valid], boxes)
    assert truth.labels[truth.valid].tolist() == [4, 5, 6]


def test_limit_is_spread_over_the_split() -> None:
    few = limited(coloured_squares(10), 4)
    assert [sample.name for sample in few.samples] == ["train0", "train2", "train5", "train7"]
    assert limited(few, 99) is few
