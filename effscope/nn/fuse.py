"""The deploy form of a network: one head, batch norms folded, parallel branches merged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effscope.nn.build import Network, build
from effscope.spec.graph import Graph
from effscope.spec.rewrite import FoldBN, Step, deploy_form

StateDict = dict[str, Tensor]


def norm_scale(norm: Mapping[str, Tensor], eps: float) -> Tensor:
    """Factor of each channel in a batch norm, (C,) float64; arguments as in `folded`."""
    scale = 1 / torch.sqrt(norm["running_var"].double() + eps)
    return scale * norm["weight"].detach().double() if "weight" in norm else scale


def folded(conv: Mapping[str, Tensor], norm: Mapping[str, Tensor], eps: float) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of the convolution that equals a convolution and the batch norm after it.

    Args:
        conv: role -> tensor: weight (C_out, C_in, k, k), and bias if it has one.
        norm: role -> tensor (C_out,): running_mean, running_var, and weight and bias if it is affine.
        eps: epsilon of the batch norm.
    """
    weight, scale = conv["weight"].detach().double(), norm_scale(norm, eps)
    shift = -norm["running_mean"].double() * scale
    if "bias" in norm:
        shift = shift + norm["bias"].detach().double()
    if "bias" in conv:
        shift = shift + conv["bias"].detach().double() * scale
    return weight * scale.view(-1, 1, 1, 1), shift


def folded_conv(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """`folded` for two modules."""
    return folded(conv.state_dict(), bn.state_dict(), bn.eps)


def _apply(step: Step, network: Network, state: StateDict) -> None:
    if isinstance(step, FoldBN):
        conv, bn = network.get_submodule(step.conv), network.get_submodule(step.bn)
        assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
        state[f"{step.conv}.weight"], state[f"{step.conv}.bias"] = folded_conv(conv, bn)
        return
    large, small = state[f"{step.into}.weight"], state.pop(f"{step.other}.weight")
    pad_h, pad_w = ((large.shape[d] - small.shape[d]) // 2 for d in (2, 3))
    state[f"{step.into}.weight"] = large + F.pad(small, (pad_w, pad_w, pad_h, pad_h))
    if f"{step.other}.bias" in state:
        state[f"{step.into}.bias"] = state[f"{step.into}.bias"] + state.pop(f"{step.other}.bias")


def _replayed(network: Network, graph: Graph, steps: tuple[Step, ...]) -> StateDict:
    state = {k: v.detach() for k, v in network.state_dict().items()}
    for step in steps:
        _apply(step, network, state)
    return {key: state[key].float() for node in graph.nodes for _, key in node.params}


def deploy(network: Network) -> Network:
    """A float32 copy in deploy form, in eval mode, on the same device. Of a detector's views it has only `decoded`."""
    graph, steps = deploy_form(network.spec)
    fused = build(graph)
    fused.load_state_dict(_replayed(network, graph, steps))
    device = next(network.parameters()).device
    return fused.to(device).eval()
