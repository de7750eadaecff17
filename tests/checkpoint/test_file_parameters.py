"""A file of an unknown architecture has its model's parameters, and its convolutions the ranks of the live ones."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from effscope import api
from effscope.errors import EffscopeError

SIDE = 16
X = torch.zeros(1, 3, SIDE, SIDE)


class Blur(nn.Module):
    """A fixed depthwise kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(4, 1, 3, 3) / 9)
        self.weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, groups=4, padding=1)


class Buffered(nn.Module):
    """Buffers of several kinds: statistics, a table of integers, a mask, a fixed kernel that is called weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.blur = nn.Conv2d(3, 4, 1), Blur()
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.register_buffer("std", torch.rand(3, 1, 1))
        self.register_buffer("index", torch.arange(4))
        self.register_buffer("mask", torch.ones(4, 1, 1, dtype=torch.bool))
        self.std: Tensor
        self.index: Tensor
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.blur(self.conv(x / self.std))[:, self.index] * self.scale * self.mask


class Tied(nn.Module):
    """A convolution used at three places under three names, and a bias that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b, self.c = self.a, nn.Sequential(self.a)
        self.d = nn.Conv2d(8, 8, 1)
        self.d.bias = self.stem.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(self.stem(x)))))


class Upsampling(nn.Module):
    """Transposed convolutions: widening, grouped, and one before a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 6, 3), nn.ConvTranspose2d(6, 10, 2, 2)
        self.grouped = nn.ConvTranspose2d(10, 4, 3, groups=2)
        self.normed, self.bn = nn.ConvTranspose2d(4, 5, 2, 2, bias=False), nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.normed(self.grouped(self.up(self.conv(x)))))


def _whole(net: nn.Module, path: Path) -> None:
    torch.save(net, path)


def _state(net: nn.Module, path: Path) -> None:
    torch.save({"state_dict": net.state_dict()}, path)


def _script(net: nn.Module, path: Path) -> None:
    torch.jit.script(net).save(str(path))


def _traced(net: nn.Module, path: Path) -> None:
    torch.jit.trace(net, X).save(str(path))


def _exported(net: nn.Module, path: Path) -> None:
    torch.export.save(torch.export.export(net, (X,)), path)


def _onnx(net: nn.Module, path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(net, (X,), str(path), dynamo=False, training=torch.onnx.TrainingMode.PRESERVE)


FORMS: dict[str, Callable[[nn.Module, Path], None]] = {
    "whole.pt": _whole, "state.pt": _state, "script.ts": _script, "traced.ts": _traced, "program.pt2": _exported,
    "graph.onnx": _onnx,
}  # fmt: skip


def saved(kind: type[nn.Module], form: str, folder: Path) -> tuple[nn.Module, str]:
    torch.manual_seed(0)
    net = kind().eval()
    for bn in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(bn.weight, 0.1, 3)
        bn.running_var.uniform_(0.1, 2)  # type: ignore[union-attr,operator]
    path = folder / form
    FORMS[form](net, path)
    return net, str(path)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("form", ["whole.pt", "script.ts", "traced.ts", "program.pt2"])
def test_buffers_are_no_parameters_where_the_file_tells(form: str, tmp_path: Path) -> None:
    net, path = saved(Buffered, form, tmp_path)
    found = api.cost(path)
    assert found.params == parameters(net)
    assert not any("does not tell parameters from buffers" in note for note in found.notes)


def test_a_state_dict_says_what_it_cannot_tell(tmp_path: Path) -> None:
    """Integers and masks are buffers; of floats a state dict does not know."""
    net, path = saved(Buffered, "state.pt", tmp_path)
    found = api.cost(path)
    floats = sum(value.numel() for value in net.state_dict().values() if value.is_floating_point())
    assert found.params == floats > parameters(net)
    assert any(
        "does not tell parameters from buffers: 2 tensors counted as parameters (scale, std)" in n for n in found.notes
    )


@pytest.mark.parametrize("form", ["whole.pt", "state.pt", "script.ts", "program.pt2", "graph.onnx"])
def test_tied_tensors_count_once(form: str, tmp_path: Path) -> None:
    net, path = saved(Tied, form, tmp_path)
    assert api.cost(path).params == parameters(net) == 8 * 27 + 8 + 8 * 72 + 8 + 64


@pytest.mark.parametrize("form", FORMS)
def test_transposed_convolutions_count_and_rank_as_live_ones(form: str, tmp_path: Path) -> None:
    """Also the one whose norm folds: along its output channels, which are the second side of its weight. Without class
    and bias no file tells that it is transposed."""
    net, path = saved(Upsampling, form, tmp_path)
    assert api.cost(path).params == parameters(net)
    tells = form not in ("state.pt", "program.pt2")
    live = api.rank(net, at="all", imgsz=SIDE).to_frame().set_index("layer")
    frame = api.rank(path, at="all").to_frame().set_index("layer")
    assert set(frame.index) == {"conv", "up", "grouped", "normed"} == set(live.index)
    for layer in set(frame.index) - (set() if tells else {"normed"}):
        assert tuple(frame.loc[layer, "shape"]) == tuple(live.loc[layer, "shape"])
        assert frame.loc[layer, "rank"] == live.loc[layer, "rank"], layer


def test_the_matrix_of_a_transposed_convolution_is_that_of_the_definition() -> None:
    """(C_out, C_in k k), block-diagonal over the groups, scaled by the norm."""
    torch.manual_seed(0)
    net = Upsampling().eval()
    nn.init.uniform_(net.bn.weight, 0.1, 3)
    result = api.rank(net, at="all", imgsz=SIDE)
    scale = (net.bn.weight / torch.sqrt(net.bn.running_var + net.bn.eps)).detach().double()  # type: ignore[operator]
    normed = (net.normed.weight.detach().double() * scale[:, None, None]).transpose(0, 1).flatten(1)
    blocks = net.grouped.weight.detach().double().view(2, 5, 2, 3, 3).transpose(1, 2).flatten(2)
    expected = {
        "up": torch.linalg.svdvals(net.up.weight.detach().double().transpose(0, 1).flatten(1)),
        "grouped": torch.linalg.svdvals(blocks).flatten().sort(descending=True).values,
        "normed": torch.linalg.svdvals(normed),
    }
    found = {one.layer: one.values for one in result.spectra}
    for layer, values in expected.items():
        np.testing.assert_allclose(found[layer], values, rtol=1e-5)


def test_grouped_convolutions_of_a_graph_have_their_groups(tmp_path: Path) -> None:
    """Grouped, depthwise, and one with a channel multiplier; each as the live one."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, groups=4), nn.Conv2d(16, 16, 3, groups=16),
        nn.Conv2d(16, 32, 3, groups=16), nn.Conv2d(32, 4, 1, groups=2),
    ).eval()  # fmt: skip
    _onnx(net, tmp_path / "graph.onnx")
    live = api.rank(net, at="all", imgsz=SIDE).to_frame().set_index("layer")
    frame = api.rank(str(tmp_path / "graph.onnx"), at="all").to_frame().set_index("layer")
    assert set(frame.index) == set(live.index)
    for layer in frame.index:
        assert frame.loc[layer, "rank"] == live.loc[layer, "rank"] or np.isnan(live.loc[layer, "rank"])
        assert tuple(frame.loc[layer, "shape"]) == tuple(live.loc[layer, "shape"])


