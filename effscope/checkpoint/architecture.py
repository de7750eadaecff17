"""The layout of a pickled model, read off its module tree; the tree decides, not the yaml the file may carry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from effscope.blocks.heads import without_defaults
from effscope.checkpoint.part import Part, chain_links, common_activation
from effscope.checkpoint.read import Checkpoint
from effscope.errors import EffscopeError
from effscope.expand import expand
from effscope.spec.layout import IMAGE, Layer, Layout, Scale
from effscope.spec.ops import owned

REAL = Scale(multiple=1)
"""Channels and repeats in a tree are real ones: nothing scales them."""

Read = tuple[str, tuple[Any, ...], int]
"""Block, arguments, repeats."""

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
    parts = [Part(f"model.{n}", records, checkpoint.state) for n in rows]
    layers = [_layer(n, part) for n, part in enumerate(parts)]
    nc = parts[-1].scalar("nc")
    if not isinstance(nc, int):
        raise EffscopeError(f"its last layer {parts[-1].kind()} is no detection head")
    activation = common_activation(records)
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
    links, residual = chain_links(part)
    return "Chain", (links, residual), 1


def _anchors(part: Part) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Anchor shapes in px: the file has them in cells."""
    cells, strides = part.tensor(ANCHORS), part.scalar("stride")
    if cells is None or cells.dim() != 3 or not isinstance(strides, list) or len(strides) != len(cells):  # noqa: PLR2004
        raise EffscopeError(f"{part.path}: its anchors are not (levels, shapes, 2) with a stride a level")
    rows = [(level.float() * stride).tolist() for level, stride in zip(cells, strides, strict=True)]
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in rows)


def _conv(part: Part) -> Read:
    """A plain conv unit as `Conv`, any other as the chain it is."""
    a = part.conv()
    k, s = a["kernel_size"], a["stride"]
    usual = k[0] == k[1] and s[0] == s[1] and a["padding"] == (k[0] // 2, k[1] // 2) and a["dilation"] == (1, 1)
    if usual and a["groups"] == 1 and part.kind("act") != "Identity" and part.has("bn"):
        return "Conv", (a["out_channels"], k[0], s[0]), 1
    return "Chain", chain_links(part), 1


def _stage(block: str, closing: str, *arguments: Callable[[Part], Any]) -> Callable[[Part], Read]:
    """A reader of blocks with inner blocks `m`: channels of the closing convolution, then further arguments."""
    return lambda part: (block, (part.c_out(closing), *(argument(part) for argument in arguments)), part.count("m"))


def _shortcut(part: Part) -> bool:
    return part.scalar("add", "m.0") is True


def _c2f_cib(part: Part) -> Read:
    args = (part.c_out("cv2"), _shortcut(part), part.has("m.0.cv1.2.conv1"))
    return "C2fCIB", args, part.count("m")


def _detect(part: Part) -> Read:
    """The head: a known one, or one whose towers are chains."""
    inner = "cv3.0.0.1" if part.has("cv3.0.0.1.conv") else "cv3.0.0"
    usual = part.kind(inner) == "Conv" and part.k("cv2.0.0") == 3 and part.count("cv3.0") == part.count("cv2.0") == 3  # noqa: PLR2004
    if not usual or (inner == "cv3.0.0" and part.k(inner) != 3):  # noqa: PLR2004
        levels = range(part.count("cv2"))
        towers = tuple(tuple(chain_links(part.at(f"{cv}.{i}"))[0] for cv in ("cv2", "cv3")) for i in levels)
        return "ChainDetect", ("nc", towers, part.scalar("reg_max")), 1
    tower = "light" if part.has("cv3.0.0.1") else "standard"
    pairing = "dual" if part.has("one2one_cv2") else "o2m"
    return "Detect", without_defaults(("nc", tower, pairing, part.scalar("reg_max"))), 1


READERS: dict[str, Callable[[Part], Read]] = {
    "Conv": _conv,
    "DWConv": _conv,
    "C2f": _stage("C2f", "cv2", _shortcut),
    "C2fCIB": _c2f_cib,
    "SPPF": lambda part: ("SPPF", (part.c_out("cv2"), part.scalar("kernel_size", "m")), 1),
    "SCDown": lambda part: ("SCDown", (part.c_out("cv2"), part.k("cv2"), part.s("cv2")), 1),
    "PSA": lambda part: ("PSA", (part.c_out("cv2"), part.scalar("c") / part.c_out("cv2")), 1),
    "Upsample": lambda part: ("Upsample", (None, _whole(part.scalar("scale_factor")), part.scalar("mode")), 1),
    "Concat": lambda part: ("Concat", (part.scalar("d"),), 1),
    "Detect": _detect,
    "v10Detect": _detect,
}
"""Class name in the file -> how its layer is read. A class that is not here is read as a chain if it is one."""


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError(f"{number} is not a whole factor")
    return int(number)
