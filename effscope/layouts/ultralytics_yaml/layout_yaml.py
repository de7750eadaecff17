"""Read layouts from YAML files in Ultralytics' format, and write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effscope.config.image_size import IMAGE_CHANNELS, image_shape
from effscope.errors import EffscopeError, LayerError
from effscope.layouts.blocks.heads import without_defaults
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.expand import expand
from effscope.layouts.ultralytics_yaml import rows
from effscope.layouts.ultralytics_yaml.tables import (
    NAMES,
    SAME_ARGUMENTS,
    SCALE_RULES,
    SHARED_BLOCKS,
    activation_call,
    detect_written,
    detection_heads,
    letter_of,
    rule_at,
)
from effscope.layouts.ultralytics_yaml.text import flow, parsed
from effscope.layouts.ultralytics_yaml.top import OWN_KEY, UNLIMITED, TopLevel, top_level
from effscope.spec.graph import Graph
from effscope.spec.layout import CHANNEL_MULTIPLE, IMAGE, Layer, Layout, Scale
from effscope.spec.ops import shapes

SMALL_SIZE = 256
"""Side of the image in px to check a layout; Ultralytics uses the same to find the strides."""

FIRST_LETTER = "n"
"""Letter of a scale without a letter, if the file needs one. No `ScaleRule` applies to it."""


@dataclass(frozen=True)
class YamlLayout:
    """A layout from a file, and one line on the chosen scale and the reason."""

    layout: Layout
    note: str


def from_yaml(text: str, name: str = "layout", where: str = "YAML") -> Layout:
    """A layout from YAML text in Ultralytics' format. Layer ids are positions, unless the key `effscope` has others.

    Args:
        text: the file's content.
        name: file stem, e.g. `yolov8n`. Its letter chooses the scale; else the key `scale`; else the first scale.
        where: name of the text in errors, normally its path.

    Raises:
        EffscopeError: not a detection layout; the message names the line and the choices.
    """
    return _read(text, name, where).layout


def open_yaml(path: Path) -> YamlLayout:
    """The layout of a YAML file, and a note on its scale. Raises like `from_yaml`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise EffscopeError(f"cannot read {path}: {e}") from None
    return _read(text, path.stem, str(path))


def read_yaml(path: Path) -> Layout:
    """The layout of a YAML file. Raises like `from_yaml`."""
    return open_yaml(path).layout


def _read(text: str, name: str, where: str) -> YamlLayout:
    top = top_level(parsed(text, where), name, where)
    layers = tuple(rows.layer(top, n) for n in range(len(top.rows)))
    last = layers[-1].block
    if not BLOCKS[last].head:
        heads = ", ".join(detection_heads())
        raise top.in_layer(
            len(layers) - 1, f"the last layer is a {last}, which is not a detection head: give one of {heads}"
        )
    layout = _with_own(Layout(name, layers, top.scale, top.nc, top.n_backbone, top.activation, top.ch), top)
    _check(layout, top)
    return YamlLayout(layout, top.note)


def _with_own(layout: Layout, top: TopLevel) -> Layout:
    """The layout with the ids, origins and numbers of the key `effscope`."""
    if top.own is None:
        return layout
    match top.own.plain():
        case dict() as own if set(own) <= set(_own(layout)):
            values = {**_own(layout), **own}
        case _:
            raise top.fault(top.own.line, f"'{OWN_KEY}' takes the keys {', '.join(_own(layout))}")
    ids, origins = values["ids"], values["origins"]
    listed = all(isinstance(row, list) and len(row) == len(layout.layers) for row in (ids, origins))
    whole = all(type(values[key]) is int for key in ("backbone", "multiple"))
    if not (listed and whole and 0 <= values["backbone"] <= len(layout.layers) and 0 < values["multiple"] <= UNLIMITED):
        fits = f"'{OWN_KEY}' does not fit the {len(layout.layers)} layers of the file: correct it or delete it"
        raise top.fault(top.own.line, fits)
    new = [str(v) for v in ids]

    def renamed(layer: Layer, origin: Any) -> Layer:
        read = tuple(s if s == IMAGE else new[int(s)] for s in layer.sources)
        return replace(layer, id=new[int(layer.id)], sources=read, origin=None if origin is None else str(origin))

    layers = tuple(renamed(layer, origin) for layer, origin in zip(layout.layers, origins, strict=True))
    scale = replace(layout.scale, name=str(values["scale"]), multiple=values["multiple"])
    try:
        return replace(layout, layers=layers, scale=scale, n_backbone=values["backbone"])
    except EffscopeError as e:
        raise top.fault(top.own.line, e) from None


