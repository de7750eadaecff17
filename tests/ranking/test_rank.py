"""Ranks: published counts, networks made with known ranks, laws of the measures."""

from __future__ import annotations

from itertools import permutations
from math import hypot
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from support.golden_files import GOLDEN, conv_at, golden, lively, norm_at
from support.spectra import rotation
from torch import nn

from effscope import api
from effscope.config import RankConfig
from effscope.errors import EffscopeError
from effscope.layouts.expand import closing_conv, expand, stages
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build
from effscope.nn.fuse import folded_conv
from effscope.ranking.analyze import rank
from effscope.ranking.collect import collect
from effscope.ranking.convs import layout_convs
from effscope.ranking.spectrum import Array, Kernel
from effscope.ranking.stability import RELATIVE, SHAPES
from effscope.ranking.thresholds import cut, spectra_for
from effscope.results import StageRank
from effscope.spec.layout import IMAGE, Layer, Layout, Scale
from effscope.thresholds import read_threshold

ORACLE = golden("rank_oracle_yolov8n.csv")
COLUMNS = {
    "stage": ("c_out_stage", "rank_last_conv_of_stage"),
    "block": ("c_out_block", "rank_last_conv_of_last_block"),
}


def by_stage(rows: tuple[StageRank, ...]) -> dict[int, StageRank]:
    return {row.stage: row for row in rows}


def with_rank(shape: tuple[int, int], count: int, random: np.random.Generator) -> Array:
    """A matrix with exactly `count` singular values above half of the largest."""
    n = min(shape)
    values = np.concatenate([random.uniform(0.6, 1.0, count), random.uniform(0.0, 0.4, n - count)])
    values[0] = 1.0
    return np.asarray((rotation(random, shape[0])[:, :n] * values) @ rotation(random, shape[1])[:n])


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
    assert result.definition.weights == "checkpoint"


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
    assert raw.definition.fold_bn is False
    assert [r.rank for r in raw.stages] != [r.rank for r in result.stages]


def test_rank_equals_the_count_of_an_independent_svd() -> None:
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


def test_random_weights_have_the_null_ratio() -> None:
    result = api.rank("yolov8n")
    assert result.definition.weights == "random"
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at": "head"}, "unknown `at` 'head'"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"threshold": "some"}, "unknown `threshold` 'some': give a ratio"),
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


def test_stages_without_inner_blocks_have_no_block_to_rank() -> None:
    """Rows of plain convolutions have none."""
    layers = (Layer("a", "Conv", (16, 3, 2), (IMAGE,)), Layer("b", "Conv", (16, 3, 1), ("a",), repeats=2))
    model = Layout("made", layers, Scale(), 3, 2)
    network = build(expand(model))
    assert rank(network, model, RankConfig()).order
    with pytest.raises(EffscopeError, match="no stage with inner blocks"):
        rank(network, model, RankConfig(at="block"))


def test_the_golden_file_equals_the_shared_one(shared: Path) -> None:
    def read(path: Path) -> list[str]:
        return path.read_text(encoding="utf-8").splitlines()

    name = "rank_oracle_yolov8n.csv"
    assert read(shared / "golden" / name) == read(GOLDEN / name)


@pytest.mark.parametrize("size", "nsmlx")
def test_random_weights_at_every_size(size: str) -> None:
    """Random weights show no redundancy (docs/background.md, "Rank"): a square 3x3 convolution of up to 64 channels
    loses at most one value, a larger one has a ratio of .98 or more."""
    rows = api.rank(f"yolov8{size}", at="all").stages
    square = [row for row in rows if row.shape[1] == 9 * row.c_out]
    assert len(square) >= 20
    for row in square:
        assert row.rank is not None and row.ratio is not None
        assert row.rank >= row.c_out - 1 if row.c_out <= 64 else row.ratio >= 0.98, row.layer


@pytest.mark.parametrize("c", [64, 128, 256])
def test_random_square_pointwise_convolutions_follow_the_quarter_circle_law(c: int) -> None:
    """Mean of 20 draws of torch's own initialisation."""
    torch.manual_seed(c)
    draws = [Kernel("w", nn.Conv2d(c, c, 1, bias=False).weight.detach().numpy()) for _ in range(20)]
    half = read_threshold("half")
    ratios = [cut(half, v, draws[0].shape, 0).rank / c for v in spectra_for(draws, [half])]
    assert 0.38 <= np.mean(ratios) <= 0.43


