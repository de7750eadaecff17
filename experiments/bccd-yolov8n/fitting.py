"""How well can a CIB stage be fitted to the stage that it replaces, if its new blocks learn, or the whole stage?

python experiments/bccd-yolov8n/fitting.py runs/bccd-yolov8n/train-seed0 data/bccd/data.yaml
prints, per stage: AP with a random CIB, the normalised error after fitting, AP after fitting. Seed 0.
"""

from __future__ import annotations

import sys

import torch

from effscope.config import DistilConfig, EvalConfig
from effscope.data.load import load
from effscope.detect.bank import load_bank
from effscope.detect.evaluate import evaluate
from effscope.layouts.expand import expand, stages
from effscope.layouts.moves import swap_stage
from effscope.models.open import open_model
from effscope.nn.build import Network, build, view
from effscope.nn.fuse import deploy
from effscope.nn.inherit import inherit
from effscope.training.batches import plain_batch
from effscope.transplant.distil import distil
from effscope.transplant.record import record

IMGSZ = 256
BATCH = 16


def main() -> None:
    """Print one line per stage and way of fitting."""
    opened, data = open_model(sys.argv[1]), sys.argv[2]
    base, train_set, val_set = opened.network(), load(data, "train"), load(data, "val")
    bank = load_bank(train_set, IMGSZ)
    n = len(bank.images)
    picks = [list(range(i, min(i + BATCH, n))) for i in range(0, n, BATCH)]

    def ap(network: Network) -> float:
        return evaluate(deploy(network), val_set, EvalConfig(imgsz=IMGSZ)).ap

    print(f"base AP {ap(base):.4f}")
    for number in (8, 4, 7, 6):
        layout = swap_stage(opened.layout, number, "cib")
        position = next(stage.index for stage in stages(layout) if stage.number == number)
        for whole in (False, True):
            network = build(expand(layout))
            transfer = inherit(network, layout, opened.layout, base.state_dict())
            layer, prefix, random_ap = network.model[str(position)], f"model.{position}.", ap(network)
            fresh = {key.removeprefix(prefix) for key in transfer.fresh}
            learns = {name for name, _ in layer.named_parameters() if whole or name in fresh}
            images = (plain_batch(bank, pick).pixels(torch.device("cpu")) for pick in picks)
            pairs = record(view(base, "o2m"), position, images, DistilConfig().max_bytes)
            error = distil(layer, pairs, learns, DistilConfig(), seed=0)
            way = "whole stage" if whole else "new blocks"
            print(f"stage {number} {way}: AP random {random_ap:.4f}, error {error:.3f}, AP fitted {ap(network):.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python experiments/bccd-yolov8n/fitting.py MODEL DATA")
    main()
