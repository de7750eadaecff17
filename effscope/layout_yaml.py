"""Layouts as Ultralytics-style YAML, both ways. Facts: REFERENCE section 1 (what that reader makes of a file)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from effscope.blocks.table import BLOCKS
from effscope.errors import EffscopeError, unknown
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

NAMES = {"Upsample": "nn.Upsample"}
"""Our block name -> the name YAML files use, where they differ."""

SWITCHES_TO_LIGHT = frozenset({"C2fCIB"})
"""Blocks whose presence makes Ultralytics build the light class head, whatever the Detect line says."""

KEYS = ("nc", "scales", "depth_multiple", "width_multiple", "backbone", "head")
"""Top-level keys of a YAML that are read; any other changes the model and is refused."""

SCALE_IN_NAME = re.compile(r"yolov?\d+([a-z])(?![a-z])")


def spells_light(layout: Layout) -> bool:
    """Whether Ultralytics builds the light class head for this layout."""
    return any(layer.block in SWITCHES_TO_LIGHT for layer in layout.layers)


def _check_head(layout: Layout) -> None:
    light = any(layer.block == "Detect" and layer.args[1:] == ("light",) for layer in layout.layers)
    if light == spells_light(layout):
        return
    if light:
        raise EffscopeError(
            f"{layout.name} has the light class head but no CIB stage: YAML cannot spell that, "
            "Ultralytics builds the light head only beside a C2fCIB"
        )
    raise EffscopeError(
        f"{layout.name} has CIB stages under the standard class head: YAML cannot spell that, Ultralytics "
        "builds the light head beside any C2fCIB; search with --head light"
    )


def _row(layout: Layout, n: int) -> str:
    layer = layout.layers[n]
    sources = [n - 1 if s == IMAGE else layout.index(s) for s in layer.sources]
    sources = [-1 if s == n - 1 else s for s in sources]
    args = ["nc"] if layer.block == "Detect" else ["None" if a is None else a for a in layer.args]
    source = sources if BLOCKS[layer.block].many else sources[0]
    values = [source, layer.repeats, NAMES.get(layer.block, layer.block), args]
    text = yaml.safe_dump(values, default_flow_style=True, width=1000).strip()
    return f"  - {text}  # {n}"


def to_yaml(layout: Layout) -> str:
    """The layout as Ultralytics-style YAML text: nc, one scale, backbone, head.

    Raises:
        EffscopeError: the class head cannot be spelled (CIB stages and standard head, or the reverse).
    """
    _check_head(layout)
    s = layout.scale
    rows = [_row(layout, n) for n in range(len(layout.layers))]
    lines = [
        f"# {layout.name}, written by effscope",
        f"nc: {layout.nc}",
        "scales:  # [depth, width, max_channels]",
        f"  {s.name or 'n'}: [{s.depth}, {s.width}, {s.max_channels}]",
        "backbone:  # [from, repeats, module, args]",
        *rows[: layout.n_backbone],
        "head:",
        *rows[layout.n_backbone :],
    ]
    return "\n".join(lines) + "\n"


def _sources(source: int | list[int], n: int, where: str) -> tuple[str, ...]:
    indices = [n + s if s < 0 else s for s in (source if isinstance(source, list) else [source])]
    for s in indices:
        if s >= n or (s < 0 and n > 0):
            raise EffscopeError(f"{where}: 'from' names layer {s}, which is not before layer {n}")
    return tuple(IMAGE if s < 0 else str(s) for s in indices)


def _layer(row: Any, n: int, where: str) -> Layer:
    match row:
        case [int() as source, int() as repeats, str() as module, list() as args]:
            block = module.removeprefix("nn.")
        case [[*source], int() as repeats, str() as module, list() as args] if all(isinstance(s, int) for s in source):
            block = module.removeprefix("nn.")
        case _:
            raise EffscopeError(f"{where}: a layer is [from, repeats, module, args], got {row}")
    if block not in BLOCKS:
        raise EffscopeError(f"{where}: {unknown('block', module, BLOCKS)}")
    plain = tuple({"None": None, "True": True, "False": False}.get(a, a) if isinstance(a, str) else a for a in args)
    return Layer(str(n), block, plain, _sources(source, n, where), repeats, origin=str(n))


def _scale(data: dict[str, Any], name: str, where: str) -> Scale:
    scales = data.get("scales") or {"": [data.get("depth_multiple", 1.0), data.get("width_multiple", 1.0), 1 << 30]}
    if not isinstance(scales, dict):
        raise EffscopeError(f"{where}: 'scales' must map a letter to [depth, width, max_channels]")
    found = SCALE_IN_NAME.search(name)
    letter = found.group(1) if found and found.group(1) in scales else next(iter(scales))
    match scales[letter]:
        case [int() | float() as depth, int() | float() as width, int() as most] if min(depth, width, most) > 0:
            return Scale(str(letter), depth, width, most)
    raise EffscopeError(f"{where}: scale '{letter}' must be [depth, width, max_channels], three positive numbers")


def from_yaml(text: str, name: str = "layout", where: str = "YAML") -> Layout:
    """A layout from Ultralytics-style YAML text. Layer ids are positions; the scale is read off the name.

    Args:
        text: the file's content.
        name: file stem, e.g. `yolov8n`: its letter picks the scale, else the first one is taken.
        where: how errors call the text, normally its path.

    Raises:
        EffscopeError: not a detection layout; says which layer and what the choices are.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise EffscopeError(f"{where} is not YAML: {' '.join(str(e).split())}") from None
    lists = [data.get(part) for part in ("backbone", "head")] if isinstance(data, dict) else []
    if not lists or not all(isinstance(part, list) and part for part in lists):
        raise EffscopeError(f"{where} is no model layout: it needs the lists 'backbone' and 'head'")
    for key in data:
        if key not in KEYS:
            raise EffscopeError(f"{where}: effscope cannot express '{key}' yet; it reads {', '.join(KEYS)}")
    nc = data.get("nc", 80)
    if not isinstance(nc, int) or nc < 1:
        raise EffscopeError(f"{where}: 'nc' must be a positive whole number, got {nc!r}")
    rows = [*data["backbone"], *data["head"]]
    layers = [_layer(row, n, f"{where}, layer {n}") for n, row in enumerate(rows)]
    layout = Layout(name, tuple(layers), _scale(data, name, where), nc, len(data["backbone"]))
    tower = ("nc", "light") if spells_light(layout) else ("nc",)
    return layout.swap(replace(layer, args=tower) for layer in layout.layers if layer.block == "Detect")


def read_yaml(path: Path) -> Layout:
    """The layout in a YAML file. Raises EffscopeError as `from_yaml`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise EffscopeError(f"cannot read {path}: {e}") from None
    return from_yaml(text, path.stem, str(path))
