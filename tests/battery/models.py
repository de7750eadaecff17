"""Modules of the battery that need more than one expression."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from battery.case import Net, heads, tokens, wide


class TwoRateConv(nn.Conv2d):
    """One kernel, applied with two dilations in one call."""

    def forward(self, input: Tensor) -> Tensor:
        near = F.conv2d(input, self.weight, self.bias, padding=1)
        return near + F.conv2d(input, self.weight, self.bias, padding=2, dilation=2)


class CentreTapConv(nn.Conv2d):
    """A 3x3 convolution that applies only its centre tap."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight[:, :, 1:2, 1:2], self.bias)


class StandardisedConv(nn.Conv2d):
    """Standardises its weight before it convolves."""

    def forward(self, input: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return F.conv2d(input, (self.weight - mean) / (deviation + 1e-5), self.bias, stride=3)


class TiedConvs(nn.Module):
    """Two convolutions of different stride with the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1, stride=2)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class AuxiliaryHead(nn.Module):
    """An extra head in training mode, and another path in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.auxiliary = nn.Conv2d(5, 64, 3, padding=1)
        self.head = nn.Conv2d(5, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stem(x)
        if self.training:
            return self.auxiliary(features).mean(dim=1, keepdim=True) + self.head(features)
        return self.head(features)


class HandPooled(nn.Module):
    """A small classifier with a mean instead of a pooling module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 14, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(14), nn.SiLU())
        self.head = nn.Linear(14, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean((2, 3)))


class Recurrent(nn.Module):
    """A recurrent layer over the pixels of its input, six channels each."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(tokens(x, 6))[0]


class CellOverColumns(nn.Module):
    """A recurrent cell, called for each column; the rows are its batch."""

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for column in x[0].unbind(2):
            state = self.cell(column.t(), state)
        return state[0] if isinstance(state, tuple) else state


class Deformable(nn.Module):
    """A deformable convolution with predicted offsets and an optional mask."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.offset = nn.Conv2d(3, 2 * 9, 3, padding=1)
        self.deform = torchvision.ops.DeformConv2d(3, 10, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        offset = self.offset(x)
        return self.deform(x, offset, offset[:, :9].sigmoid() if self.masked else None)


def deform_grouped(m: Any, x: Tensor) -> Tensor:
    """A grouped, strided deformable convolution as a function, with constant offsets."""
    image = wide(x, 8)
    offset = x.new_full((1, 2 * 4 * 9, 5, 7), 0.25)
    return torchvision.ops.deform_conv2d(image, offset, m.weight, stride=2, padding=1)


class ConvFunction(torch.autograd.Function):
    """A custom autograd function with a forward in torch code."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError


class NumpyMatmul(torch.autograd.Function):
    """A custom autograd function with a matrix product in numpy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return torch.from_numpy(np.matmul(x.detach().cpu().numpy(), weight.detach().cpu().numpy())).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError


@torch.library.custom_op("battery::opaque_conv", mutates_args=())
def opaque_conv(x: Tensor, weight: Tensor) -> Tensor:
    """A registered operator with a convolution that a dispatch mode does not see."""
    return F.conv2d(x, weight, padding=1)


@opaque_conv.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]))


def lazy_conv() -> nn.Module:
    """A lazy convolution after its first call."""
    layer = nn.LazyConv2d(9, 3, stride=2)
    layer(torch.zeros(1, 3, 8, 8))
    return layer


def compiled(module: nn.Module, backend: str) -> nn.Module:
    """The module compiled by the given backend at its first call."""
    return cast(nn.Module, torch.compile(module, backend=backend))


def exported_conv() -> nn.Module:
    """A convolution after torch.export; not registered, because an exported module refuses eval()."""
    layer = nn.Conv2d(3, 7, 3, padding=1).eval()
    exported = torch.export.export(layer, (torch.zeros(1, 3, 9, 14),)).module()
    return Net(lambda m, x: exported(x))


def threaded(m: Any, x: Tensor) -> Tensor:
    """A convolution in another thread, where dispatch modes of this thread are not active."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(m.conv, x).result()


def mean_cell_loop(m: Any, x: Tensor) -> Tensor:
    """A product of each row of the image with its own matrix, in a Python loop of bmm."""
    rows = [torch.bmm(x[0, :, row : row + 1], m.weight) for row in range(x.shape[2])]
    return torch.cat(rows, dim=1)


def left_to_right_einsum(m: Any, x: Tensor) -> Tensor:
    """Three operands contracted in the written order, which is the more expensive one here."""
    with torch.backends.opt_einsum.flags(enabled=False):
        return torch.einsum("nd,de,ef->nf", tokens(x, 6)[0], m.first, m.second)


def einsum_attention(m: Any, x: Tensor) -> Tensor:
    """Attention as einsums over (batch, token, head, width)."""
    query = heads(x, 3, 4).transpose(1, 2)
    key = query[:, :11]
    weights = torch.einsum("bnhd,bmhd->bhnm", query, key).softmax(-1)
    return torch.einsum("bhnm,bmhd->bnhd", weights, key)


def linear_attention(m: Any, x: Tensor) -> Tensor:
    """Linear attention: first the (width x width) product of keys and values, then the queries."""
    query = heads(x, 2, 5)
    return query.softmax(-1) @ (query.softmax(-2).transpose(-2, -1) @ query)


def decode(m: Any, x: Tensor) -> Tensor:
    """A decoder layer; its memory is the first seven tokens."""
    sequence = tokens(x, 12)
    return m.layer(sequence, sequence[:, :7])


def padded_encoder(m: Any, x: Tensor) -> Tensor:
    """An encoder with a mask: its last six tokens are padding."""
    sequence = tokens(x, 12)
    padding = torch.zeros(sequence.shape[:2], dtype=torch.bool, device=x.device)
    padding[:, -6:] = True
    return m.encoder(sequence, src_key_padding_mask=padding)


def cross_attend(m: Any, x: Tensor) -> Tensor:
    """Cross-attention with keys of width 9 and values of width 15, thirteen of them."""
    return m.attention(tokens(x, 12), tokens(x, 9)[:, :13], tokens(x, 15)[:, :13], need_weights=False)[0]


def attend(m: Any, x: Tensor) -> Tensor:
    """Batch-first self-attention without weights."""
    sequence = tokens(x, 12)
    return m.attention(sequence, sequence, sequence, need_weights=False)[0]


def attend_weights(m: Any, x: Tensor) -> Tensor:
    """Batch-first self-attention with weights."""
    sequence = tokens(x, 12)
    return m.attention(sequence, sequence, sequence)[0]


def attend_sequence_first(m: Any, x: Tensor, need_weights: bool) -> Tensor:
    """Sequence-first self-attention over the pixels of the image."""
    sequence = tokens(x, 12).transpose(0, 1)
    return m.attention(sequence, sequence, sequence, need_weights=need_weights)[0]


def attend_columns(m: Any, x: Tensor) -> Tensor:
    """Axial attention: each column a batch entry, its rows the tokens."""
    columns = wide(x, 12)[0].permute(2, 1, 0)
    return m.attention(columns, columns, columns, need_weights=False)[0]


def grouped_query(m: Any, x: Tensor) -> Tensor:
    """Grouped-query attention: six query heads share two key/value heads."""
    key = heads(x, 2, 5)
    return F.scaled_dot_product_attention(heads(x, 6, 5), key, key, enable_gqa=True)


def self_attention(x: Tensor, causal: bool = False) -> Tensor:
    """Scaled dot-product attention of a tensor of heads with itself."""
    return F.scaled_dot_product_attention(x, x, x, is_causal=causal)


def masked_attention(m: Any, x: Tensor) -> Tensor:
    """Attention with a boolean mask that keeps a band of keys."""
    query = heads(x, 2, 7)
    places = torch.arange(query.shape[2], device=x.device)
    mask = (places[:, None] - places[None, :]).abs() < 4
    return F.scaled_dot_product_attention(query, query, query, attn_mask=mask)


def uneven_attention(m: Any, x: Tensor) -> Tensor:
    """Attention of 24 queries over 9 keys; values and keys have different widths."""
    return F.scaled_dot_product_attention(heads(x, 3, 4), heads(x, 3, 4)[:, :, :9], heads(x, 3, 8)[:, :, :9])


def mobile_pyramid(m: Any, x: Tensor) -> Tensor:
    """A two-level feature pyramid over given maps."""
    levels = {"fine": wide(x, 6), "coarse": F.max_pool2d(wide(x, 12), 2)}
    return m.pyramid(levels)["fine"]


def boxes_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Six boxes and scores made from the image, for the box operators."""
    low = x.flatten()[:12].view(6, 2).sigmoid() * 3
    return torch.cat([low, low + 4], dim=1), x.flatten()[12:18].contiguous()


def suppressed(m: Any, x: Tensor) -> Tensor:
    """Non-maximum suppression and RoI align after a convolution."""
    features = m.conv(x)
    boxes, scores = boxes_of(x)
    kept = boxes[torchvision.ops.nms(boxes, scores, 0.5)]
    return torchvision.ops.roi_align(features, [kept], output_size=3)


def spatial_transformer(m: Any, x: Tensor) -> Tensor:
    """An affine grid, and bilinear sampling of the image on it."""
    return F.grid_sample(x, F.affine_grid(m.theta, [1, 3, 6, 9], align_corners=False), align_corners=False)


def flow_warp(m: Any, x: Tensor) -> Tensor:
    """A warp along a flow that a convolution predicts."""
    return F.grid_sample(x, m.flow(x).tanh().permute(0, 2, 3, 1), align_corners=True)


def global_filter(m: Any, x: Tensor) -> Tensor:
    """A convolution, then a filter applied in the Fourier domain."""
    features = m.conv(x)
    return torch.fft.irfft2(torch.fft.rfft2(features) * m.filter, s=features.shape[-2:])


def kept_tokens(m: Any, x: Tensor) -> Tensor:
    """Projects the ten tokens with the highest scores."""
    sequence = tokens(x, 6)
    kept = sequence.sum(-1).topk(10).indices[0]
    return m.project(sequence[:, kept.sort().values]).cumsum(1)


def sparse_product(m: Any, x: Tensor) -> Tensor:
    """A sparse matrix times the dense pixels."""
    return torch.sparse.mm((m.weight * m.weight.gt(0)).to_sparse(), tokens(x, 6)[0])


def im2col(m: Any, x: Tensor) -> Tensor:
    """A convolution as unfolding and a matrix product: no convolution is executed."""
    return (m.weight @ F.unfold(x, (3, 2), stride=2)).unflatten(2, (5, 7))


def patch_batch(m: Any, x: Tensor) -> Tensor:
    """Every 4x4 patch of the image as a batch entry."""
    patches = x[0].unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return m.conv(patches)


def ensemble(m: Any, x: Tensor) -> Tensor:
    """Four stacked kernels over the same image, by vmap."""
    return torch.vmap(lambda weight: F.conv2d(x, weight, padding=1))(m.weights)


def loop_of(m: Any, x: Tensor) -> Tensor:
    """One convolution, called five times."""
    for _step in range(5):
        x = torch.relu(m.conv(x))
    return x


def embed(m: Any, x: Tensor) -> Tensor:
    """An embedding and a projection of its output."""
    return m.project(m.table((x * 10).long().clamp(0, 15)))


def autocast_conv(m: Any, x: Tensor) -> Tensor:
    """A convolution under autocast."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return m.conv(x).float()


def multiply_tbc(m: Any, x: Tensor) -> Tensor:
    """torch.conv_tbc: a convolution of (time, batch, channel), as in fairseq."""
    return torch.conv_tbc(x[0].permute(2, 1, 0).contiguous(), m.weight, m.bias, 1)
