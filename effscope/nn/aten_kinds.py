"""Functions of torch that no primitive says, by what they cost."""

from __future__ import annotations

_VIEWS = """
view reshape _unsafe_view permute transpose t flatten unflatten unsqueeze squeeze expand expand_as slice select
narrow contiguous clone detach detach_ alias lift_fresh_copy to _to_copy unbind chunk split split_with_sizes dropout
dropout_ feature_dropout alpha_dropout stack roll repeat repeat_interleave flip pad constant_pad_nd zeros zeros_like
ones ones_like full full_like empty arange index index_select gather pixel_shuffle pixel_unshuffle channel_shuffle
movedim swapaxes numpy_T type_as meshgrid new_zeros new_ones scalar_tensor upsample_nearest2d tensor_split
native_channel_shuffle unfold identity copy_ copy fill fill_ slice_scatter select_scatter
index_put embedding mH mT adjoint diagonal
"""
VIEWS = frozenset(_VIEWS.split())
"""Functions that re-label, copy or make constants: they cost bytes, no operations."""

_ELEMENTWISE = """
add add_ sub sub_ rsub mul mul_ div div_ pow neg abs exp log sqrt rsqrt reciprocal square clamp clamp_ clamp_min
clamp_max maximum minimum where masked_fill masked_fill_ floor ceil round sign erf sin cos eq ne lt le gt ge
logical_not logical_and logical_or bitwise_not softplus elu elu_ selu celu hardtanh hardtanh_ prelu gelu log1p expm1
remainder fmod floor_divide lerp addcmul addcdiv tril triu
glu _weight_norm
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Functions of one operation per output value (the convention of results: everything that is not a multiply-add)."""