def spiked(model: Layout, stage: int) -> Network:
    network = lively(model)
    name = closing_conv(network.spec, stages(model)[stage - 1]).module
    shape = (len(conv_at(network, name).weight), conv_at(network, name).weight[0].numel())
    random = np.random.default_rng(0)
    values = np.linspace(1.0, 0.6, min(shape))
    values[:2] = 4.0, 1.0
    matrix = (rotation(random, shape[0])[:, : len(values)] * values) @ rotation(random, shape[1])[: len(values)]
    set_folded_weight(network, name, matrix)
    return network


def test_one_direction_that_decides_the_count_is_flagged() -> None:
    model = layout("yolov8n", 3)
    result = rank(spiked(model, 7), model, RankConfig())
    row = by_stage(result.stages)[7]
    assert result.order[0] == 7
    assert (row.rank, row.rank_without_top, row.spike) == (1, 128, True)
    assert row.top_gap == pytest.approx(4.0, rel=1e-5)
    assert row.effective_rank is not None and row.effective_rank > 100
    assert [r.stage for r in result.stages if r.spike] == [7]


def test_the_result_has_the_orders_of_other_definitions() -> None:
    model = layout("yolov8n", 3)
    network = lively(model)
    result = rank(network, model, RankConfig())
    assert [v.name for v in result.stability] == [
        *(f"threshold 0.{n}" for n in (3, 4, 6, 7)),
        "raw weights",
        SHAPES,
        RELATIVE,
    ]
    others = [*(RankConfig(threshold=t) for t in (0.3, 0.4, 0.6, 0.7)), RankConfig(fold_bn=False)]
    for variant, config in zip(result.stability[:-2], others, strict=True):
        other = rank(network, model, config)
        assert variant.order == other.order
        assert variant.ties == other.ties
        stages_both = sorted(result.ratios())
        expected = kendalltau([result.ratios()[k] for k in stages_both], [other.ratios()[k] for k in stages_both])
        assert variant.tau == pytest.approx(expected.statistic)
        moved = {(a, b) for n, a in enumerate(result.order) for b in result.order[n + 1 :]
                 if other.ratios()[a] > other.ratios()[b] and result.ratios()[a] < result.ratios()[b]}  # fmt: skip
        for a, b in moved:
            assert any(a in group and b in group for group in result.unsettled)
    assert rank(network, model, RankConfig(fold_bn=False)).stability[-3].name == "BN folded"


def test_the_result_has_the_order_of_the_shapes_alone() -> None:
    """Untrained weights whose null ratios are equal are ordered by chance, the others by their null ratios."""
    result = api.rank("yolov8m")
    null = {row.stage: row.null_ratio for row in result.stages if row.null_ratio is not None}
    variant, relative = result.stability[-2:]
    assert (variant.name, relative.name) == (SHAPES, RELATIVE)
    over = {stage: ratio / null[stage] for stage, ratio in result.ratios().items()}
    assert relative.order == tuple(sorted(over, key=lambda stage: (over[stage], stage)))
    assert variant.order == tuple(sorted(null, key=lambda stage: (null[stage], stage)))
    ratios, spread = result.ratios(), {row.stage: row.null_sd or 0.0 for row in result.stages}
    assert variant.tau == pytest.approx(kendalltau([ratios[k] for k in null], [null[k] for k in null]).statistic)
    unlike = [(a, b) for a, b in permutations(null, 2) if null[b] - null[a] > 4 * hypot(spread[a], spread[b])]
    assert {b for _, b in unlike} == {2, 3}
    assert all(ratios[a] < ratios[b] for a, b in unlike)


def test_the_coco_checkpoint_by_other_definitions(shared: Path) -> None:
    """The order of yolov8n is similar over thresholds, less so without folding."""
    result = api.rank(str(shared / "data" / "weights" / "yolov8n_coco.pt"))
    taus = {v.name: v.tau for v in result.stability}
    assert all(taus[f"threshold 0.{n}"] > 0.7 for n in (3, 4, 6, 7))  # type: ignore[operator]
    assert taus["raw weights"] == pytest.approx(0.444, abs=0.001)
    assert result.ties == ((1, 3),)
    spikes = {row.stage: row.rank_without_top for row in result.stages if row.spike}
    assert spikes == {4: 80, 5: 37}


