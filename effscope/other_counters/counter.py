"""Definition of a counter: the form of the model it counts, its rules, and how to run the tool. Imports no torch."""

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
        run: (module in eval mode, images) -> count of the tool. Imports the tool.
        distribution: name of the distribution on PyPI and of the package.
        gradients: whether the tool receives parameters that require gradients.
    """

    run: Callable[[nn.Module, Tensor], int]
    distribution: str
    gradients: bool = False


@dataclass(frozen=True)
class Counter:
    """How one tool, or the papers of one field, count a model.

    Attributes:
        unit: "MACs", or "FLOPs" if a multiply-add counts 2.
        about: what it counts, in one sentence.
        rules: operation -> rule. An operation without a rule counts 0.
        form: function from the graph to the form of the model that it counts.
        unseen: why it misses a call; "" if it does not.
        repeats: how often it counts one call, if several modules share the module that makes the call.
        tool: how to run the tool; None if there is none.
        backbones: the counter to use for models other than detectors.
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
        """Count of one multiply-add, in the unit of the counter."""
        return 2 if self.unit == "FLOPs" else 1

    def count(self, row: NodeCost) -> tuple[int, str]:
        """Count of a node, in the unit of the counter, and the reason in words."""
        rule = self.rules.get(operation(row))
        if rule is None:
            return 0, "not counted"
        source = source_of(row)
        unseen = self.unseen(source)
        if unseen:
            return 0, unseen
        times = self.repeats(source)
        says = rule.says if times == 1 else f"{times} times: a shared module"
        return times * rule.count(row), says
