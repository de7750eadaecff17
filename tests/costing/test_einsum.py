"""Cost of an einsum: equations as torch reads them, contractions by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from effscope.costing.einsum import equation_parts, pairwise


def counts(equation: str, *shapes: tuple[int, ...]) -> dict[str, Any]:
    return pairwise(*equation_parts(equation, shapes), shapes)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba,cb", [(2, 3), (4, 2)]),
        ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)]),
        ("...ij,jk", [(5, 6, 2, 3), (3, 4)]),
        ("...i,...i->...", [(7, 5, 3), (5, 3)]),
    ],
)
def test_equations_are_read_as_torch_reads_them(equation: str, shapes: list[tuple[int, ...]]) -> None:
    terms, result = equation_parts(equation, shapes)
    lengths = {
        letter: n for term, shape in zip(terms, shapes, strict=True) for letter, n in zip(term, shape, strict=True)
    }
    out = torch.einsum(equation, *map(torch.ones, shapes))
    assert tuple(lengths[letter] for letter in result) == tuple(out.shape)


def test_contractions_by_hand() -> None:
    assert counts("ij,jk->ik", (2, 3), (3, 4)) == {"macs": 2 * 3 * 4, "elementwise": 0}
    assert counts("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)) == {"macs": 2 * 3 * 4 + 2 * 4 * 5, "elementwise": 0}
    assert counts("ij,ij->ij", (2, 3), (2, 3)) == {"macs": 0, "elementwise": 6}
    assert counts("ij,jk->k", (2, 3), (3, 4)) == {"macs": 3 * 4, "elementwise": 0}  # i is summed out first
    assert counts("bij,bjk->bik", (1, 2, 3), (7, 3, 4)) == {"macs": 7 * 2 * 3 * 4, "elementwise": 0}  # broadcast


def test_a_single_operand_is_summed_or_transposed() -> None:
    assert counts("ijk->k", (2, 3, 4)) == {"pool": 24}
    assert counts("ijk->kij", (2, 3, 4)) == {}
