"""Keys of the YOLOX repository and keys of our layouts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from support.golden_files import lively

from effscope.checkpoint.identify.yolox_keys import YOLOX_KEYS, from_yolox_keys
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.inherit import load_state


def conv_unit(path: str) -> Iterable[str]:
    yield f"{path}.conv.weight"
    for role in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{path}.bn.{role}"


def spatial(path: str, depthwise: bool) -> Iterable[str]:
    for part in (f"{path}.dconv", f"{path}.pconv") if depthwise else (path,):
        yield from conv_unit(part)


def csp(path: str, n: int, depthwise: bool) -> Iterable[str]:
    for name in ("conv1", "conv2", "conv3"):
        yield from conv_unit(f"{path}.{name}")
    for i in range(n):
        yield from conv_unit(f"{path}.m.{i}.conv1")
        yield from spatial(f"{path}.m.{i}.conv2", depthwise)


def repository_keys(n: int, depthwise: bool) -> list[str]:
    """State-dict keys of a YOLOX model with n inner blocks at depth 1, by hand from the repository's modules."""
    body = "backbone.backbone"
    keys = list(conv_unit(f"{body}.stem.conv"))
    for stage, times in (("dark2", n), ("dark3", 3 * n), ("dark4", 3 * n), ("dark5", n)):
        keys += spatial(f"{body}.{stage}.0", depthwise)
        keys += csp(f"{body}.{stage}.{2 if stage == 'dark5' else 1}", times, depthwise)
    for path in (f"{body}.dark5.1.conv1", f"{body}.dark5.1.conv2", "backbone.lateral_conv0", "backbone.reduce_conv1"):
        keys += conv_unit(path)
    for path in ("backbone.C3_p4", "backbone.C3_p3", "backbone.C3_n3", "backbone.C3_n4"):
        keys += csp(path, n, depthwise)
    for path in ("backbone.bu_conv1", "backbone.bu_conv2"):
        keys += spatial(path, depthwise)
    for level in range(3):
        keys += conv_unit(f"head.stems.{level}")
        for tower in ("cls_convs", "reg_convs"):
            for j in range(2):
                keys += spatial(f"head.{tower}.{level}.{j}", depthwise)
        keys += [
            f"head.{name}.{level}.{role}"
            for name in ("cls_preds", "reg_preds", "obj_preds")
            for role in ("weight", "bias")
        ]
    return keys


@pytest.mark.parametrize(
    ("size", "n", "tensors"),
    [("nano", 1, 642), ("tiny", 1, 462), ("s", 1, 462), ("m", 2, 606), ("l", 3, 750), ("x", 4, 894)],
)
def test_keys_of_the_repository_are_renamed_to_ours(size: str, n: int, tensors: int) -> None:
    keys = repository_keys(n, size == "nano")
    assert len(keys) == len(set(keys)) == tensors
    renamed = from_yolox_keys({key: key for key in keys})
    graph = expand(layout(f"yolox-{size}"))
    assert set(renamed) == {key for node in graph.nodes for _, key in node.params}


def test_a_state_of_the_repository_loads_into_the_right_tensors() -> None:
    network = lively(layout("yolox-nano", 3))
    back = from_yolox_keys({key: key for key in repository_keys(1, depthwise=True)})
    state = {back[key]: torch.full_like(tensor, 0.5) for key, tensor in network.state_dict().items()}
    state["backbone.backbone.dark2.0.dconv.conv.weight"] += 1
    state["head.cls_preds.0.bias"] += 2
    load_state(network, from_yolox_keys(state), "yolox_nano.pth")
    own = network.state_dict()
    assert own["model.1.dconv.conv.weight"].shape == (16, 1, 3, 3)
    assert own["model.1.dconv.conv.weight"].unique().tolist() == [1.5]
    assert own["model.24.cls_preds.0.bias"].tolist() == [2.5] * 3


@pytest.mark.parametrize("key", ["model.0.conv.weight", "backbone.dark2.weight", "head", "headline.weight", ""])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(EffscopeError, match="is not a tensor of a YOLOX model"):
        from_yolox_keys({key: 0})


def test_no_path_of_the_table_is_the_prefix_of_another() -> None:
    theirs = [path for path, _ in YOLOX_KEYS]
    assert not [(a, b) for a in theirs for b in theirs if a != b and f"{b}.".startswith(f"{a}.")]
