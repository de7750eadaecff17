"""Which norm is folded into which convolution of an unknown state dict: the order of the live module, or none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.fx
from torch import Tensor, nn

from effscope.checkpoint.identify.norm_order import followed
from effscope.checkpoint.identify.tensors_only import tensor_graph

State = dict[str, Tensor]


def pairs(state: State) -> dict[str, str]:
    return followed(groups(state), is_sorted=list(state) == sorted(state))


def groups(state: State) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, _, role = key.rpartition(".")
        found.setdefault(path, {})[role] = tensor
    return found


def conv(c_in: int, c_out: int, k: int = 3, g: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, groups=g, bias=False)


class Unit(nn.Module):
    def __init__(self, c_in: int, c_out: int, g: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = conv(c_in, c_out, g=g), nn.BatchNorm2d(c_out)


class PreUnit(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(c_in), conv(c_in, c_out)


class Basic(nn.Module):
    """ResNet's block: norms after convolutions."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, c_out), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = conv(c_out, c_out), nn.BatchNorm2d(c_out)
        self.downsample = nn.Sequential(conv(c_in, c_out, 1), nn.BatchNorm2d(c_out))


class Dense(nn.Module):
    """DenseNet's layer: norms before convolutions; `norm2` follows `conv1`."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), conv(c_in, 16, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(16), conv(16, 4)


class Declared(nn.Module):
    """Two convolutions, then the norm of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(3, 8), conv(8, 8)
        self.bn1 = nn.BatchNorm2d(8)


def basics() -> nn.Module:
    return nn.Sequential(Basic(8, 8), Basic(8, 16))


CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "conv, bn": (lambda: nn.Sequential(Unit(3, 8), Unit(8, 8, 8), Unit(8, 8)),
                 {f"{n}.bn": f"{n}.conv" for n in range(3)}),
    "norm before conv": (lambda: nn.Sequential(PreUnit(8, 8), PreUnit(8, 16)), {}),
    "sequential": (lambda: nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8), nn.BatchNorm2d(8)),
                   {"1": "0", "4": "3"}),
    "norms first in a sequential": (lambda: nn.Sequential(nn.BatchNorm2d(3), conv(3, 8), nn.BatchNorm2d(8), conv(8, 4)),
                                    {"2": "1"}),
    "ResNet": (basics, {f"{b}.bn{n}": f"{b}.conv{n}" for b in "01" for n in "12"}
               | {f"{b}.downsample.1": f"{b}.downsample.0" for b in "01"}),
    "DenseNet": (lambda: nn.Sequential(Dense(8), Dense(12)), {f"{b}.norm2": f"{b}.conv1" for b in "01"}),
    "declared apart": (Declared, {"bn1": "conv1"}),
}  # fmt: skip


@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_norms_are_those_of_the_live_module_or_none(name: str, is_sorted: bool) -> None:
    make, wanted = CASES[name]
    state = dict(make().state_dict())
    state = dict(sorted(state.items())) if is_sorted else state
    assert pairs(state) == wanted


def test_equal_widths_alone_tell_nothing_in_a_sorted_file() -> None:
    """Written in the order of declaration, a norm right after a convolution of the same number follows it."""
    state = dict(nn.Sequential(Unit(8, 8), Unit(8, 8)).state_dict())
    assert pairs(state) == {"0.bn": "0.conv", "1.bn": "1.conv"}
    assert pairs(dict(sorted(state.items()))) == {}
    pre = dict(nn.Sequential(PreUnit(8, 8), PreUnit(8, 8)).state_dict())
    assert pairs(pre) == {}


def test_a_norm_stands_after_its_convolution_in_the_graph() -> None:
    state = dict(sorted(nn.Sequential(Unit(3, 8), Unit(8, 4)).state_dict().items()))
    names = [node.name for node in tensor_graph(state).nodes]
    assert names == ["0.conv", "0.bn", "1.conv", "1.bn"]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (nn.Sequential(conv(1, 8), conv(8, 16)), [1, 1]),  # grey images
        (nn.Sequential(conv(3, 8, 1), conv(8, 8, g=8), conv(8, 16, 1)), [1, 8, 1]),
        (nn.Sequential(conv(3, 3, g=3), conv(3, 8, 1)), [3, 1]),
        (nn.Sequential(conv(1, 1), conv(1, 8)), [1, 1]),
        (nn.Sequential(conv(1, 64), conv(64, 64)), [1, 1]),  # a grey U-Net begins so
    ],
)
def test_depthwise_is_as_many_groups_as_channels(net: nn.Module, expected: list[int]) -> None:
    nodes = tensor_graph(dict(net.state_dict())).nodes
    assert [node.args["groups"] for node in nodes] == expected
    assert all(
        node.args["c_in"] == module.in_channels
        for node, module in zip(nodes, net, strict=True)  # type: ignore[call-overload]
        if isinstance(module, nn.Conv2d)
    )


def test_ranks_of_a_sorted_file_are_those_of_the_file_in_order(tmp_path: object) -> None:
    torch.manual_seed(0)
    state = dict(basics().state_dict())
    graphs = [tensor_graph(one) for one in (state, dict(sorted(state.items())))]
    folded = [{n.name: n.inputs for n in graph.nodes if n.op == "batchnorm"} for graph in graphs]
    assert folded[0] == folded[1] and all(folded[0].values())


@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "densenet121", "mobilenet_v2", "shufflenet_v2_x0_5", "regnet_y_400mf", "googlenet"]
)
def test_no_norm_of_torchvision_is_folded_into_another_convolution(name: str, is_sorted: bool) -> None:
    """torch.fx tells what each norm reads; nearly all are found."""
    torchvision = pytest.importorskip("torchvision")
    more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    net = getattr(torchvision.models, name)(weights=None, **more)
    modules, truth = dict(net.named_modules()), {}
    for node in torch.fx.symbolic_trace(net).graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.BatchNorm2d):
            before = node.args[0]
            is_conv = before.op == "call_module" and isinstance(modules[before.target], nn.Conv2d)
            truth[node.target] = before.target if is_conv else None
    state = dict(net.state_dict())
    found = pairs(dict(sorted(state.items())) if is_sorted else state)
    assert {norm: truth[norm] for norm in found} == found
    assert len(found) >= 0.95 * sum(conv is not None for conv in truth.values())
