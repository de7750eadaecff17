"""Tables of the zoo and of classification backbones: counts and published figures."""

from __future__ import annotations

from dataclasses import replace

from effscope.config import ZooConfig
from effscope.costing.model import cost, cost_graph
from effscope.errors import EffscopeError
from effscope.layouts.zoo.catalog import ZOO
from effscope.layouts.zoo.published import BACKBONES, BACKBONES_SOURCE, PUBLISHED, SOURCE
from effscope.models.naming import find_model
from effscope.models.open import open_model
from effscope.progress import Progress
from effscope.results import ZooResult, ZooRow, origin

NO_LAYOUT = "cannot be expressed yet"
SIZE, BACKBONE_SIZE = 640, 224
COUNTS = ("params", "params_one_head", "params_deploy", "macs", "flops", "conv_flops")


def list_zoo(pattern: str, progress: Progress) -> ZooResult:
    """Built-in models with the pattern in their names, then published models without a layout.

    Raises:
        EffscopeError: no name contains the pattern.
    """
    names = [name for name in [*ZOO, *(n for n in PUBLISHED if n not in ZOO)] if pattern in name]
    if not names:
        raise EffscopeError(f"no built-in model contains '{pattern}': `effscope zoo` lists all of them")
    rows = []
    for n, name in enumerate(names):
        progress(n / len(names), f"counting {name}")
        rows.append(_zoo_row(name))
    title = f"built-in models, 80 classes, {SIZE} px"
    return ZooResult(
        title,
        f"one image of {SIZE} px",
        SOURCE,
        ("params_deploy", "conv_flops"),
        tuple(rows),
        origin(ZooConfig(pattern)),
    )


def _zoo_row(name: str) -> ZooRow:
    found = PUBLISHED.get(name)
    row = ZooRow(name, note=NO_LAYOUT)
    if found is not None:
        row = replace(row, published_params_m=found.params_m, published_flops_g=found.flops_g, ap=found.ap)
    if name not in ZOO:
        return row
    c = cost(ZOO[name](80), SIZE)
    note = f"not counted: {', '.join(c.uncounted)}" if c.uncounted else ""
    return replace(row, **{key: getattr(c, key) for key in COUNTS}, note=note)


def list_backbones(progress: Progress) -> ZooResult:
    """Classification backbones from torchvision and timm. Their published FLOPs are multiply-adds.

    Raises:
        EffscopeError: timm is not installed.
    """
    for model, *_ in BACKBONES.values():
        find_model(model)
    rows = []
    for n, (name, (model, params_m, macs_g)) in enumerate(BACKBONES.items()):
        progress(n / len(BACKBONES), f"tracing {model}")
        opened = open_model(model)
        c = cost_graph(opened.graph, opened.outline, BACKBONE_SIZE)
        row = ZooRow(name, published_params_m=params_m, published_flops_g=macs_g, note=model)
        rows.append(replace(row, **{key: getattr(c, key) for key in COUNTS}))
    title = f"classification backbones, {BACKBONE_SIZE} px"
    return ZooResult(
        title,
        f"one image of {BACKBONE_SIZE} px",
        BACKBONES_SOURCE,
        ("params", "macs"),
        tuple(rows),
        origin(ZooConfig(backbones=True)),
    )
