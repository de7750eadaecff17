"""Static int8 of an exported detector, as onnxruntime does it: weights per channel, activations from a few images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effscope.detect.bank import Bank, bank_inputs, limited_bank
from effscope.detect.letterbox import letterboxed
from effscope.errors import EffscopeError, first_line
from effscope.exporting.onnx_graph import INPUT

CALIBRATION = 64
"""Images from which the ranges of the activations are taken."""


QUANTISED = ["Conv", "Sigmoid", "Mul", "Add", "Concat", "Split", "MaxPool", "Resize"]
"""Operations in int8. With convolutions alone every map is rounded twice, before and after its activation."""


def squares(bank: Bank) -> Iterator[NDArray[np.float32]]:
    """Images of a bank, spread over it, as `int8_graph` reads them: padded to squares, (1, 3, S, S) float32 0-1."""
    few = limited_bank(bank, CALIBRATION)
    for fit, pixels in bank_inputs(few, few.imgsz):
        yield (letterboxed(pixels, fit)[None].float() / 255).numpy()


def int8_graph(data: bytes, images: Iterable[NDArray[np.float32]]) -> bytes:
    """The int8 form of a graph from `checked_graph`.

    Activations are unsigned: signed ones are several times slower on x86. The closing convolutions of the head and the
    decoding stay in float32: their outputs need more digits (experiments/target).

    Args:
        data: the float32 graph.
        images: (1, 3, S, S) float32 0-1 each, at most `CALIBRATION` are read.

    Raises:
        EffscopeError: onnxruntime cannot quantise the graph.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - slow import

    with tempfile.TemporaryDirectory(prefix="effscope-int8-") as folder, _calm():
        source, prepared, target = (Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(data)
        try:
            quantization.shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared), str(target), _Reader(images), per_channel=True, op_types_to_quantize=QUANTISED,
                nodes_to_exclude=_decoding(prepared.read_bytes()), quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
            )  # fmt: skip
        except Exception as e:  # the tool may raise anything for an unknown operation
            raise EffscopeError(f"onnxruntime cannot make an int8 form: {first_line(e, '')}") from e
        return target.read_bytes()


def _decoding(data: bytes) -> list[str]:
    """Names of the nodes from the closing convolutions on, the one that sums the bins of a box included."""
    import onnx  # noqa: PLC0415 - slow import

    graph = onnx.load_from_string(data).graph
    makers = {name: node for node in graph.node for name in node.output}
    widths = {one.name: one.dims[0] for one in graph.initializer if len(one.dims) == CONV_DIMS}
    waiting, seen, found = [one.name for one in graph.output], set[str](), list[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        node = makers[name]
        found.append(node.name)
        if node.op_type != "Conv" or (widths.get(node.input[1]) == 1 and len(node.input) == WITHOUT_BIAS):
            waiting += node.input
    return found


WITHOUT_BIAS = 2
"""Inputs of a convolution without bias: the one that sums the bins of a box is one, a closing convolution is not."""

CONV_DIMS = 4
"""Dimensions of the weights of a convolution."""


class _Reader:
    """Gives images one at a time, as onnxruntime's calibration asks for them."""

    def __init__(self, images: Iterable[NDArray[np.float32]]):
        self.images: Iterator[NDArray[np.float32]] = iter(images)
        self.left = CALIBRATION

    def get_next(self) -> dict[str, Any] | None:
        self.left -= 1
        image = next(self.images, None) if self.left >= 0 else None
        return None if image is None else {INPUT: image}


@contextmanager
def _calm() -> Iterator[None]:
    """Without the advice that the tool logs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
