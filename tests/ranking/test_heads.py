"""Attention heads: their weights computed in another way, entropies and similarities by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from effscope import api
from effscope.models.open import open_model
from effscope.models.opened import TracedModel
from effscope.nn.function_modules import Attention, Float32Softmax, ScaledAttention, SelfAttention
from effscope.ranking.heads import WEIGHTS, HeadStatistics, attention_nodes

RANDOM = torch.Generator().manual_seed(0)


def weights_by_values(op: str, part: nn.Module, q: Tensor, k: Tensor, more: tuple[Tensor, ...] = ()) -> Tensor:
    """Attention weights from the output of the module: with unit vectors as values, the output is the weights."""
    n = k.shape[-1] if op == "attention" else k.shape[-2]
    eye = torch.eye(n).expand(*q.shape[:-2], n, n)
    out: Tensor = part(q, k, eye, *more)
    return out.transpose(-2, -1) if op == "attention" else out


@pytest.mark.parametrize("shape", [(2, 3, 4, 10), (1, 2, 3, 4, 6)])
def test_weights_of_map_attention(shape: tuple[int, ...]) -> None:
    q, k = (torch.randn(shape, generator=RANDOM) for _ in range(2))
    part = Attention(0.7)
    found = WEIGHTS["attention"](part, (q, k, q), q).transpose(0, 1)
    assert torch.allclose(found, weights_by_values("attention", part, q, k), atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "scale", "causal", "added", "allowed"])
def test_weights_of_scaled_attention(kind: str) -> None:
    q, k = (torch.randn(2, 3, 10, 4, generator=RANDOM) for _ in range(2))
    part = ScaledAttention(0.3 if kind == "scale" else None, kind == "causal")
    masks = {"added": torch.randn(2, 3, 10, 10, generator=RANDOM), "allowed": torch.rand(10, 10) > 0.3}
    if "allowed" in masks:
        masks["allowed"].fill_diagonal_(True)
    mask = (masks[kind],) if kind in masks else ()
    found = WEIGHTS["sdpa"](part, (q, k, q, *mask), q).transpose(0, 1)
    assert torch.allclose(found, weights_by_values("sdpa", part, q, k, mask), atol=1e-6)


def test_weights_of_multi_head_attention() -> None:
    part = SelfAttention(12, 3, batch_first=True).eval()
    nn.init.normal_(part.in_proj_bias)
    q, v = torch.randn(2, 7, 12, generator=RANDOM), torch.randn(2, 7, 12, generator=RANDOM)
    expected = nn.MultiheadAttention.forward(part, q, q, v, need_weights=True, average_attn_weights=False)[1]
    assert expected is not None
    assert torch.allclose(WEIGHTS["mha"](part, (q, q, v), q).transpose(0, 1), expected, atol=1e-6)


def uses_of(weights: Tensor) -> Any:
    """Statistics of a softmax with these weights (B, heads, rows, choices) as output."""
    heads = HeadStatistics("attn", "softmax")
    heads(Float32Softmax(-1), (), weights)
    return heads.rows_of_heads()


def test_uniform_and_one_hot_heads_by_hand() -> None:
    uniform, first, second = torch.full((1, 4), 0.25), torch.eye(4)[:1], torch.eye(4)[1:2]
    found = uses_of(torch.stack([uniform, first, second, first])[None])
    assert [use.head for use in found] == [1, 2, 3, 4]
    assert found[0].entropy == pytest.approx(math.log(4))
    assert [use.entropy_ratio for use in found] == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-9)
    assert (found[1].nearest, found[1].nearest_similarity) == (4, pytest.approx(1.0))
    uniform_first = 1 - (-(0.625 * math.log(0.625) + 0.375 * math.log(0.125)) - math.log(4) / 2) / math.log(2)
    assert found[0].similarity == pytest.approx(uniform_first)
    assert found[1].similarity == pytest.approx((uniform_first + 0.0 + 1.0) / 3)
    (alone,) = uses_of(first[None, None])
    assert (alone.similarity, alone.nearest, alone.heads) == (None, None, 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 6), st.integers(2, 9), st.integers(0, 999))
def test_bounds_and_independence_of_the_chunks(batch: int, heads: int, rows: int, choices: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = (3 * torch.randn(batch, heads, rows, choices, generator=random)).softmax(-1)
    found = uses_of(weights)
    for use in found:
        assert -1e-9 <= use.entropy_ratio <= 1 + 1e-6
        assert -1e-9 <= use.similarity <= use.nearest_similarity <= 1 + 1e-9
    streamed = HeadStatistics("attn", "softmax")
    for image in weights:
        streamed(Float32Softmax(-1), (), image[None])
    for a, b in zip(found, streamed.rows_of_heads(), strict=True):
        assert (a.entropy, a.similarity) == (pytest.approx(b.entropy), pytest.approx(b.similarity))


def test_the_dimension_of_the_heads() -> None:
    """One head without a dimension for it; windows before the heads; heads in the batch dimension."""
    found = {}
    for shape in ((1, 6, 6), (1, 4, 2, 6, 6), (5, 6, 6)):
        heads = HeadStatistics("attn", "softmax")
        heads(Float32Softmax(-1), (), torch.rand(shape).softmax(-1))
        found[shape] = len(heads.rows_of_heads())
    assert list(found.values()) == [1, 2, 5]
    single = HeadStatistics("attn", "sdpa")
    q = torch.rand(1, 16, 4)
    single(ScaledAttention(None, False), (q, q, q), q)
    assert [use.positions for use in single.rows_of_heads()] == [16]


def test_masked_positions_are_not_choices() -> None:
    """Uniform over the positions that the mask allows is 1, for any mask."""
    heads = HeadStatistics("attn", "sdpa")
    q = torch.zeros(1, 2, 6, 4)
    heads(ScaledAttention(None, True), (q, q, q), q)
    assert [use.entropy_ratio for use in heads.rows_of_heads()] == pytest.approx([1.0, 1.0])


class Attends(nn.Module):
    """A convolution, then attention of the kind `form`."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv, self.form = nn.Conv2d(3, 16, 8, 8), form

    def forward(self, x: Tensor) -> Tensor:
        rows = self.conv(x).flatten(2).unflatten(1, (2, 8))  # (B, heads, 8, N)
        if self.form == "channels first":
            weights = (rows.transpose(-2, -1) @ rows).softmax(-1)
            return rows @ weights.transpose(-2, -1)
        q = self.conv(x).flatten(2).unflatten(1, (4, 4)).transpose(2, 3)
        k = q[:, :2]
        return nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)


