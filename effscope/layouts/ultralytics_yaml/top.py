"""The top level of a layout file: keys, scale, numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from effscope.config.image_size import IMAGE_CHANNELS
from effscope.errors import EffscopeError
from effscope.layouts.blocks.heads import REG_MAX
from effscope.layouts.ultralytics_yaml.tables import activation_named, letter_of
from effscope.layouts.ultralytics_yaml.text import YamlValue
from effscope.spec.layout import Scale

UNLIMITED = Scale().max_channels
LARGEST = 1 << 20
"""Upper limit of the numbers in a file."""

OWN_KEY = "effscope"
"""Top-level key for what rows cannot express; Ultralytics ignores it."""

MODEL_KEYS = ("nc", "scales", "scale", "depth_multiple", "width_multiple", "activation", "end2end", "reg_max", "ch",
        "channels", OWN_KEY, "backbone", "head")  # fmt: skip
"""Top-level keys that change the model."""

IGNORED_KEYS = frozenset({
    "names", "path", "train", "val", "test", "download", "yaml_file", "task", "inplace", "kpt_shape", "text_model",
    "author", "date", "description", "license", "version", "docs", "stride",
})  # fmt: skip
"""Top-level keys that do not change a detector's layers."""

ANCHOR_FORM = (
    "a file with 'anchors' is in the format of the YOLOv5 repository, which Ultralytics does not build: "
    "give effscope the trained .pt file instead"
)


NOTHING = YamlValue(None, 0)


@dataclass(frozen=True)
class TopLevel:
    """A file with unread rows.

    Attributes:
        where: name of the file in errors.
        scale: the chosen scale; its name is "" if the file has one scale without a letter.
        letter: the letter for `ScaleRule`s: that of the scale, or of the file's name.
        note: one line on the chosen scale and the reason.
        nc: number of classes.
        activation: activation of the conv units.
        end2end: whether a Detect head gets a one-to-one copy.
        reg_max: bins of a Detect head.
        n_backbone: number of rows of the backbone.
        ch: channels of the image.
        rows: backbone and head.
        own: value of the key `effscope`, or None.
    """

    where: str
    scale: Scale
    letter: str
    note: str
    nc: int
    activation: str
    end2end: bool
    reg_max: int
    n_backbone: int
    ch: int
    rows: tuple[YamlValue, ...]
    own: YamlValue | None

    def fault(self, line: int, text: object) -> EffscopeError:
        """An error at a line of the file."""
        return EffscopeError(f"{self.where}, line {line}: {text}")

    def in_layer(self, n: int, text: object) -> EffscopeError:
        """An error at a row."""
        return self.fault(self.rows[n].line, f"layer {n}: {text}")


def top_level(root: YamlValue, name: str, where: str) -> TopLevel:
    """The top level of a file with the stem `name`. Raises EffscopeError for an unknown key or a wrong value."""
    fields = _fields(root, where)
    scale, letter, note = _scale(fields, name, where)
    backbone, head = fields["backbone"].value, fields["head"].value
    return TopLevel(
        where, scale, letter, note,
        nc=_whole(fields, "nc", where, None),
        activation=_activation(fields.get("activation", NOTHING), where),
        end2end=_flag(fields.get("end2end", NOTHING), "end2end", where),
        reg_max=_whole(fields, "reg_max", where, REG_MAX),
        n_backbone=len(backbone),
        ch=_whole(fields, "channels" if "channels" in fields else "ch", where, IMAGE_CHANNELS),
        rows=(*backbone, *head),
        own=fields.get(OWN_KEY),
    )  # fmt: skip


def _activation(field: YamlValue, where: str) -> str:
    if field.value is None:
        return "silu"
    try:
        return activation_named(field.value)
    except EffscopeError as e:
        raise EffscopeError(f"{where}, line {field.line}: {e}") from None


def _flag(field: YamlValue, key: str, where: str) -> bool:
    if field.value is not None and not isinstance(field.value, bool):
        raise EffscopeError(f"{where}, line {field.line}: '{key}' must be True or False, got {field.plain()!r:.100}")
    return bool(field.value)


