"""Attention, by torch's modules and by hand."""

from __future__ import annotations

from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from battery.case import Case, Net, case, heads, tokens, wide
from battery.models import (
    attend,
    attend_columns,
    attend_sequence_first,
    attend_weights,
    cross_attend,
    decode,
    grouped_query,
    linear_attention,
    masked_attention,
    padded_encoder,
    self_attention,
    uneven_attention,
)

ATTENTION: tuple[Case, ...] = (
    case(
        "sdpa",
        lambda: Net(lambda m, x: self_attention(heads(x, 2, 6))),
        (5, 7),
        other="2*35*35*6 + 2*35*35*6",
        why="2 heads of 6, 35 tokens: QK^T + AV",
    ),
    case(
        "sdpa_causal",
        lambda: Net(lambda m, x: self_attention(heads(x, 3, 5), causal=True)),
        (4, 7),
        other="3*28*28*5 + 3*28*28*5",
        why="dense count although half is masked",
    ),
    case("sdpa_mask", lambda: Net(masked_attention), (3, 9), other="2*27*27*7 + 2*27*27*7", why="dense count"),
    case(
        "sdpa_uneven",
        lambda: Net(uneven_attention),
        (4, 6),
        other="3*24*9*4 + 3*24*9*8",
        why="3 heads, 24 queries, 9 keys of width 4, values of width 8",
    ),
    case(
        "sdpa_grouped_query",
        lambda: Net(grouped_query),
        (4, 5),
        other="6*20*20*5 + 6*20*20*5",
        why="every one of the 6 query heads attends, whatever is shared",
    ),
    case(
        "linear_attention",
        lambda: Net(linear_attention),
        (6, 8),
        other="2*5*48*5 + 2*48*5*5",
        why="2 heads: (5x48)(48x5), then (48x5)(5x5)",
    ),
    case(
        "mha_self",
        lambda: Net(attend, attention=nn.MultiheadAttention(12, 4, batch_first=True)),
        (5, 6),
        other="3*30*12*12 + 30*30*12 + 30*30*12 + 30*12*12",
        why="q,k,v + QK^T + AV + out; 30 tokens of 12",
    ),
    case(
        "mha_self_weights",
        lambda: Net(attend_weights, attention=nn.MultiheadAttention(12, 2, batch_first=True)),
        (4, 8),
        other="3*32*12*12 + 32*32*12 + 32*32*12 + 32*12*12",
        why="as mha_self, 32 tokens",
    ),
    case(
        "mha_odd_heads",
        lambda: Net(attend, attention=nn.MultiheadAttention(12, 3, batch_first=True)),
        (3, 8),
        other="3*24*12*12 + 24*24*12 + 24*24*12 + 24*12*12",
        why="as mha_self, 24 tokens",
    ),
    case(
        "mha_sequence_first",
        lambda: Net(lambda m, x: attend_sequence_first(m, x, False), attention=nn.MultiheadAttention(12, 4)),
        (3, 7),
        other="3*21*12*12 + 21*21*12 + 21*21*12 + 21*12*12",
        why="as mha_self, 21 tokens",
    ),
    case(
        "mha_sequence_first_weights",
        lambda: Net(lambda m, x: attend_sequence_first(m, x, True), attention=nn.MultiheadAttention(12, 4)),
        (3, 6),
        other="3*18*12*12 + 18*18*12 + 18*18*12 + 18*12*12",
        why="as mha_self, 18 tokens",
    ),
    case(
        "mha_cross",
        lambda: Net(cross_attend, attention=nn.MultiheadAttention(12, 4, kdim=9, vdim=15, batch_first=True)),
        (4, 5),
        other="20*12*12 + 13*9*12 + 13*15*12 + 20*13*12 + 20*13*12 + 20*12*12",
        why="q + k + v + QK^T + AV + out; 20 queries, 13 keys",
    ),
    case(
        "mha_bias_kv",
        lambda: Net(
            attend, attention=nn.MultiheadAttention(12, 4, batch_first=True, add_bias_kv=True, add_zero_attn=True)
        ),
        (2, 8),
        other="3*16*12*12 + 16*18*12 + 16*18*12 + 16*12*12",
        why="16 tokens; two more keys and values unprojected",
    ),
    case(
        "mha_axial",
        lambda: Net(attend_columns, attention=nn.MultiheadAttention(12, 2, batch_first=True)),
        (7, 5),
        other="5*3*7*12*12 + 5*7*7*12 + 5*7*7*12 + 5*7*12*12",
        why="five columns as batch, seven tokens each",
    ),
    case(
        "encoder_layer",
        lambda: Net(lambda m, x: m.layer(tokens(x, 12)), layer=nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)),
        (4, 7),
        other="4*28*12*12 + 2*28*28*12 + 2*28*12*20",
        why="q,k,v,out + QK^T,AV + feed-forward; 28 tokens",
    ),
    case(
        "encoder_layer_norm_first",
        lambda: Net(
            lambda m, x: m.layer(tokens(x, 12)),
            layer=nn.TransformerEncoderLayer(12, 4, 26, batch_first=True, norm_first=True, activation="gelu"),
        ),
        (5, 4),
        other="4*20*12*12 + 2*20*20*12 + 2*20*12*26",
        why="as encoder_layer, 20 tokens",
    ),
    case(
        "encoder_layer_sequence_first",
        lambda: Net(lambda m, x: m.layer(tokens(x, 12).transpose(0, 1)), layer=nn.TransformerEncoderLayer(12, 3, 17)),
        (5, 3),
        other="4*15*12*12 + 2*15*15*12 + 2*15*12*17",
        why="as encoder_layer, 15 tokens",
    ),
    case(
        "encoder",
        lambda: Net(
            lambda m, x: m.encoder(tokens(x, 12)),
            encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 18, batch_first=True), 2),
        ),
        (3, 11),
        other="2*4*33*12*12 + 2*2*33*33*12 + 2*2*33*12*18",
        why="two layers, 33 tokens",
    ),
    case(
        "encoder_padding_mask",
        lambda: Net(
            padded_encoder, encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 16, batch_first=True), 2)
        ),
        (2, 11),
        other="2*4*22*12*12 + 2*2*22*22*12 + 2*2*22*12*16",
        why="two layers, 22 tokens, dense",
        alternatives=("2*4*16*12*12 + 2*2*16*16*12 + 2*2*16*12*16",),
        note="without gradients the nested-tensor fast path drops the 6 padded tokens: the alternative",
    ),
    case(
        "decoder_layer",
        lambda: Net(decode, layer=nn.TransformerDecoderLayer(12, 2, 22, batch_first=True)),
        (3, 5),
        other="4*15*12*12 + 2*15*15*12 + 2*15*12*12 + 2*7*12*12 + 2*15*7*12 + 2*15*12*22",
        why="self-attention; cross-attention's q,out + k,v + QK^T,AV; feed-forward; 15 tokens, 7 of memory",
    ),
    case(
        "swin_attention",
        lambda: Net(
            lambda m, x: m.attention(wide(x, 12).permute(0, 2, 3, 1)),
            attention=ShiftedWindowAttention(12, [4, 3], [0, 0], 3),
        ),
        (8, 9),
        other="72*12*36 + 6*12*12*12 + 6*12*12*12 + 72*12*12",
        why="8x9 = 6 windows of 12 tokens: qkv + QK^T + AV + proj",
    ),
    case(
        "swin_attention_shifted_padded",
        lambda: Net(
            lambda m, x: m.attention(wide(x, 12).permute(0, 2, 3, 1)),
            attention=ShiftedWindowAttention(12, [4, 3], [2, 1], 2),
        ),
        (9, 10),
        other="144*12*36 + 12*12*12*12 + 12*12*12*12 + 144*12*12",
        why="9x10 padded to 12x12 = 12 windows of 12 tokens; padded tokens count",
    ),
    case(
        "swin_v2_attention",
        lambda: Net(
            lambda m, x: m.attention(wide(x, 12).permute(0, 2, 3, 1)),
            attention=ShiftedWindowAttentionV2(12, [3, 3], [1, 1], 2),
        ),
        (7, 8),
        other="81*12*36 + 9*9*9*12 + 9*9*9*12 + 81*12*12 + 25*2*512 + 25*512*2",
        why="padded to 9x9 = 9 windows of 9; + the position-bias MLP 2->512->2 on 5*5 offsets, run in every forward",
        alternatives=("81*12*36 + 9*9*9*12 + 9*9*9*12 + 81*12*12",),
        note="the alternative leaves out the position-bias MLP, which does not depend on the input",
    ),
)