def _own(layout: Layout) -> dict[str, Any]:
    """The values of the key `effscope` for a layout. Ids that look like whole numbers are written as numbers."""
    return {
        "ids": [_short(layer.id) for layer in layout.layers],
        "origins": [_short(layer.origin) for layer in layout.layers],
        "backbone": layout.n_backbone,
        "scale": layout.scale.name,
        "multiple": layout.scale.multiple,
    }


def _short(name: str | None) -> str | int | None:
    return int(name) if name and re.fullmatch(r"0|[1-9][0-9]{0,8}", name) else name


def _check(layout: Layout, top: TopLevel) -> None:
    """Raises EffscopeError, with the line, for layers that do not fit together or repeats that change the channels."""
    try:
        graph = expand(layout)
        shapes(graph, image_shape(SMALL_SIZE, layout.ch))
    except LayerError as e:
        raise top.in_layer(layout.index(e.layer), e.reason) from None
    for n, layer in enumerate(layout.layers):
        if not BLOCKS[layer.block].repeats and layout.scale.repeats(layer.repeats) > 1:
            widths = _copies(graph, layer.id, n)
            if len(widths) > 1:
                reads = " and ".join(map(str, widths))
                raise top.in_layer(n, f"a repeated {layer.block} must keep the channels; its copies read {reads}")


def _copies(graph: Graph, layer: str, n: int) -> list[int]:
    """The different input channels of the copies of a repeated layer."""
    first: dict[str, int] = {}
    for node in graph.in_layer(layer):
        copy = re.match(rf"model\.{n}\.(\d+)", node.name)
        if copy and "c_in" in node.args:
            first.setdefault(copy.group(1), node.args["c_in"])
    return list(dict.fromkeys(first.values()))


def to_yaml(layout: Layout) -> str:
    """The layout as YAML text for Ultralytics: nc, one scale, backbone, head.

    Ultralytics ignores the key `effscope`, which has what rows cannot express (ids that are not positions, origins):
    `from_yaml(to_yaml(layout), layout.name) == layout`.

    Raises:
        EffscopeError: Ultralytics would build another model; the message names the part that YAML cannot express.
    """
    _writable(layout)
    head, keys = _head(layout)
    letter = _letter(layout)
    written = [_row(layout, n, letter, head) for n in range(len(layout.layers))]
    n_backbone = min(max(layout.n_backbone, 1), len(layout.layers) - 1)
    plain = replace(layout, n_backbone=n_backbone, scale=replace(layout.scale, name=letter, multiple=CHANNEL_MULTIPLE))
    plain_ids = list(range(len(layout.layers)))
    usual = {**_own(plain), "ids": plain_ids, "origins": plain_ids}
    own = [f"  {key}: {flow(value, nested=True)}" for key, value in _own(layout).items() if value != usual[key]]
    lines = [
        f"# {re.sub('[^ -~]', '?', layout.name)}, written by effscope",
        f"nc: {layout.nc}",
        *([] if layout.ch == IMAGE_CHANNELS else [f"ch: {layout.ch}"]),
        *([] if layout.activation == "silu" else [f"activation: {activation_call(layout.activation)}"]),
        *(f"{key}: {value}" for key, value in keys.items()),
        *_scale_lines(layout.scale, letter),
        *([f"{OWN_KEY}:  # not expressed by the rows"] if own else []),
        *own,
        "backbone:  # [from, repeats, module, args]",
        *written[:n_backbone],
        "head:",
        *written[n_backbone:],
    ]
    text = "\n".join(lines) + "\n"
    if not same(from_yaml(text, layout.name, f"{layout.name} as YAML"), layout):
        raise EffscopeError(f"{layout.name} cannot be written as YAML: reading it again gives another layout")
    return text


