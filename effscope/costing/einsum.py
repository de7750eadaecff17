"""Cost of an einsum, contracted in pairs from the left as torch does without an optimised path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from effscope.spec.shape_rules import Shape


def equation_parts(equation: str, shapes: Sequence[Shape]) -> tuple[list[str], str]:
    """Index letters of each operand and of the result.

    An ellipsis becomes capital Greek letters, right-aligned. Without an arrow the result has the letters that occur
    once, in alphabetical order.
    """
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    n_hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    greek = [chr(ord("Α") + n) for n in range(max(n_hidden))]
    full = [term.replace("...", "".join(greek[len(greek) - n :])) for term, n in zip(terms, n_hidden, strict=True)]
    if not arrow:
        once = sorted(letter for letter in set(given) - set(".,") if given.count(letter) == 1)
        result = "..." + "".join(once)
    return full, result.replace("...", "".join(greek))


def pairwise(terms: Sequence[str], result: str, shapes: Sequence[Shape]) -> dict[str, Any]:
    """Counts of an einsum, by column.

    Each pair of operands costs the product of the lengths of its indices. An index of only one operand is summed out
    first, if neither a later operand nor the result has it. A pair that contracts no index is an elementwise product. A
    single operand is summed, or only transposed, which is free.

    Args:
        terms: index letters of each operand, from `equation_parts`.
        result: index letters of the result.
        shapes: shape of each operand.
    """
    lengths: dict[str, int] = {}
    for letters, shape in zip(terms, shapes, strict=True):
        for letter, n in zip(letters, shape, strict=True):
            lengths[letter] = max(n, lengths.get(letter, 1))
    if len(terms) == 1:
        return {"pool": math.prod(shapes[0])} if set(terms[0]) - set(result) else {}
    columns, left = {"macs": 0, "elementwise": 0}, set(terms[0])
    for n, right in enumerate(terms[1:], 1):
        later = set(result).union(*terms[n + 1 :])
        shared = left & set(right)
        joined = shared | ((left | set(right)) & later)
        columns["macs" if shared - later else "elementwise"] += math.prod(lengths[letter] for letter in joined)
        left = joined & later
    return columns
