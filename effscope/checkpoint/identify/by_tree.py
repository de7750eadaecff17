"""The layout of a pickled model, from its module tree. The yaml in the file, if any, is not used."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from effscope.checkpoint.contents import Checkpoint
from effscope.checkpoint.identify.classes import CLASS_READERS, Read
from effscope.checkpoint.identify.module_view import ModuleView, chain_links, common_activation
from effscope.config.image_size import IMAGE_CHANNELS
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.spec.layout import IMAGE, Layer, Layout, Scale
from effscope.spec.ops import owned

REAL = Scale(multiple=1)
"""Channels and repeats in a module tree are already scaled."""

MAPS = 4
ANCHORS = "anchors"
"""Buffer in the head of the YOLOv5 repository. It is an argument of the block, not a tensor of the layout."""


def layout_of(checkpoint: Checkpoint) -> Layout:
    """The layout of a checkpoint with numbered layers (Ultralytics, the YOLOv5 repository, their forks).

    Raises:
        EffscopeError: the tree has another form, a class cannot be read, or the tensors do not fit.
    """
    records = {record.path: record for record in checkpoint.modules}
    rows = sorted(int(path.split(".")[1]) for path in records if re.fullmatch(r"model\.\d+", path))
    if not rows or rows != list(range(len(rows))):
        raise EffscopeError("its modules are not numbered layers")
    activation = common_activation(records)
    modules = [ModuleView(f"model.{n}", records, checkpoint.state, activation) for n in rows]
    layers = [_layer(n, module) for n, module in enumerate(modules)]
    nc = modules[-1].scalar("nc")
    if not isinstance(nc, int):
        raise EffscopeError(f"its last layer {modules[-1].kind()} is not a detection head")
    ch = image_channels(checkpoint.state)
    layout = Layout(checkpoint.path.stem, tuple(layers), REAL, nc, _backbone(layers), activation, ch)
    check_fit(layout, checkpoint.state)
    return layout


def image_channels(state: Mapping[str, Tensor]) -> int:
    """Channels of the image, from the first convolution if layer 0 is one; else those of colour images."""
    stem = state.get("model.0.conv.weight")
    return IMAGE_CHANNELS if stem is None or stem.dim() != MAPS else int(stem.shape[1])


def without_constants(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without the tensors that are arguments in a layout: the anchors of a head of the YOLOv5 repository."""
    return {key: tensor for key, tensor in state.items() if key.rpartition(".")[2] not in (ANCHORS, "anchor_grid")}


def check_fit(layout: Layout, state: Mapping[str, Tensor]) -> None:
    """Raises EffscopeError, with the first difference, if layout and state dict have different tensors."""
    wanted = {key: tuple(t.shape) for node in expand(layout).nodes for key, t in owned(node).items()}
    given = {key: tuple(t.shape) for key, t in without_constants(state).items()}
    for key in [*given, *wanted]:
        if key.endswith("num_batches_tracked"):
            continue
        if wanted.get(key) != given.get(key):
            raise EffscopeError(
                f"'{key}' is {given.get(key, 'missing')} in the file, {wanted.get(key, 'missing')} in the layout"
            )


def _backbone(layers: list[Layer]) -> int:
    """The number of backbone layers: all layers before the first one that upsamples or concatenates maps."""
    ends = [n for n, layer in enumerate(layers) if layer.block in ("Upsample", "Concat", "ConvTranspose2d")]
    return ends[0] if ends else len(layers) - 1


def _layer(n: int, module: ModuleView) -> Layer:
    block, args, repeats = _read(module)
    source = module.scalar("f", default=-1)
    numbers = source if isinstance(source, list | tuple) else [source]
    if not all(isinstance(s, int) for s in numbers):
        raise EffscopeError(f"layer {n} does not say which layers are its inputs")
    positions = [n + s if s < 0 else s for s in numbers]
    return Layer(str(n), block, args, tuple(str(p) if p >= 0 else IMAGE for p in positions), repeats, origin=str(n))


def _read(module: ModuleView) -> Read:
    kind = module.kind()
    if kind == "Sequential" and module.count("") > 1 and module.kind("0") in CLASS_READERS:
        kinds = {module.kind(str(i)) for i in range(module.count(""))}
        if len(kinds) == 1:
            block, args, _ = _read(module.at("0"))
            return block, args, module.count("")
    if kind == "Detect" and module.has("m.0"):
        return "AnchorDetect", ("nc", _anchors(module)), 1
    if kind in CLASS_READERS:
        try:
            return CLASS_READERS[kind](module)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise EffscopeError(f"{module.path} ({kind}) is not built as expected: {e}") from None
    return "Chain", chain_links(module), 1


def _anchors(module: ModuleView) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Anchors per level as (width, height) in px. The file has them in cells."""
    cells, strides = module.tensor(ANCHORS), module.scalar("stride")
    if cells is None or cells.dim() != 3 or not isinstance(strides, list) or len(strides) != len(cells):  # noqa: PLR2004
        raise EffscopeError(f"{module.path}: its anchors are not (levels, shapes, 2) with one stride for each level")
    rows = [(level.float() * stride).tolist() for level, stride in zip(cells, strides, strict=True)]
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in rows)