def _writable(layout: Layout) -> None:
    """Raises EffscopeError for a layer that no row can express."""
    rounding = replace(layout.scale, multiple=CHANNEL_MULTIPLE)
    for n, layer in enumerate(layout.layers):
        place = f"{layout.name}, layer '{layer.id}'"
        if layer.block not in SHARED_BLOCKS:
            raise EffscopeError(
                f"{place} is a {layer.block}: Ultralytics' YAML has no such block; export another format"
            )
        block = BLOCKS[layer.block]
        if n and IMAGE in layer.sources:
            raise EffscopeError(
                f"{place} reads the image: in YAML only the first row can do that; insert an Identity as first layer"
            )
        if len(layer.args) > SAME_ARGUMENTS.get(layer.block, len(layer.args)) and layer.block != "Detect":
            raise EffscopeError(f"{place}: a {layer.block} row cannot hold {len(layer.args)} arguments")
        if block.scaled and layer.args and rounding.channels(layer.args[0]) != layout.scale.channels(layer.args[0]):
            raise EffscopeError(
                f"{place} has {layout.scale.channels(layer.args[0])} channels: YAML cannot express that, Ultralytics "
                f"rounds widths to multiples of {CHANNEL_MULTIPLE}"
            )


def _head(layout: Layout) -> tuple[str, Mapping[str, Any]]:
    """Module name of the head, and the top-level keys that it needs."""
    last = layout.layers[-1]
    if not BLOCKS[last.block].head:
        raise EffscopeError(
            f"{layout.name} ends in a {last.block}, not in a detection head: it cannot be written as YAML"
        )
    return detect_written(layout, last.args) if last.block == "Detect" else (last.block, {})


def _letter(layout: Layout) -> str:
    """The letter of the scale in the file; "" if depth_multiple and width_multiple are enough."""
    scale = layout.scale
    tied = letter_of(layout.name) and any(layer.block in SCALE_RULES for layer in layout.layers)
    return scale.name or (FIRST_LETTER if tied or scale.max_channels != UNLIMITED else "")


def _scale_lines(scale: Scale, letter: str) -> list[str]:
    if not letter:
        return [f"depth_multiple: {flow(scale.depth)}", f"width_multiple: {flow(scale.width)}"]
    most = ".inf" if scale.max_channels == UNLIMITED else scale.max_channels
    return ["scales:  # [depth, width, max_channels]",
            f"  {flow(letter)}: [{flow(scale.depth)}, {flow(scale.width)}, {most}]"]  # fmt: skip


def _row(layout: Layout, n: int, letter: str, head: str) -> str:
    layer = layout.layers[n]
    block = BLOCKS[layer.block]
    positions = [-1 if s == IMAGE else layout.index(s) for s in layer.sources]
    near = positions if block.head else [-1 if p == n - 1 else p for p in positions]
    module = head if block.head else NAMES.get(layer.block, layer.block)
    args, rule = layer.args[:1] if layer.block == "Detect" else layer.args, rule_at(layer.block, letter)
    if rule:
        args = rule.write(layer.args)
        if rule.read(args) != layer.args:
            raise EffscopeError(
                f"{layout.name}, layer '{layer.id}': at scale {letter} Ultralytics builds every {layer.block} as "
                f"{list(rule.read(args))}, YAML cannot express {list(layer.args)}"
            )
    listed = ", ".join(flow(arg) for arg in args)
    source = flow(near if block.many else near[0])
    return f"  - [{source}, {layer.repeats}, {module}, [{listed}]]  # {n}"


def same(a: Layout, b: Layout) -> bool:
    """Whether two layouts are equal; default arguments of the head may be omitted."""

    def short(layout: Layout) -> Layout:
        heads = [layer for layer in layout.layers if layer.block == "Detect"]
        return layout.swap(replace(layer, args=without_defaults(layer.args)) for layer in heads)

    return short(a) == short(b)
