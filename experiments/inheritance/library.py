"""Time and memory of every closed form of yolov8n: all stages as CIB, with a large kernel too, light head, SCDown.

`python experiments/inheritance/library.py WEIGHTS DATA.yaml [IMGSZ]` prints one line for each form and the sum.
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from effscope.config import search_config
from effscope.layouts.expand import expand, stages
from effscope.layouts.moves import MOVES, move
from effscope.nn.build import build, raw
from effscope.nn.inherit import inherit
from effscope.searching.context import Context
from effscope.searching.fitting import BATCH, mirrored
from effscope.transplant.forms import start
from effscope.transplant.passes import Pair
from effscope.transplant.record import record

IMAGES, CPU = 64, torch.device("cpu")


def main(weights: str, data: str, imgsz: str = "416") -> None:
    config = search_config(
        {"base": weights, "data": data, "imgsz": int(imgsz), "head": "keep", "limit_train": IMAGES, "limit_val": 1}
    )
    context = Context(config, torch.get_num_threads(), "cpu")
    base, layout = context.given.network(), context.layout
    numbers = [(name, stage.id) for name in ("cib", "cib-lk") for stage in stages(layout)]
    changes = [
        *numbers,
        *((name, layer.id) for name in ("light-head", "scdown") for layer in MOVES[name].default(layout)),
    ]
    context.banks  # noqa: B018 - decode before the clock starts
    began = time.perf_counter()
    for name, layer_id in changes:
        since = time.perf_counter()
        changed = move(layout, name, [layer_id])
        network, key = build(expand(changed)), str([layer.id for layer in layout.layers].index(layer_id))
        inherit(network, changed, layout, base.state_dict())
        student, teacher = raw(network), raw(base)
        pairs = record(teacher, int(key), mirrored(context.banks.train, CPU), 1 << 29)
        inputs = [pairs.some(slice(n, n + 2 * BATCH)).inputs for n in range(0, len(pairs), 2 * BATCH)]
        pair = Pair(teacher.model[key], student.model[key], [(given, given) for given in inputs])
        found = start(pair, layout.layers[int(key)].block, changed.layers[int(key)].block)
        print(f"{name:10} layer {layer_id:3} {found.words:32} {time.perf_counter() - since:5.1f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(changes)} closed forms: {time.perf_counter() - began:.0f} s, peak memory of the process {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
