"""Which modules torch runs as one fused kernel at inference, so that nothing inside of them is seen from outside."""

from __future__ import annotations

from torch import nn


def is_fused(module: nn.Module) -> bool:
    """Whether torch takes its fast path for a module of self-attention, in eval mode and without gradients.

    Source: the conditions in torch.nn.MultiheadAttention.forward and TransformerEncoderLayer.forward, torch 2.15.
    """
    if type(module) is nn.TransformerEncoderLayer:
        attention, norms = module.self_attn, (module.norm1, module.norm2)
        return is_fused(attention) and bool(module.activation_relu_or_gelu) and norms[0].eps == norms[1].eps
    return (
        type(module) is nn.MultiheadAttention
        and module.batch_first
        and module._qkv_same_embed_dim
        and module.in_proj_bias is not None
        and module.bias_k is None
        and not module.add_zero_attn
        and module.num_heads % 2 == 0
    )
