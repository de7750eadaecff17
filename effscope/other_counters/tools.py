"""The other tools that count: what each is given, in which unit, and by which rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from effscope.costing.model import inference_view
from effscope.costing.nodes import NodeCost, operation
from effscope.errors import unknown
from effscope.other_counters.rules import (
    CONVS,
    FVCORE,
    PAPER,
    PRODUCTS,
    THOP,
    TORCH,
    ULTRALYTICS_THOP,
    Rules,
    macs,
    rules,
    source_of,
    twice,
    unseen_by_fvcore,
    unseen_by_thop,
    unseen_by_torch,
    unseen_by_ultralytics,
)
from effscope.spec.graph import Graph, Source
from effscope.spec.rewrite import deploy_form


@dataclass(frozen=True)
class Counter:
    """A tool that counts.

    Attributes:
        unit: what its number is: "MACs", or "FLOPs" where a multiply-add is two.
        of: the form of the model it is given.
        rules: function -> rule; what is not in it counts nothing.
        unseen: why it does not see a call, "" where it does.
        about: what its number is, in a sentence.
        shared: how often it counts a call of a module that several others hold.
    """

    unit: str
    of: Callable[[Graph], Graph]
    rules: Rules
    about: str
    unseen: Callable[[Source], str] = lambda source: ""
    shared: Callable[[Source], int] = lambda source: 1

    @property
    def per_mac(self) -> int:
        """What one multiply-add is in its unit."""
        return 2 if self.unit == "FLOPs" else 1

    def count(self, row: NodeCost) -> tuple[int, str]:
        """What it counts for a node, in its unit, and why."""
        source = source_of(row)
        rule = self.rules.get(operation(row))
        if rule is None:
            return 0, "not counted"
        unseen = self.unseen(source)
        if unseen:
            return 0, unseen
        times = self.shared(source)
        return times * rule.count(
            row
        ), rule.says if times == 1 else f"{times} times: several modules hold the one that is called"


BACKBONE_PAPER = Counter(
    "MACs", inference_view, rules("multiply-adds", macs, f"{CONVS} {PRODUCTS} sdpa mha scaled_dot_product_attention"),
    "papers of backbones: multiply-adds, which they call FLOPs",
)  # fmt: skip

COUNTERS: dict[str, Counter] = {
    "paper": Counter(
        "FLOPs", lambda graph: deploy_form(graph)[0], PAPER,
        "the YOLO papers: 2 x MAC of convolutions in deploy form, matrix products left out",
    ),
    "fvcore": Counter(
        "MACs", inference_view, FVCORE, "fvcore's FlopCountAnalysis, which calls multiply-adds flops",
        unseen_by_fvcore,
    ),
    "thop": Counter(
        "MACs", inference_view, THOP, "thop 0.1.1's profile, by hooks on modules", unseen_by_thop,
        lambda source: source.paths**2,
    ),
    "ultralytics": Counter(
        "FLOPs", lambda graph: graph, twice(ULTRALYTICS_THOP),
        "Ultralytics' info(): twice ultralytics-thop's count, with every head", unseen_by_ultralytics,
    ),
    "torch": Counter(
        "FLOPs", inference_view, TORCH, "torch's FlopCounterMode: 2 x MAC, nothing else", unseen_by_torch,
    ),
}  # fmt: skip
"""Name of `cost --as` -> the tool."""


def counter(name: str, *, detector: bool) -> Counter:
    """The tool of a name: papers of detectors and of backbones count differently.

    Raises:
        EffscopeError: a tool effscope does not know.
    """
    if name not in COUNTERS:
        raise unknown("--as", name, COUNTERS)
    return BACKBONE_PAPER if name == "paper" and not detector else COUNTERS[name]
