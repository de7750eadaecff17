"""Models of other packages by name, with untrained weights: `torchvision:NAME`, `timm:NAME`. No downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from effscope.config.image_size import ImageSize
from effscope.errors import EffscopeError
from effscope.tracing.importer import Imported, import_module
from effscope.tracing.inputs import Asked, Inputs, asked_inputs

CLASSIFIER_SIZE = 224
"""Side in px of the images of most classifiers."""

SIZES = {"inception_v3": 299}
"""torchvision model -> side in px, if it is not `CLASSIFIER_SIZE`."""


@dataclass(frozen=True)
class Hub:
    """A package with models: their names, a function that makes one, and the side in px of its images."""

    names: Callable[[], list[str]]
    make: Callable[[str], nn.Module]
    size: Callable[[str, nn.Module], int]


def _torchvision_names() -> list[str]:
    from torchvision.models import list_models  # noqa: PLC0415 - slow import

    return list(list_models())


def _torchvision_model(name: str) -> nn.Module:
    from torchvision.models import get_model  # noqa: PLC0415

    try:
        made: nn.Module = get_model(name, weights=None, weights_backbone=None)
    except (TypeError, ValueError):  # a classifier has no backbone to load
        made = get_model(name, weights=None)
    return made


def _timm_names() -> list[str]:
    import timm  # noqa: PLC0415 - optional

    return list(timm.list_models())


def _timm_model(name: str) -> nn.Module:
    import timm  # noqa: PLC0415

    made: nn.Module = timm.create_model(name, pretrained=False)
    return made


def _timm_size(name: str, module: nn.Module) -> int:
    facts = getattr(module, "default_cfg", None) or {}
    return int(facts.get("input_size", (3, CLASSIFIER_SIZE, CLASSIFIER_SIZE))[-1])


HUBS: dict[str, Hub] = {
    "torchvision": Hub(_torchvision_names, _torchvision_model, lambda name, module: SIZES.get(name, CLASSIFIER_SIZE)),
    "timm": Hub(_timm_names, _timm_model, _timm_size),
}
"""Prefix of the model name -> package."""


@dataclass(frozen=True)
class HubModel:
    """A traced model of a hub.

    Attributes:
        module: the traced module: the whole model, or only its backbone if the whole cannot be traced.
        imported: its trace.
        imgsz: size of the input of the trace.
        shape: its shape.
        note: note for the reader, or "".
        inputs: the arguments of the trace, if the user gave them; else None.
    """

    module: nn.Module
    imported: Imported
    imgsz: ImageSize
    shape: tuple[int, ...]
    note: str = ""
    inputs: Inputs | None = None


def open_hub(model: str, imgsz: ImageSize | None = None, inputs: Any = None, seed: int = 0) -> HubModel:
    """Make and trace a model.

    Args:
        model: `torchvision:resnet50`, `timm:ghostnet_100`.
        imgsz: size of the image; default: the native size of the model.
        inputs: arguments instead of one image, as in `open_model`.
        seed: seed of the weights. The global random state does not change.

    Raises:
        EffscopeError: an unknown name, or a model that cannot be traced.
    """
    prefix, _, name = model.partition(":")
    hub = HUBS[prefix]
    names = hub.names()
    if name not in names:
        near = get_close_matches(name, names, n=4)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise EffscopeError(f"{prefix} has no model '{name}'{meant}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = hub.make(name).eval()
    asked = asked_inputs(module, imgsz or hub.size(name, module), inputs)
    return _traced(module, model, asked)


def _traced(module: nn.Module, name: str, asked: Asked) -> HubModel:
    try:
        imported = import_module(module, asked.shape, name, asked.inputs)
        return HubModel(module, imported, asked.size, asked.shape, inputs=asked.given)
    except EffscopeError:
        backbone = getattr(module, "backbone", None)
        if not isinstance(backbone, nn.Module):
            raise
    imported = import_module(backbone, asked.shape, name, asked.inputs)
    note = "only its backbone: the whole detector cannot be traced"
    return HubModel(backbone, imported, asked.size, asked.shape, note, asked.given)
