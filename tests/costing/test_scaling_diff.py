"""Compound scaling follows its law; differences of two models add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import run

from effscope import api
from effscope.config import ScaleConfig
from effscope.costing.model import cost
from effscope.costing.scaling import phis, scaled, scaling
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import build


def test_the_published_factors_double_the_cost_per_step() -> None:
    """EfficientNet (arXiv 1905.11946): 1.2, 1.1 and 1.15 give about 2 (1.92)."""
    assert api.scaled_cost("yolov8n").law == pytest.approx(1.92, abs=0.005)


@pytest.mark.parametrize("name", ["yolov8s", "yolov5m", "yolov10l"])
def test_phi_0_is_the_model_itself(name: str) -> None:
    row, found = api.scaled_cost(name, "0", imgsz=320).rows[0], api.cost(name, 320)
    assert (row.params, row.macs, row.flops, row.conv_flops) == (
        found.params, found.macs, found.flops, found.conv_flops,
    )  # fmt: skip
    assert (row.ratio, row.law, row.imgsz) == (1.0, 1.0, 320)


def test_without_rounding_the_cost_follows_the_law() -> None:
    """Width only, by 2, which keeps multiples of 8; resolution only, which doubles the side; depth only."""
    wide = api.scaled_cost("yolov8n", "0,1", depth=1.0, width=2.0, resolution=1.0)
    assert 3.0 < wide.rows[1].ratio < 4.0 == wide.rows[1].law  # box towers and the stem do not grow with the square
    large = api.scaled_cost("yolov8n", "0,2", depth=1.0, width=1.0, resolution=2**0.5, imgsz=320)
    assert large.rows[1].imgsz == 640
    assert large.rows[1].ratio == pytest.approx(4.0)
    deep = api.scaled_cost("yolov8l", "1", depth=2.0, width=1.0, resolution=1.0).rows[0]
    assert 1.0 < deep.ratio < 2.0


@pytest.mark.parametrize("phi", [1, 2])
def test_a_scaled_model_can_be_built(phi: int) -> None:
    base = layout("yolov8n", 3)
    grown, side = scaled(base, ScaleConfig(imgsz=64), phi)
    assert side % 32 == 0
    network = build(expand(grown))
    assert sum(p.numel() for p in network.parameters()) == cost(grown, side).params
    row = scaling(base, ScaleConfig(imgsz=64, phi=str(phi))).rows[0]
    assert (row.params, row.imgsz) == (cost(grown, side).params, side)


def test_exponents_from_text() -> None:
    assert [phis(text) for text in ("1..3", "2", "0,1,4")] == [(1, 2, 3), (2,), (0, 1, 4)]


@pytest.mark.parametrize("text", ["", "a", "1..", "3..1", "-1", "1.5", "0..99", "1,,2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(EffscopeError, match="`phi`"):
        api.scaled_cost("yolov8n", text)


def test_factors_below_one_and_fixed_channels_are_refused() -> None:
    with pytest.raises(EffscopeError, match="`width` must be a factor of at least 1"):
        api.scaled_cost("yolov8n", width=0.9)
    with pytest.raises(EffscopeError, match="nan"):
        api.scaled_cost("yolov8n", depth=float("nan"))
    base = layout("yolov8n")
    with pytest.raises(EffscopeError, match="channels are fixed"):
        scaling(replace(base, scale=replace(base.scale, multiple=1)), ScaleConfig())


@pytest.mark.parametrize(
    ("a", "b"), [("yolov8s", "yolov10s"), ("yolov8n", "yolov8n"), ("yolov8n", "torchvision:resnet18")]
)
def test_differences_add_up(a: str, b: str) -> None:
    result = api.diff(a, b, 224)
    for name, field in (("params", "params_one_head"), ("macs", "macs"), ("flops", "flops")):
        for side, model in (("a", a), ("b", b)):
            whole = getattr(api.cost(model, 224), field)
            assert sum(getattr(row, f"{name}_{side}") or 0 for row in result.rows) == whole
            assert result.total[name][side] == whole
        assert result.total[name]["change"] == pytest.approx(result.total[name]["b"] / result.total[name]["a"] - 1)
    assert (result.total["flops"]["change"] == 0) == (a == b)


def test_where_yolov10s_differs_from_yolov8s() -> None:
    """CIBs at stages 4 and 8 (arXiv 2405.14458), the head and the downsampling; nothing else."""
    changed = {row.part for row in api.diff("yolov8s", "yolov10s").rows if row.flops_a != row.flops_b}
    assert changed == {"stage 4", "stage 8", "between stages", "head"}


def test_a_part_of_one_model_only_has_none_on_the_other_side() -> None:
    rows = {row.part: row for row in api.diff("torchvision:resnet18", "yolov8n", 224).rows}
    assert rows["head"].params_a is None and rows["head"].params_b
    assert rows["stage 1"].params_a and rows["stage 1"].params_b


def test_files_of_tensors_cannot_be_compared(tmp_path: Path) -> None:
    import torch

    torch.save({"a.weight": torch.rand(4, 3, 3, 3)}, tmp_path / "a.pt")
    with pytest.raises(EffscopeError, match="only the parameters of one model are known"):
        api.diff(str(tmp_path / "a.pt"), "yolov8n")


def test_the_commands_write_their_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert (
        run(monkeypatch, "diff", "yolov8n", "yolov10n", "--out", str(tmp_path), "--csv", str(tmp_path / "x.csv")) == 0
    )
    assert run(monkeypatch, "cost", "--scale", "yolov8n", "--phi", "0,1", "--out", str(tmp_path)) == 0
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"x.csv", *(f"{stem}.{ext}" for stem in ("diff", "scale") for ext in ("json", "csv", "md"))}
    shown = capsys.readouterr().out
    assert "stage 8" in shown and "compound scaling" in shown
    assert run(monkeypatch, "cost", "yolov8n", "--scale", "yolov8n") == 2
