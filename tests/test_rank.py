"""Ranks: published counts, networks made with known ranks, laws of the measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import conv_at, golden, lively, norm_at
from torch import nn

from effscope import api
from effscope.config import RankConfig
from effscope.errors import EffscopeError
from effscope.expand import closing_conv, expand, stages
from effscope.families.catalog import layout
from effscope.nn.build import Network, build
from effscope.nn.fuse import folded_conv
from effscope.ranking.analyze import rank, take
from effscope.ranking.spectrum import Array
from effscope.results import StageRank
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

ORACLE = golden("rank_oracle_yolov8n.csv")
COLUMNS = {
    "stage": ("c_out_stage", "rank_last_conv_of_stage"),
    "block": ("c_out_block", "rank_last_conv_of_last_block"),
}


def by_stage(rows: tuple[StageRank, ...]) -> dict[int, StageRank]:
    return {row.stage: row for row in rows}


def orthogonal(random: np.random.Generator, n: int) -> Array:
    return np.asarray(np.linalg.qr(random.standard_normal((n, n)))[0])


def with_rank(shape: tuple[int, int], count: int, random: np.random.Generator) -> Array:
    """A matrix with exactly `count` singular values above half of the largest."""
    n = min(shape)
    values = np.concatenate([random.uniform(0.6, 1.0, count), random.uniform(0.0, 0.4, n - count)])
    values[0] = 1.0
    return np.asarray((orthogonal(random, shape[0])[:, :n] * values) @ orthogonal(random, shape[1])[:n])


def set_folded_weight(network: Network, conv_name: str, matrix: Array) -> None:
    """Give a convolution the weight that is `matrix` once its batch norm is folded in."""
    conv, norm = conv_at(network, conv_name), norm_at(network, conv_name.removesuffix("conv") + "bn")
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = torch.from_numpy(matrix).view(conv.weight.shape) / scale.view(-1, 1, 1, 1)
    conv.weight.data.copy_(weight)


@pytest.mark.parametrize("at", COLUMNS)
def test_published_ranks_of_coco_trained_yolov8n(shared: Path, at: str) -> None:
    result = api.rank(str(shared / "data" / "weights" / "yolov8n_coco.pt"), at=at)
    found = by_stage(result.stages)
    assert len(found) == len(ORACLE)
    for row in ORACLE:
        expected = tuple(int(row[name]) for name in COLUMNS[at])
        stage = found[int(row["stage"])]
        assert (stage.c_out, stage.rank) == expected
        assert stage.ratio == expected[1] / expected[0]
        assert stage.layer.startswith(f"model.{row['layer']}.")
    if at == "stage":
        assert result.order == (8, 4, 7, 5, 6, 1, 3, 2)
    assert result.definition["weights"] == "checkpoint"


@pytest.mark.parametrize("at", COLUMNS)
def test_ranks_of_a_network_made_with_the_published_ranks(at: str) -> None:
    model, random = layout("yolov8n", 3), np.random.default_rng(0)
    network = lively(model)
    for stage, row in zip(stages(model), ORACLE, strict=True):
        node = closing_conv(network.spec, stage, at)
        conv = conv_at(network, node.module)
        shape = (len(conv.weight), conv.weight[0].numel())
        set_folded_weight(network, node.module, with_rank(shape, int(row[COLUMNS[at][1]]), random))
    result = rank(network, model, RankConfig(at=at))
    assert {row.stage: row.rank for row in result.stages} == {int(r["stage"]): int(r[COLUMNS[at][1]]) for r in ORACLE}
    ratios = [row.ratio for row in result.stages]
    assert ratios == sorted(ratios)  # type: ignore[type-var]
    if at == "stage":
        assert result.order == (8, 4, 7, 5, 6, 1, 3, 2)
    raw = rank(network, model, RankConfig(at=at, fold_bn=False))
    assert raw.definition["fold_bn"] is False
    assert [r.rank for r in raw.stages] != [r.rank for r in result.stages]


def test_rank_is_the_count_of_an_independent_svd() -> None:
    model = layout("yolov8n", 3)
    network = lively(model)
    for at in COLUMNS:
        for threshold in (0.3, 0.5, 0.9):
            found = by_stage(rank(network, model, RankConfig(at=at, threshold=threshold)).stages)
            for stage in stages(model):
                name = closing_conv(network.spec, stage, at).module
                weight, _ = folded_conv(conv_at(network, name), norm_at(network, name[:-4] + "bn"))
                values = torch.linalg.svdvals(weight.flatten(1))
                assert found[stage.number].rank == int((values > threshold * values[0]).sum())
                share = values / values.sum()
                entropy = torch.exp(-(share * share.log()).sum()).item()
                assert found[stage.number].effective_rank == pytest.approx(entropy, rel=1e-6)
                stable = (values.square().sum() / values[0].square()).item()
                assert found[stage.number].stable_rank == pytest.approx(stable)


def test_equal_ratios_are_ordered_by_stage_and_name_each_other() -> None:
    model = layout("yolov8n", 3)
    network, random = lively(model), np.random.default_rng(1)
    for stage in stages(model):
        conv = conv_at(network, closing_conv(network.spec, stage).module)
        shape = (len(conv.weight), conv.weight[0].numel())
        quarter = stage.number in (2, 7, 5)
        count = shape[0] // 4 if quarter else shape[0] // 8 + stage.number
        set_folded_weight(network, closing_conv(network.spec, stage).module, with_rank(shape, count, random))
    result = rank(network, model, RankConfig())
    found = by_stage(result.stages)
    assert [found[k].tie for k in (2, 5, 7)] == [(5, 7), (2, 7), (2, 5)]
    at = result.order.index(2)
    assert result.order[at : at + 3] == (2, 5, 7)


def test_random_weights_show_the_null() -> None:
    result = api.rank("yolov8n")
    assert result.definition["weights"] == "random"
    for row in result.stages:
        assert row.ratio is not None
        assert row.null_ratio is not None
        assert 0 < row.null_ratio <= 1
        assert row.ratio == pytest.approx(row.null_ratio, abs=0.08)


def test_depthwise_closing_convolution_has_no_rank() -> None:
    layers = (
        Layer("a", "Conv", (16, 3, 2), (IMAGE,)),
        Layer("b", "C2f", (32, True), ("a",)),
        Layer("c", "C2fCIB", (32, True), ("b",)),
    )
    model = Layout("made", layers, Scale(), 3, 3)
    network = build(expand(model))
    result = rank(network, model, RankConfig(at="block"))
    rows = by_stage(result.stages)
    assert (rows[2].rank, rows[2].ratio, rows[2].effective_rank, rows[2].null_ratio) == (None, None, None, None)
    assert "depthwise" in rows[2].note
    assert result.order == (1,)
    assert [row.stage for row in result.stages] == [1, 2]
    assert by_stage(rank(network, model, RankConfig()).stages)[2].rank is not None


def hooks_of(network: Network) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_activation_rank_equals_an_offline_computation() -> None:
    model = layout("yolov8n", 3)
    network = lively(model)
    for norm in list(network.modules())[::7]:
        norm.training = True  # a mixed mode must come back as it was
    modes = [m.training for m in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    batches = list(torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    batches[2] = batches[2][:1]
    result = by_stage(rank(network, model, RankConfig(), images=iter(batches)).stages)
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    network.eval()
    for stage in stages(model):
        outputs: list[torch.Tensor] = []
        name = closing_conv(network.spec, stage).module
        conv = network.get_submodule(name)
        handle = conv.register_forward_hook(lambda m, i, out, kept=outputs: kept.append(out))
        with torch.no_grad():
            for batch in batches:
                network(batch)
        handle.remove()
        vectors = torch.cat([o.double().permute(0, 2, 3, 1).flatten(0, 2) for o in outputs])
        values = torch.linalg.eigvalsh(vectors.T.cov(correction=0)).flip(0).clamp_min(0).sqrt()
        row, share = result[stage.number], values / values.sum()
        assert row.rank == int((values > 0.5 * values[0]).sum())
        entropy = -(share * share.clamp_min(1e-300).log()).sum()
        assert row.effective_rank == pytest.approx(entropy.exp().item(), rel=1e-4)
        assert row.null_ratio is None


def test_hooks_leave_no_trace_when_the_forward_pass_raises() -> None:
    model = layout("yolov8n", 3)
    network = build(expand(model))
    nodes = [closing_conv(network.spec, stage) for stage in stages(model)]
    with pytest.raises(RuntimeError):
        take(network, nodes, images=[torch.rand(1, 3, 64, 64), torch.rand(1, 4, 64, 64)])
    assert hooks_of(network) == 0
    assert all(m.training for m in network.modules())
    take(network, nodes, images=[torch.rand(1, 3, 64, 64)])
    assert hooks_of(network) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    model = layout("yolov8n", 3)
    network = build(expand(model))
    conv_at(network, "model.8.cv2.conv").weight.data[0, 0] = value
    with pytest.raises(EffscopeError, match=r"model\.8\.cv2\.conv: .*NaN or infinite"):
        rank(network, model, RankConfig())


def test_a_stage_of_zeros_has_rank_zero_and_comes_first() -> None:
    model = layout("yolov8n", 3)
    network = build(expand(model))
    nn.init.zeros_(conv_at(network, "model.12.cv2.conv").weight)
    result = rank(network, model, RankConfig())
    row = by_stage(result.stages)[5]
    assert result.order[0] == 5
    assert (row.rank, row.ratio, row.effective_rank, row.stable_rank) == (0, 0.0, 0.0, 0.0)


def test_no_pictures_for_activations_is_an_error() -> None:
    model = layout("yolov8n", 3)
    with pytest.raises(EffscopeError):
        rank(build(expand(model)), model, RankConfig(), images=[])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at": "head"}, "unknown --at 'head'"),
        ({"threshold": 0.0}, "between 0 and 1"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"threshold": float("nan")}, "between 0 and 1"),
        ({"limit": 0}, "at least 1"),
        ({"activations": "nowhere"}, "does not exist"),
        ({"activations": "builtin:shapes", "imgsz": 0, "limit": 1}, "at least 1"),
        ({"activations": "builtin:shapes", "imgsz": 50, "limit": 1}, "32"),
    ],
)
def test_bad_input_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        api.rank("yolov8n", **settings)  # type: ignore[arg-type]


def test_a_model_without_stages_is_refused() -> None:
    model = Layout("made", (Layer("a", "Conv", (16, 3, 2), (IMAGE,)),), Scale(), 3, 1)
    with pytest.raises(EffscopeError, match="no C2f-like stage"):
        rank(build(expand(model)), model, RankConfig())


def test_a_stage_without_inner_blocks_has_no_block_to_rank() -> None:
    layers = (Layer("a", "Conv", (16, 3, 2), (IMAGE,)), Layer("b", "C2f", (32, True), ("a",), repeats=0))
    model = Layout("made", layers, Scale(), 3, 2)
    with pytest.raises(EffscopeError):
        rank(build(expand(model)), model, RankConfig(at="block"))


def test_oracle_is_the_one_of_the_design(shared: Path) -> None:
    def read(path: Path) -> list[str]:
        return path.read_text(encoding="utf-8").splitlines()

    name = "rank_oracle_yolov8n.csv"
    assert read(shared / "golden" / name) == read(Path(__file__).parent / "golden" / name)
