"""The layout of a model, which people write and the search changes: layers, a scale, a class count. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from effscope.config.image_size import IMAGE_CHANNELS
from effscope.errors import EffscopeError, unknown
from effscope.results.frozen import frozen

IMAGE = "image"
"""Source id of the model's input."""

CHANNEL_MULTIPLE = 8


@dataclass(frozen=True)
class Scale:
    """Compound scale of a family: nominal repeats times `depth`, nominal channels (capped) times `width`."""

    name: str = ""
    depth: float = 1.0
    width: float = 1.0
    max_channels: int = 1 << 30
    multiple: int = CHANNEL_MULTIPLE  # 1 if the layout was read from weights: its channels are already scaled

    def channels(self, nominal: int) -> int:
        """Scaled channels: ceil(min(nominal, max_channels) * width / multiple) * multiple."""
        return math.ceil(min(nominal, self.max_channels) * self.width / self.multiple) * self.multiple

    def repeats(self, nominal: int) -> int:
        """Scaled repeats: max(round(nominal * depth), 1); 1 stays 1."""
        return max(round(nominal * self.depth), 1) if nominal > 1 else nominal


@dataclass(frozen=True)
class Layer:
    """One line of a layout.

    Attributes:
        id: stable name; no move changes it, and other layers refer to it in `sources`.
        block: key of BLOCKS.
        args: nominal (unscaled) arguments in the order of the block function; channels come first if it has them.
        sources: ids of the layers that it reads, `image` for the input.
        repeats: nominal number of inner blocks.
        origin: id of the corresponding layer in the base layout; None for a new layer.
    """

    id: str
    block: str
    args: tuple[Any, ...] = ()
    sources: tuple[str, ...] = ()
    repeats: int = 1
    origin: str | None = None


@dataclass(frozen=True)
class Layout:
    """The layout of a model.

    Attributes:
        name: name in tables, e.g. `yolov8n`.
        layers: in forward order; every layer comes after its sources.
        scale: scales nominal channels and repeats.
        nc: number of classes.
        n_backbone: number of backbone layers; they come first (YAML has two lists).
        activation: activation of the conv units: one of ACTIVATIONS in `spec.ops`.
        ch: channels of the image.
    """

    name: str
    layers: tuple[Layer, ...]
    scale: Scale
    nc: int
    n_backbone: int
    activation: str = "silu"
    ch: int = IMAGE_CHANNELS

    def __post_init__(self) -> None:
        seen = {IMAGE}
        for layer in self.layers:
            missing = [s for s in layer.sources if s not in seen]
            if missing:
                raise EffscopeError(
                    f"layout {self.name}: layer '{layer.id}' reads '{missing[0]}', which is not an earlier layer"
                )
            if layer.id in seen:
                raise EffscopeError(f"layout {self.name}: two layers have the id '{layer.id}'")
            seen.add(layer.id)

    def index(self, layer_id: str) -> int:
        """Position of a layer: the N of `model.N` in state dicts. Raises EffscopeError for an unknown id."""
        for n, layer in enumerate(self.layers):
            if layer.id == layer_id:
                return n
        raise unknown("layer", layer_id, [layer.id for layer in self.layers])

    def layer(self, layer_id: str) -> Layer:
        """The layer with that id. Raises EffscopeError for an unknown id."""
        return self.layers[self.index(layer_id)]

    def swap(self, new: Iterable[Layer]) -> Layout:
        """The layout with layers replaced by those of `new` with the same id. Raises EffscopeError for unknown ids."""
        by_id = {layer.id: layer for layer in new}
        for layer_id in by_id:
            self.index(layer_id)
        return replace(self, layers=tuple(by_id.get(layer.id, layer) for layer in self.layers))

    def chain(self, row: tuple[Layer, ...]) -> Layout:
        """Replace the layer with the first id by a sequence of layers; its readers then read the last layer."""
        n, end = self.index(row[0].id), row[-1].id

        def reads(layer: Layer) -> Layer:
            return replace(layer, sources=tuple(end if s == row[0].id else s for s in layer.sources))

        later = [reads(layer) for layer in self.layers[n + 1 :]]
        deeper = len(row) - 1 if n < self.n_backbone else 0
        return replace(self, layers=(*self.layers[:n], *row, *later), n_backbone=self.n_backbone + deeper)

    def to_dict(self) -> dict[str, Any]:
        """The layout as dicts, lists, numbers and text; `from_dict` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Layout:
        """The inverse of `to_dict`; also accepts data read from JSON. Raises EffscopeError for other data."""
        try:
            layers = tuple(
                Layer(**{**row, "args": frozen(row["args"]), "sources": tuple(row["sources"])})
                for row in data["layers"]
            )
            return Layout(**{**data, "layers": layers, "scale": Scale(**data["scale"])})
        except (KeyError, TypeError) as e:
            raise EffscopeError(f"this is not a layout of effscope: {e}") from None

    def digest(self) -> str:
        """Hash (16 hex digits) of all fields except the name. Colour images are left out: they are usual."""
        fields = {key: value for key, value in vars(self).items() if (key, value) != ("ch", IMAGE_CHANNELS)}
        text = json.dumps({**fields, "name": ""}, sort_keys=True, default=vars)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
