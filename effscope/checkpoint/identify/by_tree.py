"""The layout of a pickled model, read off its module tree; the tree decides, not the yaml the file may carry."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from effscope.checkpoint.identify.classes import READERS, Read
from effscope.checkpoint.identify.module_view import Part, chain_links, common_activation
from effscope.checkpoint.read import Checkpoint
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.spec.layout import IMAGE, Layer, Layout, Scale
from effscope.spec.ops import owned

REAL = Scale(multiple=1)
"""Channels and repeats in a tree are real ones: nothing scales them."""

ANCHORS = "anchors"
"""Buffer of a YOLOv5-repository head: it becomes an argument of the block."""


def layout_of(checkpoint: Checkpoint) -> Layout:
    """The layout of a checkpoint whose module tree is of numbered layers (Ultralytics, YOLOv5 repository, their forks).

    Raises:
        EffscopeError: why there is none: a tree of another form, a class that cannot be read, tensors that do not fit.
    """
    records = {record.path: record for record in checkpoint.modules}
    rows = sorted(int(path.split(".")[1]) for path in records if re.fullmatch(r"model\.\d+", path))
    if not rows or rows != list(range(len(rows))):
        raise EffscopeError("its modules are not a row of numbered layers")
    activation = common_activation(records)
    parts = [Part(f"model.{n}", records, checkpoint.state, activation) for n in rows]
    layers = [_layer(n, part) for n, part in enumerate(parts)]
    nc = parts[-1].scalar("nc")
    if not isinstance(nc, int):
        raise EffscopeError(f"its last layer {parts[-1].kind()} is no detection head")
    layout = Layout(checkpoint.path.stem, tuple(layers), REAL, nc, _backbone(layers), activation)
    check_fit(layout, checkpoint.state)
    return layout


def without_constants(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without what layouts hold as arguments: anchors of a YOLOv5-repository head."""
    return {key: tensor for key, tensor in state.items() if key.rpartition(".")[2] not in (ANCHORS, "anchor_grid")}


def check_fit(layout: Layout, state: Mapping[str, Tensor]) -> None:
    """Raises EffscopeError if the layout's tensors are not those of the state dict, naming the first that differs."""
    wanted = {key: tuple(t.shape) for node in expand(layout).nodes for key, t in owned(node).items()}
    given = {key: tuple(t.shape) for key, t in without_constants(state).items()}
    for key in [*given, *wanted]:
        if key.endswith("num_batches_tracked"):
            continue
        if wanted.get(key) != given.get(key):
            raise EffscopeError(
                f"'{key}' is {given.get(key, 'missing')} in the file, {wanted.get(key, 'not there')} in the layout"
            )


def _backbone(layers: list[Layer]) -> int:
    """The backbone ends before the first layer that enlarges or joins maps."""
    ends = [n for n, layer in enumerate(layers) if layer.block in ("Upsample", "Concat", "ConvTranspose2d")]
    return ends[0] if ends else len(layers) - 1


def _layer(n: int, part: Part) -> Layer:
    block, args, repeats = _read(part)
    source = part.scalar("f", default=-1)
    numbers = source if isinstance(source, list | tuple) else [source]
    if not all(isinstance(s, int) for s in numbers):
        raise EffscopeError(f"layer {n} does not say which layers it reads")
    positions = [n + s if s < 0 else s for s in numbers]
    return Layer(str(n), block, args, tuple(str(p) if p >= 0 else IMAGE for p in positions), repeats, origin=str(n))


def _read(part: Part) -> Read:
    kind = part.kind()
    if kind == "Sequential" and part.count("") > 1 and part.kind("0") in READERS:
        kinds = {part.kind(str(i)) for i in range(part.count(""))}
        if len(kinds) == 1:
            block, args, _ = _read(part.at("0"))
            return block, args, part.count("")
    if kind == "Detect" and part.has("m.0"):
        return "AnchorDetect", ("nc", _anchors(part)), 1
    if kind in READERS:
        try:
            return READERS[kind](part)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise EffscopeError(f"{part.path} ({kind}) is not built as known: {e}") from None
    return "Chain", chain_links(part), 1


def _anchors(part: Part) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Anchor shapes in px: the file has them in cells."""
    cells, strides = part.tensor(ANCHORS), part.scalar("stride")
    if cells is None or cells.dim() != 3 or not isinstance(strides, list) or len(strides) != len(cells):  # noqa: PLR2004
        raise EffscopeError(f"{part.path}: its anchors are not (levels, shapes, 2) with a stride a level")
    rows = [(level.float() * stride).tolist() for level, stride in zip(cells, strides, strict=True)]
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in rows)
