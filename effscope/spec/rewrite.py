"""Two rewrites make the deploy form. Each returns the new graph and the steps that compute its weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from effscope.spec.graph import Graph, Node, rewire


@dataclass(frozen=True)
class FoldBN:
    """Weight step: scale the filters of `conv` by the batch norm `bn`; its shift becomes the bias (module paths)."""

    conv: str
    bn: str


@dataclass(frozen=True)
class MergeBranches:
    """Weight step: pad the kernel of `other` and add it, with its bias, to that of `into` (module paths)."""

    into: str
    other: str


Step = FoldBN | MergeBranches


def _with_bias(conv: Node) -> Node:
    params = tuple((role, f"{conv.module}.{role}") for role in ("weight", "bias"))
    return Node(conv.name, conv.op, conv.inputs, {**conv.args, "bias": True}, conv.layer, params, conv.source)


def fold_bn(graph: Graph) -> tuple[Graph, tuple[Step, ...]]:
    """Fold every batch norm into the convolution before it, if no other node reads the convolution and both modules are
    called once."""
    nodes, readers = graph.by_name(), graph.consumers()
    outputs = {name for names in graph.views.values() for name in names}
    calls = Counter(node.module for node in graph.nodes)
    folded = {
        bn.name: bn.inputs[0]
        for bn in graph.nodes
        if bn.op == "batchnorm"
        and bn.inputs
        and nodes[bn.inputs[0]].op == "conv2d"
        and readers[bn.inputs[0]] == [bn.name]
        and bn.inputs[0] not in outputs
        and calls[nodes[bn.inputs[0]].module] == calls[bn.module] == 1
    }
    convs = set(folded.values())
    kept = [_with_bias(n) if n.name in convs else n for n in graph.nodes if n.name not in folded]
    steps = tuple(FoldBN(nodes[conv].module, nodes[bn].module) for bn, conv in folded.items())
    views = {view: tuple(folded.get(n, n) for n in names) for view, names in graph.views.items()}
    return replace(graph, nodes=rewire(kept, folded), views=views), tuple(dict.fromkeys(steps))


def _mergeable(a: Node, b: Node) -> bool:
    """Whether the padded kernel of b can be added to the kernel of a."""
    equal = ("c_in", "c_out", "s", "d", "groups", "bias")
    covers = all(ka >= kb for ka, kb in zip(a.args["k"], b.args["k"], strict=True))
    centred = all(k % 2 == 1 and p == k // 2 for n in (a, b) for k, p in zip(n.args["k"], n.args["p"], strict=True))
    return covers and centred and a.inputs == b.inputs and all(a.args[key] == b.args[key] for key in equal)


def merge_branches(graph: Graph) -> tuple[Graph, tuple[Step, ...]]:
    """Merge the sum of two parallel convolutions of one input (odd, centred kernels) into the larger convolution.

    Fold the batch norms first: one between convolution and sum prevents the merge.
    """
    nodes, readers = graph.by_name(), graph.consumers()
    outputs = {name for names in graph.views.values() for name in names}
    renamed: dict[str, str] = {}
    gone: set[str] = set()
    steps: list[Step] = []
    for add in graph.nodes:
        parts = [nodes[name] for name in add.inputs] if add.op == "add" else []
        alone = all(p.op == "conv2d" and readers[p.name] == [add.name] and p.name not in outputs for p in parts)
        if len(parts) != 2 or not alone or parts[0].module == parts[1].module:  # noqa: PLR2004
            continue
        large, small = sorted(parts, key=lambda n: n.args["k"], reverse=True)
        if _mergeable(large, small):
            renamed[add.name] = large.name
            gone |= {add.name, small.name}
            steps.append(MergeBranches(large.module, small.module))
    kept = rewire([n for n in graph.nodes if n.name not in gone], renamed)
    views = {view: tuple(renamed.get(n, n) for n in names) for view, names in graph.views.items()}
    return replace(graph, nodes=kept, views=views), tuple(steps)


def deploy_form(graph: Graph) -> tuple[Graph, tuple[Step, ...]]:
    """One head, batch norms folded, parallel branches merged: the form that runs on a device and that papers count."""
    folded, fold_steps = fold_bn(graph.keep("decoded") if "decoded" in graph.views else graph)
    merged, merge_steps = merge_branches(folded)
    return merged, fold_steps + merge_steps
