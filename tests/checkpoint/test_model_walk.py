"""Models of torchvision and timm in six formats: parameters and ranks of the live model, or a line that says why not.

The truth is in `support.model_walk`: hooks and NumPy, without effscope. The test prints the score.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import timm
from support.model_walk import Truth, files, image, lively, torchvision_model, truth
from torch import Tensor, nn
from torch.nn.utils import weight_norm

from effscope import api
from effscope.models.open import OF_GRAPH
from effscope.results import StageRank

QUICK = ("normed", "tied")
TORCHVISION = """
resnet18 resnext50_32x4d densenet121 googlenet inception_v3 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5
mnasnet0_5 squeezenet1_1 efficientnet_b0 regnet_y_400mf swin_t lraspp_mobilenet_v3_large
deeplabv3_mobilenet_v3_large mc3_18 fasterrcnn_mobilenet_v3_large_320_fpn
""".split()  # noqa: SIM905 - a table of words
TIMM = """
test_resnet test_vit test_convnext test_efficientnet test_byobnet test_nfnet test_mambaout resnet10t ghostnet_050
mobilenetv4_conv_small efficientvit_b0 mobileone_s0 repvgg_a0 lcnet_050 vit_tiny_patch16_224 convit_tiny levit_128s
poolformer_s12 edgenext_xx_small mobilevit_xxs resnetv2_50x1_bit xcit_nano_12_p16_224 pvt_v2_b0 convnextv2_atto
tiny_vit_5m_224 fastvit_t8 seresnext26d_32x4d skresnet18 regnetx_002 dla46_c starnet_s1 coat_lite_tiny
""".split()  # noqa: SIM905
WALK = (*(f"torchvision:{name}" for name in TORCHVISION), *(f"timm:{name}" for name in TIMM), "normed", "tied")

UNKNOWN = ("raw", "groups unknown", "kind unknown", "depthwise", "further tensors", "computed weight", "one ")
"""Beginnings of notes that say why a row has no rank, or not that of the model."""


class Tied(nn.Module):
    """A convolution under three names, and a bias that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv2, self.last = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1)
        self.again, self.last.bias = nn.Sequential(self.conv2), self.conv2.bias

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.again(self.conv2(self.bn1(self.conv1(x)))))
        return found


def make(name: str) -> nn.Module:
    hub, _, model = name.partition(":")
    if hub == "torchvision":
        return torchvision_model(model)
    if hub == "timm":
        made: nn.Module = timm.create_model(model, pretrained=False)
        return made
    if hub == "tied":
        return Tied()
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.Conv2d(12, 4, 1))
    weight_norm(net[0]), weight_norm(net[3])  # hooks can be pickled, parametrisations cannot
    return net


@dataclass
class Score:
    """Of one format: files, files with the live number of parameters, and rows by what was said."""

    files: int = 0
    params: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def judged(row: StageRank | None, right: Truth, path: str) -> str:
    """What a row says of a convolution: "right", a reason, or "wrong"."""
    shape, _, rank = right.ranks[path]
    if row is None:
        return "missing"
    if row.rank is None:
        known = row.note.startswith(UNKNOWN)
        return "no rank, said" if known else "wrong"
    if (row.shape, row.rank) == (tuple(shape), rank):
        return "right"
    if row.note.startswith("raw") and row.rank == right.raw[path][2]:
        return "raw, said"
    return "epsilon, said" if f"gives rank {rank}" in row.note else "wrong"


def walked(name: str, folder: Path) -> Iterator[tuple[str, Score]]:
    module = lively(make(name))
    x = image(module, name)
    right = truth(module, x)
    for form, file in files(module, x, folder):
        score = Score()
        if file is not None:
            cost, ranks = api.cost(str(file)), api.rank(str(file), at="all")
            said = OF_GRAPH in cost.notes
            score.files, score.params = 1, int(cost.params == right.params or said)
            rows = {row.layer: row for row in ranks.stages}
            for path in right.ranks:
                verdict = judged(rows.get(path), right, path)
                named = any("left out" in note and path in note for note in ranks.notes)
                verdict = "left out, said" if verdict == "missing" and named else verdict
                score.rows[verdict] += 1
                if verdict in ("wrong", "missing"):
                    score.wrong.append(f"{name} as {form}: {path}: {verdict}")
        yield form, score


def check(names: tuple[str, ...], folder: Path) -> None:
    logging.disable(logging.ERROR)
    total: dict[str, Score] = {}
    for name in names:
        (folder / name.replace(":", "-")).mkdir()
        for form, score in walked(name, folder / name.replace(":", "-")):
            sums = total.setdefault(form, Score())
            sums.files, sums.params = sums.files + score.files, sums.params + score.params
            sums.rows += score.rows
            sums.wrong += score.wrong
    for form, score in total.items():
        print(f"{form}: {score.files} files of {len(names)} models, parameters {score.params}, {dict(score.rows)}")
    assert all(score.params == score.files for score in total.values())
    assert not [wrong for score in total.values() for wrong in score.wrong]


def test_a_few_models_in_every_format(tmp_path: Path) -> None:
    check(QUICK, tmp_path)


@pytest.mark.slow
def test_many_models_in_every_format(tmp_path: Path) -> None:
    check(WALK, tmp_path)
