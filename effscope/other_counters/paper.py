"""FLOPs as papers print them. Papers of detectors and of backbones count differently."""

from __future__ import annotations

from effscope.other_counters.counter import Counter
from effscope.other_counters.rules import CONVS, PRODUCTS, Rules, macs, rules, twice_macs
from effscope.spec.rewrite import deploy_form

DETECTOR_RULES: Rules = rules("multiply-adds", twice_macs, "conv2d conv2d_given conv_transpose2d")
BACKBONE_RULES: Rules = rules("multiply-adds", macs, f"{CONVS} {PRODUCTS} sdpa mha scaled_dot_product_attention")

COUNTER = Counter(
    "FLOPs",
    "the YOLO papers: 2 x MAC of convolutions in deploy form, without matrix products",
    DETECTOR_RULES,
    form=lambda graph: deploy_form(graph)[0],
    backbones=Counter("MACs", "papers of backbones: multiply-adds, which they call FLOPs", BACKBONE_RULES),
)