def test_results_of_several_models_have_each_others_orders() -> None:
    results = api.ranks(["yolov8n", "yolov8s", "yolov10n"], threshold="energy:0.9")
    assert [r.model for r in results] == ["yolov8n", "yolov8s", "yolov10n"]
    first = {v.name: v for v in results[0].stability}
    assert first["model yolov8s"].order == results[1].order
    back = {v.name: v for v in results[1].stability}
    assert first["model yolov8s"].tau == back["model yolov8n"].tau
    shared_rows = {r.layer for r in results[0].stages} & {r.layer for r in results[2].stages}
    assert ("model yolov10n" in first) == (len(shared_rows) > 1)
    same = api.ranks(["yolov8n", "yolov8n"])
    assert [r.model for r in same] == ["yolov8n", "yolov8n (2)"]
    assert [v.name for v in same[0].stability if v.name.startswith("model")] == ["model yolov8n (2)"]
    assert same[0].stability[-1].tau == pytest.approx(1.0)
    assert all(v.tau is None or -1 <= v.tau <= 1 for result in results for v in result.stability)
    with pytest.raises(EffscopeError, match="no model"):
        api.ranks([])


def test_separability_is_the_mean_over_the_spatial_convolutions_of_a_stage() -> None:
    model = layout("yolov8n", 3)
    network = lively(model)
    for at in ("stage", "block"):
        row = by_stage(rank(network, model, RankConfig(at=at)).stages)[3]
        names = [f"model.6.m.{n}.cv{m}" for n in range(2) for m in (1, 2)] if at == "stage" else ["model.6.m.1.cv2"]
        kept = []
        for name in names:
            weight, _ = folded_conv(conv_at(network, f"{name}.conv"), norm_at(network, f"{name}.bn"))
            tops = torch.linalg.svdvals(weight.transpose(0, 1).flatten(2))
            kept.append((tops[:, :2].square().cumsum(1).sum(0) / weight.square().sum()).tolist())
        one, two = np.mean(kept, axis=0)
        assert (row.separability_1, row.separability_2) == (pytest.approx(one), pytest.approx(two))
    rows = {row.layer: row for row in rank(network, model, RankConfig(at="all")).stages}
    assert rows["model.6.cv2.conv"].separability_1 is None
    assert rows["model.6.m.0.cv2.conv"].separability_1 is not None


