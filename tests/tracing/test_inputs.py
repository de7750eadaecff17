"""Any input, and any output: what other counters run must be counted here, with their multiply-adds."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from effscope import api
from effscope.errors import EffscopeError
from effscope.results import CostResult


def counted(module: nn.Module, *args: Any, **kwargs: Any) -> int:
    """Multiply-adds by torch's own counter, which runs the module."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*args, **kwargs)
    return counter.get_total_flops() // 2


def macs(module: nn.Module, **settings: Any) -> int:
    found = api.cost(module, **settings)
    assert isinstance(found, CostResult)
    return found.macs


@dataclass
class Output:
    logits: Tensor
    more: dict[str, list[Tensor]] | None = None


class Slotted:
    __slots__ = ("found", "names")

    def __init__(self, found: Tensor) -> None:
        self.found, self.names = found, ["a"]


Pair = namedtuple("Pair", "first second")

RETURNS: dict[str, Callable[[Tensor], Any]] = {
    "dataclass": lambda x: Output(x, {"maps": [x + 1]}),
    "nested dataclass": lambda x: {"out": Output(x), "text": "a"},
    "slots": Slotted,
    "named tuple": lambda x: Pair(x, None),
    "ordered dict": lambda x: OrderedDict(out=x, aux=None),
    "list of objects": lambda x: [Output(x), Output(x)],
    "tuple with text": lambda x: (x, "boxes", 3),
}


class Returns(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 4, 1, bias=False), make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.conv(x))


@pytest.mark.parametrize("name", RETURNS)
def test_any_object_may_be_returned(name: str) -> None:
    module = Returns(RETURNS[name])
    assert macs(module, imgsz=8) == counted(module, torch.zeros(1, 3, 8, 8)) == 768
    assert "forward" not in vars(module)


class Branches(nn.Module):
    """Branches on values: a guard, a check of the range, an early exit."""

    def __init__(self, guard: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.guard = nn.Conv2d(3, 4, 1, bias=False), guard

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(self.guard(x))
        return found


def no_nan(x: Tensor) -> Tensor:
    if torch.isnan(x).any():
        raise ValueError("NaN in the image")
    return x


def of_bytes(x: Tensor) -> Tensor:
    return x / 255 if x.max() > 1 else x


def positive(x: Tensor) -> Tensor:
    assert x.min() >= 0, "negative values"
    return x * 2 if float(x.sum()) > 0 else x


@pytest.mark.parametrize("guard", [no_nan, of_bytes, positive])
def test_a_branch_on_values_is_followed_and_said(guard: Callable[[Tensor], Tensor]) -> None:
    found = api.cost(Branches(guard), imgsz=8)
    assert isinstance(found, CostResult) and found.macs == 768
    assert any("depends on values" in note for note in found.notes)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda m, x: m.conv(x)[:, :, x[0, 0, 0] > 2], "no trace|depends on other values"),
        (lambda m, x, mask: m.conv(x) * mask, "takes more arguments: give them as `inputs`"),
        (lambda m, x: m.conv(x[:, :2]), "expected input.* to have 3 channels"),
        (lambda m, x: m.conv(torch.from_numpy(x.numpy())), "no trace"),
    ],
    ids=["sizes by values", "another argument", "channels", "leaves torch"],
)
def test_what_has_no_trace_is_said_without_the_words_of_torch(forward: Callable[..., Tensor], message: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

    Net.forward = forward  # type: ignore[assignment]
    with pytest.raises(EffscopeError, match=message) as error:
        api.cost(Net(), imgsz=8)
    words = ("unhinted", "Size-like", "pytree", "FakeTensor", "_dynamo", "https", "SymInt", "GuardOn")
    assert "\n" not in str(error.value) and not any(word in str(error.value) for word in words)


def lazy() -> nn.Sequential:
    return nn.Sequential(nn.LazyConv2d(4, 3, padding=1, bias=False), nn.Flatten(), nn.LazyLinear(5, bias=False))


def test_lazy_layers_get_their_shapes_in_one_pass_on_a_copy() -> None:
    module = lazy()
    found = api.cost(module, imgsz=8)
    assert isinstance(found, CostResult) and found.macs == 8 * 8 * 27 * 4 + 256 * 5
    assert isinstance(module[0].weight, nn.UninitializedParameter)
    ranked = api.rank(module, at="all", imgsz=8)
    assert {row.layer for row in ranked.stages} == {"0", "2"} and ranked.definition.weights == "random"
    with pytest.raises(EffscopeError, match="has lazy layers, and its first pass fails"):
        api.cost(nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.Conv2d(3, 3, 1)), imgsz=8)


class Several(nn.Module):
    """An image, a mask, a number and token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table, self.mix = nn.Conv2d(3, 8, 3), nn.Embedding(50, 8), nn.Linear(8, 8)

    def forward(self, image: Tensor, ids: Tensor, mask: Tensor | None = None, times: int = 1) -> dict[str, Tensor]:
        x = self.conv(image).flatten(2).transpose(1, 2)
        for _ in range(times):
            x = self.mix(x)
        words = self.table(ids)
        scores = words @ x.transpose(1, 2)
        return {"scores": scores if mask is None else scores * mask}


IMAGE, IDS, MASK = torch.rand(1, 3, 10, 12), torch.arange(7)[None], torch.ones(1, 7, 1)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((IMAGE, IDS), {}), ((IMAGE, IDS, MASK, 3), {}), ((), {"image": IMAGE, "ids": IDS, "times": 2})],
    ids=["two", "with a number", "by name"],
)
def test_several_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    module = Several()
    found = api.cost(module, inputs=kwargs or args)
    assert isinstance(found, CostResult) and found.macs == counted(module, *args, **kwargs)
    assert found.imgsz == () and found.params == sum(p.numel() for p in module.parameters())
    assert {row.layer for row in api.rank(module, at="all", inputs=kwargs or args).stages} == {"conv", "mix"}


def test_integers_alone_and_other_dimensions() -> None:
    words = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 4))
    assert macs(words, inputs=IDS) == counted(words, IDS)
    sound = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3))
    assert macs(sound, inputs=torch.rand(1, 2, 100)) == counted(sound, torch.rand(1, 2, 100))
    video = nn.Conv3d(3, 4, 3)
    assert macs(video, imgsz=(1, 3, 8, 16, 16)) == counted(video, torch.rand(1, 3, 8, 16, 16))


@pytest.mark.parametrize("inputs", [[], {}, "image", 3], ids=str)
def test_inputs_without_a_tensor_are_refused(inputs: Any) -> None:
    with pytest.raises(EffscopeError, match="`inputs` hold no tensor"):
        api.cost(nn.Conv2d(3, 4, 1), inputs=inputs)
    with pytest.raises(EffscopeError, match="`inputs` are for torch modules"):
        api.cost("yolov8n", inputs=IMAGE)


def test_latency_with_inputs() -> None:
    found = api.latency(Several(), inputs=(IMAGE, IDS), rounds=2)
    assert found.rows[0].median_ms > 0


@pytest.mark.parametrize("size", [(1, 1, 16, 16), (1, 4, 12, 20), (3, 3, 16, 24), (16, 24), 16], ids=str)
def test_channels_rectangles_and_batches(size: Any) -> None:
    shape = (1, 3, size, size) if isinstance(size, int) else size if len(size) > 2 else (1, 3, *size)
    module = nn.Sequential(nn.Conv2d(shape[1], 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, groups=8))
    assert macs(module, imgsz=size) == counted(module, torch.zeros(shape))
    text = "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
    assert macs(module, imgsz=text) == macs(module, imgsz=size)
