"""What a counter is: the form of the model it gets, its rules, and how the tool itself runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from effscope.costing.model import inference_view
from effscope.costing.nodes import NodeCost, operation
from effscope.other_counters.rules import Rules, source_of
from effscope.spec.graph import Graph, Source

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Tool:
    """A counting tool that can run on a module.

    Attributes:
        run: module in eval mode, images -> its number. Imports the tool.
        distribution: distribution on PyPI, which is also the name of its package.
        gradients: it gets parameters that require gradients.
    """

    run: Callable[[nn.Module, Tensor], int]
    distribution: str
    gradients: bool = False


@dataclass(frozen=True)
class Counter:
    """How one tool, or the papers of one field, count a model.

    Attributes:
        unit: "MACs", or "FLOPs" if a multiply-add counts 2.
        about: what its number is, in one sentence.
        rules: operation -> rule. An operation without a rule counts 0.
        form: the form of the model that it gets.
        unseen: why it does not see a call; "" if it does.
        repeats: how often it counts one call, if several modules share the module that makes the call.
        tool: how the tool runs; None if there is none.
        backbones: the counter to use instead for a model that is no detector.
    """

    unit: str
    about: str
    rules: Rules = field(repr=False)
    form: Callable[[Graph], Graph] = inference_view
    unseen: Callable[[Source], str] = lambda source: ""
    repeats: Callable[[Source], int] = lambda source: 1
    tool: Tool | None = None
    backbones: Counter | None = None

    @property
    def per_mac(self) -> int:
        """What one multiply-add counts in its unit."""
        return 2 if self.unit == "FLOPs" else 1

    def count(self, row: NodeCost) -> tuple[int, str]:
        """Its number for a node, in its unit, and the reason in words."""
        rule = self.rules.get(operation(row))
        if rule is None:
            return 0, "not counted"
        source = source_of(row)
        unseen = self.unseen(source)
        if unseen:
            return 0, unseen
        times = self.repeats(source)
        says = rule.says if times == 1 else f"{times} times: several modules share the module that makes the call"
        return times * rule.count(row), says
