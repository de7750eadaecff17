"""Torch functions without a separate primitive, grouped by their cost."""

from __future__ import annotations

_VIEWS = """
view reshape _unsafe_view permute transpose t flatten unflatten unsqueeze squeeze expand expand_as slice select
narrow contiguous detach detach_ alias lift_fresh_copy to unbind chunk split split_with_sizes dropout dropout_
feature_dropout alpha_dropout zeros ones full empty arange movedim swapaxes
numpy_T type_as scalar_tensor tensor_split identity mH mT adjoint diagonal view_as
reshape_as unsafe_chunk unsafe_split squeeze_ unsqueeze_ matrix_H moveaxis swapdims view_as_real view_as_complex real
imag sym_size _assert_tensor_metadata linspace atleast_2d broadcast_to expand_copy ravel hsplit vsplit eye hann_window
hamming_window tril_indices triu_indices rand randn randint
"""
VIEWS = frozenset(_VIEWS.split())
"""Functions that return a view or make constants: they cost nothing. Some copy if the memory layout requires it;
a trace does not show that."""

_COPIES = """
clone _to_copy stack roll repeat repeat_interleave flip pad constant_pad_nd reflection_pad1d reflection_pad2d
replication_pad2d index index_select gather pixel_shuffle pixel_unshuffle channel_shuffle meshgrid upsample_nearest1d
upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d native_channel_shuffle unfold im2col copy_ copy fill
fill_ zero_ slice_scatter select_scatter index_put index_put_ embedding hstack vstack column_stack concat tile rot90
masked_select take take_along_dim scatter tril triu one_hot max_unpool2d _pad_circular reflection_pad3d
replication_pad1d replication_pad3d zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones
new_full
"""
COPIES = frozenset(_COPIES.split())
"""Functions that copy values: they cost bytes and no operations."""

_ELEMENTWISE = """
add add_ sub sub_ rsub mul mul_ div div_ pow neg abs exp log sqrt rsqrt reciprocal square clamp clamp_ clamp_min
clamp_max maximum minimum where masked_fill masked_fill_ floor ceil round sign erf sin cos eq ne lt le gt ge
logical_not logical_and logical_or bitwise_not softplus elu elu_ selu celu prelu log1p expm1
remainder fmod floor_divide lerp addcmul addcdiv glu _weight_norm atan atan2 asin acos sinh cosh exp2 log2 log10
trunc frac isnan isinf isfinite nan_to_num hypot logaddexp xlogy fake_quantize_per_tensor_affine bitwise_and bitwise_or
bitwise_xor bitwise_left_shift bitwise_right_shift log_sigmoid softsign hardshrink tanhshrink prelu_ exp_ sqrt_ neg_
abs_ pow_ sin_ cos_ clamp_min_ clamp_max_ softplus_ complex polar logit heaviside sinc erfc erfinv lgamma digamma
col2im positive rrelu
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Functions with one operation per output value."""

KINDS = {"view": VIEWS, "copy": COPIES, "elementwise": ELEMENTWISE}
"""Primitive -> its torch functions."""
