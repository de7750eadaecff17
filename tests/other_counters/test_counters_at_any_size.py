"""Our rules for other counters against the tools, on images of one and four channels, rectangles and batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torchvision
from support.counting_tools import differences
from torch import nn

import effscope
from effscope.config.image_size import ImageSize, image_shape
from effscope.other_counters.tools import TOOLS

SIZES: tuple[ImageSize, ...] = (
    (1, 1, 64, 96),
    (1, 4, 96, 64),
    (96, 160),
    (2, 3, 64, 64),
    (2, 4, 64, 96),
)


def of_timm(name: str, shape: tuple[int, ...]) -> nn.Module:
    """A model of timm for images of that shape. Transformers have a table of positions, so they need the size too."""
    options = {"img_size": shape[2:]} if "vit" in name else {}
    made: nn.Module = timm.create_model(name, pretrained=False, in_chans=shape[1], **options)
    return made


def of_torchvision(name: str, shape: tuple[int, ...]) -> nn.Module:
    """A model of torchvision whose first convolution takes that many channels."""
    made: nn.Module = torchvision.models.get_model(name, weights=None)
    path, first = next((path, part) for path, part in made.named_modules() if isinstance(part, nn.Conv2d))
    options = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    made.set_submodule(path, nn.Conv2d(shape[1], first.out_channels, bias=first.bias is not None, **options))
    return made


Make = Callable[[str, tuple[int, ...]], nn.Module]

SMALL: dict[str, Make] = {"test_resnet": of_timm, "test_vit": of_timm}

MODELS: dict[str, Make] = {
    **SMALL,
    "test_efficientnet": of_timm,
    "test_convnext": of_timm,
    "ghostnet_100": of_timm,
    "mobilenetv4_conv_small": of_timm,
    "resnet18": of_torchvision,
    "mobilenet_v3_small": of_torchvision,
    "squeezenet1_1": of_torchvision,
    "shufflenet_v2_x0_5": of_torchvision,
    "regnet_y_400mf": of_torchvision,
    "efficientnet_b0": of_torchvision,
}
"""Name of a model -> what makes it for a shape of its images."""


def check(name: str, size: ImageSize) -> None:
    """All tools give what our rules for them give, and the terms explain the difference from our own count."""
    module = MODELS[name](name, image_shape(size)).eval()
    found = effscope.counters(module, imgsz=size, check=True)
    assert differences(found) == {}
    for row in found.rows:
        terms = [term.difference for term in found.terms if term.counter == row.counter]
        assert row.ours + sum(terms) == row.count
        assert row.ours == {"MACs": 1, "FLOPs": 2}[row.unit] * found.macs


@pytest.mark.parametrize(("name", "size"), [("test_resnet", SIZES[0]), ("test_vit", SIZES[1])])
def test_small_models_at_any_size_against_the_tools(name: str, size: ImageSize) -> None:
    check(name, size)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_models_at_any_size_against_the_tools(name: str, size: ImageSize) -> None:
    check(name, size)
    module = MODELS[name](name, image_shape(size)).eval()
    assert effscope.counters(module, imgsz=size).macs == effscope.cost(module, imgsz=size).macs


def test_a_batch_costs_as_many_single_images() -> None:
    module = of_timm("test_resnet", (1, 4, 64, 96)).eval()
    one, two = (effscope.counters(module, imgsz=(n, 4, 64, 96), check=True) for n in (1, 2))
    assert two.macs == 2 * one.macs
    assert [row.measured for row in two.rows if row.counter in TOOLS] == [
        2 * row.measured for row in one.rows if row.counter in TOOLS and row.measured is not None
    ]


@pytest.mark.parametrize("tool", TOOLS)
def test_one_counter_alone(tool: str) -> None:
    module = of_timm("test_resnet", (1, 1, 32, 48)).eval()
    (row,) = effscope.counters(module, imgsz=(1, 1, 32, 48), counter=tool, check=True).rows
    assert row.measured == row.count > 0


def test_a_wrong_number_of_channels_is_refused() -> None:
    module = of_timm("test_resnet", (1, 1, 64, 96)).eval()
    with pytest.raises(effscope.EffscopeError, match="channels"):
        effscope.counters(module, imgsz=(1, 3, 64, 96))