def _fields(top: YamlValue, where: str) -> dict[str, YamlValue]:
    """The top-level keys. Raises EffscopeError for an unknown one."""
    if not isinstance(top.value, dict) or not all(_rows(top.value.get(part)) for part in ("backbone", "head")):
        raise EffscopeError(f"{where} is not a model layout: it needs the lists 'backbone' and 'head'")
    fields: dict[str, YamlValue] = top.value
    for key, field in fields.items():
        if key == "anchors":
            raise EffscopeError(f"{where}, line {field.line}: {ANCHOR_FORM}")
        if key not in MODEL_KEYS and key not in IGNORED_KEYS:
            raise EffscopeError(
                f"{where}, line {field.line}: effscope does not know what '{key}' changes in the model; "
                f"it reads {', '.join(MODEL_KEYS)}"
            )
    return fields


def _rows(field: YamlValue | None) -> bool:
    return field is not None and isinstance(field.value, list) and bool(field.value)


def _whole(fields: Mapping[str, YamlValue], key: str, where: str, default: int | None) -> int:
    """A positive whole number at the top level."""
    if key not in fields:
        if default is None:
            raise EffscopeError(f"{where} lacks the key '{key}', a positive whole number")
        return default
    value = fields[key].value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST:
        got = f"{fields[key].plain()!r:.100}"
        raise EffscopeError(f"{where}, line {fields[key].line}: '{key}' must be a positive whole number, got {got}")
    return value


def _scale(fields: Mapping[str, YamlValue], name: str, where: str) -> tuple[Scale, str, str]:
    """The scale for a file name, the letter for ScaleRules, and a note on the choice."""
    named = letter_of(name)
    field = fields.get("scales")
    if field is None or field.value is None:
        keys = ("depth_multiple", "width_multiple")
        depth, width = (_factor(fields[key], key, where) if key in fields else 1.0 for key in keys)
        return Scale("", depth, width), named, "it has one scale"
    scales = field.value
    if not isinstance(scales, dict) or not scales:
        raise EffscopeError(f"{where}, line {field.line}: 'scales' must map a letter to [depth, width, max_channels]")
    key = str(fields["scale"].value) if "scale" in fields else ""
    if named in scales:
        letter, why = named, "from its name"
    elif key in scales:
        letter, why = key, "from its key 'scale'"
    elif named and len(scales) > 1:
        raise EffscopeError(
            f"{where}, line {field.line}: the name asks for scale '{named}', the file has {', '.join(scales)}"
        )
    else:
        letter = next(iter(scales))
        why = "the only one" if len(scales) == 1 else f"the first of {', '.join(scales)}: its name has no letter"
    return _numbers(scales[letter], letter, where), letter, f"scale {letter}, {why}"


def _factor(field: YamlValue, what: str, where: str) -> float:
    value = field.value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST:
        got = f"{field.plain()!r:.100}"
        raise EffscopeError(f"{where}, line {field.line}: {what} must be a positive number, got {got}")
    return value


def _numbers(field: YamlValue, letter: str, where: str) -> Scale:
    """One line of `scales`: [depth, width, max_channels]; the last may be missing or infinite."""
    parts = field.value if isinstance(field.value, list) else []
    most = parts[2].value if len(parts) == 3 else math.inf  # noqa: PLR2004
    limited = isinstance(most, int | float) and not isinstance(most, bool) and most > 0
    if len(parts) not in (2, 3) or not (limited or most in (None, "inf")):
        raise EffscopeError(
            f"{where}, line {field.line}: scale '{letter}' must be [depth, width, max_channels], three positive "
            f"numbers; got {field.plain()!r}"
        )
    depth, width = (_factor(part, f"scale '{letter}'", where) for part in parts[:2])
    return Scale(letter, depth, width, int(most) if limited and math.isfinite(most) else UNLIMITED)
