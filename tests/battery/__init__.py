"""Operations of torch with multiply-adds derived by hand: an independent check of the counts."""

from battery.attention import ATTENTION
from battery.case import Case
from battery.convolutions import CONVOLUTIONS
from battery.products import PRODUCTS
from battery.recurrent import RECURRENT
from battery.uncountable import UNCOUNTABLE

CASES: tuple[Case, ...] = (*CONVOLUTIONS, *PRODUCTS, *ATTENTION, *RECURRENT, *UNCOUNTABLE)

__all__ = ["CASES", "Case"]