def _in_two_files(folder: Path) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2), nn.Conv2d(4, 8, 1, groups=2)).eval()
    _onnx(net, folder / "one.onnx")
    onnx.save(
        onnx.load(folder / "one.onnx"), folder / "two.onnx", save_as_external_data=True, location="two.data",
        size_threshold=0,
    )  # fmt: skip
    return net, folder / "two.onnx"


def test_numbers_in_a_file_beside_the_graph_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's exporter writes them; wherever the command runs."""
    net, path = _in_two_files(tmp_path)
    monkeypatch.chdir("/")
    assert api.cost(str(path)).params == parameters(net)
    one, two = (api.rank(str(tmp_path / name), at="all").to_frame() for name in ("one.onnx", "two.onnx"))
    assert one["rank"].equals(two["rank"])


def test_other_places_and_missing_numbers_are_refused_in_one_line(tmp_path: Path) -> None:
    _, path = _in_two_files(tmp_path)
    numbers = tmp_path / "two.data"
    whole = numbers.read_bytes()
    numbers.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EffscopeError, match=r"which have \d+ bytes, not \d+: export it again"):
        api.cost(str(path))
    numbers.unlink()
    with pytest.raises(EffscopeError, match=r"in other files \('two.data'\): put them beside it"):
        api.cost(str(path))
    for place in ("../two.data", "/etc/passwd"):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = place
        (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(EffscopeError, match="outside its folder: do not use it"):
            api.cost(str(tmp_path / "other.onnx"))


class Attending(nn.Module):
    """A class token, a table of positions, gates per channel, and products without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 17, 8))
        self.qkv, self.out = nn.Linear(8, 24, bias=False), nn.Linear(8, 8)
        self.gate, self.slope = nn.Parameter(torch.rand(8)), nn.PReLU(17)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.position
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.slope(self.out((q @ k.transpose(1, 2)).softmax(-1) @ v) * self.gate)


class Recurrent(nn.Module):
    """Recurrent layers of three kinds, one in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.gru, self.rnn = nn.GRU(4, 6, batch_first=True), nn.RNN(6, 5, batch_first=True)
        self.lstm = nn.LSTM(5, 3, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(self.rnn(self.gru(self.conv(x).flatten(2).transpose(1, 2))[0])[0])[0]


class Resizing(nn.Module):
    """Constants that are no weights: scales of a resize, limits of a clip, a padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.interpolate(self.conv(x), scale_factor=2.0, mode="nearest").clamp(0.0, 6.0)
        return self.head(nn.functional.pad(x, (1, 1, 1, 1)).mean((2, 3)))


@pytest.mark.parametrize("kind", [Attending, Recurrent, Resizing])
@pytest.mark.parametrize("form", ["graph.onnx", "whole.pt", "state.pt"])
def test_every_weight_of_a_file_is_counted_and_nothing_else(kind: type[nn.Module], form: str, tmp_path: Path) -> None:
    net, path = saved(kind, form, tmp_path)
    assert api.cost(path).params == parameters(net)
