"""EfficientNet backbones with torchvision's weights: key names, parameters, outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet

from effscope.checkpoint.identify.torchvision_keys import from_torchvision_keys
from effscope.costing.nodes import node_costs
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.layouts.zoo.efficientnet import SIZES, TAPS
from effscope.nn.build import build
from effscope.nn.inherit import load_state


def backbone_of(size: str) -> nn.Module:
    with torch.device("meta"):
        made: nn.Module = getattr(efficientnet, f"efficientnet_{size}")()
    return made


@pytest.mark.parametrize("size", SIZES)
def test_the_backbone_has_the_parameters_of_torchvision(size: str) -> None:
    theirs = from_torchvision_keys(backbone_of(size).state_dict())
    model = layout(f"efficientnet-{size}-yolov8")
    backbone = {layer.id for layer in model.layers[: model.n_backbone]}
    rows = [row for row in node_costs(expand(model), (1, 3, 64, 64)) if row.node.layer in backbone]
    assert {key for row in rows for _, key in row.node.params} == set(theirs)
    features = backbone_of(size).get_submodule("features")
    used = [features.get_submodule(layer) for layer in backbone]
    assert sum(row.params for row in rows) == sum(p.numel() for stage in used for p in stage.parameters())


@pytest.mark.parametrize("size", ["b0", "b5"])
def test_the_same_weights_give_the_maps_of_torchvision(size: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(efficientnet, f"efficientnet_{size}")().eval()
    eps = {m.eps for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)}
    for name, value in theirs.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    images = torch.rand(1, 3, 64, 64)
    maps = {}
    with torch.inference_mode():
        x = images
        for n, stage in enumerate(theirs.features[: TAPS[-1] + 1]):
            x = maps[n] = stage(x)
    state = from_torchvision_keys(theirs.state_dict())
    if eps == {1e-5}:
        state = {k: v - 0.00099 if k.endswith("running_var") else v for k, v in state.items()}
    network = build(expand(layout(f"efficientnet-{size}-yolov8", 2))).eval()
    own = network.state_dict()
    load_state(network, {**own, **state}, size)
    found = {}
    for n in TAPS:
        network.model[str(n)].register_forward_hook(lambda m, i, out, n=n: found.update({n: out[0]}))
    with torch.inference_mode():
        network(images)
    for n in TAPS:
        assert torch.allclose(found[n], maps[n], atol=1e-4, rtol=1e-4)


def test_keys_of_other_models_are_refused() -> None:
    with pytest.raises(EffscopeError, match=r"'features\.1\.weight' is not a tensor"):
        from_torchvision_keys({"features.1.weight": 0})
    assert from_torchvision_keys({"classifier.1.weight": 0, "features.8.0.weight": 0}) == {}