def test_attention_written_with_channels_first_is_found() -> None:
    result = api.rank(Attends("channels first"), activations="builtin:shapes", limit=1, imgsz=64, at="all")
    assert [(use.heads, use.positions) for use in result.attention] == [(2, 64)] * 2


def test_ranks_are_given_even_if_heads_fail() -> None:
    result = api.rank(Attends("grouped queries"), activations="builtin:shapes", limit=1, imgsz=64, at="all")
    assert result.order == (1,)
    assert result.attention or any("attention heads could not be measured" in note for note in result.notes)


def test_a_softmax_over_another_dimension_is_not_attention() -> None:
    heads = HeadStatistics("attn", "softmax")
    heads(Float32Softmax(1), (), torch.rand(1, 2, 3, 3))
    assert heads.rows_of_heads() == ()


@pytest.mark.parametrize(
    ("name", "layers", "heads", "positions"),
    [
        ("yolov10n", 1, 2, 25),
        ("yolo12n", 8, None, None),
        ("torchvision:vit_b_16", 12, 12, 197),
        ("torchvision:swin_t", 12, None, 49),
        ("timm:mobilevit_xxs", 9, 4, None),
    ],
)
def test_attention_of_known_architectures(name: str, layers: int, heads: int | None, positions: int | None) -> None:
    side = 160 if name.startswith("yolo") else 224 if name.startswith("torchvision") else 256
    result = api.rank(name, activations="builtin:shapes", limit=1, imgsz=side)
    found: dict[str, list[int]] = {}
    for use in result.attention:
        found.setdefault(use.layer, []).append(use.head)
        assert heads in (None, use.heads)
        assert positions in (None, use.positions)
        assert 0 <= use.entropy_ratio <= 1 + 1e-6
    assert len(found) == layers
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in found.values())


def test_heads_of_a_traced_model_equal_those_of_its_attention() -> None:
    """Against the weights that torchvision's own multi-head attention returns, recorded by a hook."""
    from effscope.config import RankConfig
    from effscope.ranking.models import rank_model

    opened = open_model("torchvision:vit_b_16")
    assert isinstance(opened, TracedModel)
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def look(part: nn.Module, given: tuple[Tensor, ...], out: Any) -> None:
        weights = nn.MultiheadAttention.forward(
            part,
            given[0],
            given[0],
            given[0],
            need_weights=True,
            average_attn_weights=False,  # type: ignore[arg-type]
        )[1]
        assert weights is not None
        seen.append(weights)

    parts = [m for m in opened.module.modules() if isinstance(m, nn.MultiheadAttention)]
    handles = [p.register_forward_hook(look) for p in parts]
    with torch.no_grad():
        opened.module.eval()(image)
    for handle in handles:
        handle.remove()
    expected = [torch.special.entr(w.double()).sum(-1).mean(-1)[0] for w in seen]
    result = rank_model(opened, RankConfig(), images=[image])
    found = torch.tensor([use.entropy for use in result.attention]).view(12, 12)
    assert torch.allclose(found, torch.stack(expected).float(), atol=1e-4)


def test_no_heads_without_images() -> None:
    assert api.rank("yolov10n").attention == ()
    assert list(attention_nodes(open_model("yolov8n").graph)) == []
