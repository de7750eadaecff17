"""Checks of the values of settings. Messages name a setting in backticks; the command line prints it as a flag."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from math import inf
from typing import Any, ClassVar, TypeVar

from effscope.errors import EffscopeError, unknown

Check = Callable[[str, Any], None]
"""(name, value) -> raises EffscopeError if the value is invalid."""

IMGSZ_MULTIPLE = 32
"""Largest stride of the detectors: feature maps of other image sizes do not fit together."""

SEED_BELOW = 2**63


def at_least(least: int) -> Check:
    """Check for a whole number of at least `least`."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise EffscopeError(f"`{name}` must be a whole number, got {value!r}")
        if value < least:
            raise EffscopeError(f"`{name}` must be at least {least}, got {value}")

    return check


def one_of(*words: str) -> Check:
    """Check for one of a few words."""

    def check(name: str, value: Any) -> None:
        if value not in words:
            raise unknown(f"`{name}`", value, words)

    return check


def seed_number(name: str, value: Any) -> None:
    """Check for a whole number from -2^63 to 2^63 - 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise EffscopeError(f"`{name}` must be a whole number, got {value!r}")
    if not -SEED_BELOW <= value < SEED_BELOW:
        raise EffscopeError(f"`{name}` must fit in 63 bits, got {value}")


def image_side(name: str, value: Any) -> None:
    """Check for an image side in px that fits every detector."""
    at_least(1)(name, value)
    if value % IMGSZ_MULTIPLE:
        raise EffscopeError(f"`{name}` must be a multiple of {IMGSZ_MULTIPLE}, got {value}")


def fraction(name: str, value: Any) -> None:
    """Check for a loss or a level of AP: a number from 0 to less than 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise EffscopeError(
            f"`{name}` must be a fraction, at least 0 and below 1 (0.01 is one AP point), got {value!r}"
        )


def positive(name: str, value: Any) -> None:
    """Check for a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise EffscopeError(f"`{name}` must be a number above 0, got {value!r}")


_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def seconds_of(name: str, text: str) -> float:
    """Seconds of a duration like 2h, 90m, 1h30m or 45s.

    Raises:
        EffscopeError: another text, or no time at all.
    """
    found = _SPAN.fullmatch(text.strip().lower().replace(" ", "")) if isinstance(text, str) else None
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not found or seconds <= 0:
        raise EffscopeError(f"`{name}` must be a duration like 2h, 90m or 1h30m, got {text!r}")
    return seconds


def duration_text(name: str, value: Any) -> None:
    """Check for a duration that `seconds_of` reads."""
    seconds_of(name, value)


class Checked:
    """A frozen config that checks its fields when it is created; None means "not given" and is accepted.

    `CHECKS`: field -> check of its value. `ABOUT`: field -> a line for the help of the Python functions; where their
    default is None, it says what that means. `FREE`: fields that decide no outcome.

    Raises:
        EffscopeError: a field has an invalid value.
    """

    CHECKS: ClassVar[Mapping[str, Check]] = {}
    ABOUT: ClassVar[Mapping[str, str]] = {}
    FREE: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name, check in self.CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                check(name, value)


T = TypeVar("T")


def configured(kind: type[T], settings: Mapping[str, Any]) -> T:
    """A config from settings by name; None means not given.

    Raises:
        EffscopeError: an unknown setting, or an invalid value.
    """
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    check_names(settings, names)
    return kind(**{name: value for name, value in settings.items() if value is not None})


def check_names(settings: Iterable[str], names: Iterable[str]) -> None:
    """Check names of settings.

    Raises:
        EffscopeError: an unknown name; it names the nearest known one, else all.
    """
    known = list(names)
    for name in settings:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            if near:
                raise EffscopeError(f"unknown setting '{name}': did you mean `{near[0]}`?")
            raise unknown("setting", name, known)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict of a config, ready for JSON."""
    return asdict(config)


def deciding(config: Checked) -> dict[str, Any]:
    """`to_dict` without the fields in `FREE`: two runs with the same values have the same outcome."""
    return {name: value for name, value in to_dict(config).items() if name not in config.FREE}