class Grouped(nn.Module):
    """Convolutions of every kind of grouping."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.grouped = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3, groups=4)
        self.depthwise, self.multiplier = nn.Conv2d(24, 24, 3, groups=24), nn.Conv2d(24, 48, 3, groups=24)
        self.lone, self.last = nn.Conv2d(48, 4, 1, groups=4), nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.children():
            x = part(x)
        return x


def test_the_groups_of_a_convolution_are_ranked_together() -> None:
    module = Grouped()
    rows = {row.layer: row for row in api.rank(module, at="all", imgsz=64).stages}
    parts = module.grouped.weight.detach().double().view(4, 6, -1)
    values = torch.linalg.svdvals(torch.block_diag(*parts))
    assert rows["grouped"].rank == int((values > 0.5 * values[0]).sum())
    assert (rows["grouped"].shape, rows["grouped"].c_out) == ((6, 36), 24)
    assert rows["grouped"].ratio == (rows["grouped"].rank or 0) / 24
    assert rows["grouped"].null_ratio == pytest.approx(0.9, abs=0.1)
    assert "4 groups" in rows["grouped"].note
    for name, why in (
        ("depthwise", "depthwise"),
        ("multiplier", "depthwise"),
        ("lone", "one filter"),
        ("last", "one output"),
    ):
        assert rows[name].rank is None and why in rows[name].note, name


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(), "no convolution"),
        (nn.Identity(), "no convolution"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3 * 32 * 32)), "no convolution"),
        (nn.Sequential(nn.Conv2d(1, 8, 3)), "expected input.*to have 1 channels"),
    ],
    ids=["empty", "identity", "no convolutions", "channels"],
)
def test_modules_without_a_rankable_convolution_are_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        api.rank(module, imgsz=32)


def test_weights_that_do_not_fit_the_layout_are_named() -> None:
    model = layout("yolov8n", 3)
    network = build(expand(model))
    convs = layout_convs(network.spec, model, "stage")
    state = network.state_dict()
    with pytest.raises(EffscopeError, match=r"no tensor 'model\.8\.cv2\.bn\.running_var'"):
        collect(network.spec, {k: v for k, v in state.items() if k != "model.8.cv2.bn.running_var"}, convs)
    with pytest.raises(EffscopeError, match=r"model\.8\.cv2\.conv\.weight is \(3, 3\)"):
        collect(network.spec, state | {"model.8.cv2.conv.weight": torch.zeros(3, 3)}, convs)


def test_files_with_empty_and_non_finite_weights(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(0, 3, 3, 3), "b.weight": torch.zeros(4, 0, 1, 1)}, tmp_path / "empty.pt")
    rows = api.rank(str(tmp_path / "empty.pt")).stages
    assert [(row.rank, row.note) for row in rows] == [(None, "no weights at all")] * 2
    torch.save({"a.weight": torch.full((4, 3, 3, 3), float("nan"))}, tmp_path / "nan.pt")
    with pytest.raises(EffscopeError, match="a: the weight holds NaN"):
        api.rank(str(tmp_path / "nan.pt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_eps_is_that_of_the_stored_weights(dtype: torch.dtype) -> None:
    """Rows that repeat are linearly dependent in every dtype, and batch norms that scale them do not change that."""
    conv = nn.Conv2d(3, 32, 3, bias=False, dtype=dtype)
    with torch.no_grad():
        conv.weight[8:] = conv.weight[:8].repeat(3, 1, 1, 1)
    module = nn.Sequential(conv, nn.BatchNorm2d(32, dtype=dtype), nn.Conv2d(32, 4, 1, dtype=dtype))
    result = api.rank(module, threshold="eps", at="all", imgsz=32)
    assert {row.layer: row.rank for row in result.stages}["0"] == 8
    assert f"{torch.finfo(dtype).eps:.2g}" in result.notes[0]
    assert conv.weight.dtype == dtype


def test_weights_stored_in_too_few_digits_have_no_rank_by_eps() -> None:
    """max(rows, columns) * eps of float16 is above 1 from 1024 columns on: rounding can make the largest value."""
    module = nn.Sequential(nn.Conv2d(3, 128, 1), nn.Conv2d(128, 64, 3)).half()
    rows = {row.layer: row for row in api.rank(module, threshold="eps", at="all", imgsz=32).stages}
    assert rows["0"].rank == 3
    assert rows["1"].rank is None and rows["1"].note.startswith("too coarse: at eps 0.00098")


def test_zero_weights_have_no_spike() -> None:
    conv = nn.Conv2d(3, 8, 3, bias=False)
    nn.init.zeros_(conv.weight)
    row = api.rank(nn.Sequential(conv, nn.Conv2d(8, 8, 1)), at="all", imgsz=32).stages[0]
    assert (row.layer, row.rank, row.rank_without_top, row.spike, row.top_gap) == ("0", 0, 0, False, None)


def test_no_order_over_random_if_the_null_ratios_are_too_small() -> None:
    assert SHAPES in {v.name for v in api.rank("yolov8n", threshold="mp").stability}
    assert RELATIVE not in {v.name for v in api.rank("yolov8n", threshold="mp").stability}


def test_a_shared_convolution_is_one_row_by_its_own_name() -> None:
    shared = nn.Conv2d(8, 8, 3)
    rows = api.rank(nn.Sequential(nn.Conv2d(3, 8, 3), shared, nn.ReLU(), shared), at="all", imgsz=32).stages
    assert sorted(row.layer for row in rows) == ["0", "1"]


def test_a_model_is_a_name_a_path_or_a_module(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a.weight": torch.rand(4, 3, 3, 3)}, path)
    assert api.rank(path).model == "a"  # type: ignore[arg-type]
    for wrong in (None, 123, nn.Conv2d):
        with pytest.raises(EffscopeError, match="a name, a file or a torch module"):
            api.rank(wrong)  # type: ignore[arg-type]


def test_models_that_are_not_detectors_take_any_image_size() -> None:
    assert api.rank(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)), imgsz=50).order
    with pytest.raises(EffscopeError, match="multiple of 32"):
        api.rank("yolov8n", imgsz=50)


def test_a_setting_without_effect_is_refused() -> None:
    with pytest.raises(EffscopeError, match="`centred` applies to activations"):
        api.rank("yolov8n", centred=False)


def test_models_of_equal_names_are_named_as_given(tmp_path: Path) -> None:
    paths = [tmp_path / folder / name for folder, name in (("a", "best.pt"), ("b", "best.pt"), ("b", "last.pt"))]
    for n, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        torch.save({"a.weight": torch.rand(8, 3, 3, 3) + n, "b.weight": torch.rand(8, 8, 1, 1)}, path)
    found = [r.model for r in api.ranks([str(p) for p in (*paths, paths[0])])]
    assert found == [str(paths[0]), str(paths[1]), "last", f"{paths[0]} (2)"]
