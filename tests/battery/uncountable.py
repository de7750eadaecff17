"""Operations without an agreed number of multiply-adds: they must be listed as uncounted."""

from __future__ import annotations

import torch
from torch import nn

from battery.case import Case, Net, case, par, tokens
from battery.models import (
    NumpyMatmul,
    global_filter,
    opaque_conv,
)

UNCOUNTABLE: tuple[Case, ...] = (
    case(
        "fft_global_filter",
        lambda: Net(global_filter, conv=nn.Conv2d(3, 4, 1), filter=par(4, 8, 6)),
        (8, 10),
        conv="3*4*1*1*8*10",
        why="rfft2 and irfft2",
        countable=False,
    ),
    case("fft_token_mixing", lambda: Net(lambda m, x: torch.fft.fft2(x).real), (6, 10), why="fft2", countable=False),
    case(
        "stft",
        lambda: Net(
            lambda m, x: torch.stft(
                x.flatten(1), 16, hop_length=8, window=torch.hann_window(16, device=x.device), return_complex=True
            ).abs()
        ),
        (8, 12),
        why="a Fourier transform of each frame",
        countable=False,
    ),
    case(
        "linalg_solve",
        lambda: Net(
            lambda m, x: m.head(torch.linalg.solve(m.matrix, tokens(x, 6)[0].t()).t()),
            matrix=nn.Parameter(torch.eye(6) * 2),
            head=nn.Linear(6, 5),
        ),
        (4, 6),
        other="24*6*5",
        why="an LU solve, then a linear layer of 24 tokens",
        countable=False,
    ),
    case(
        "linalg_inv",
        lambda: Net(lambda m, x: tokens(x, 6) @ torch.linalg.inv(m.matrix), matrix=nn.Parameter(torch.eye(6) * 3)),
        (3, 9),
        other="27*6*6",
        why="an inverse, then the product with it",
        countable=False,
    ),
    case(
        "linalg_svd",
        lambda: Net(lambda m, x: torch.linalg.svdvals(x)),
        (5, 7),
        why="a singular value decomposition",
        countable=False,
    ),
    case(
        "linalg_cholesky",
        lambda: Net(
            lambda m, x: torch.linalg.cholesky(x[0] @ x[0].transpose(1, 2) + 9 * torch.eye(5, device=x.device))
        ),
        (5, 8),
        other="3*5*8*5",
        why="the Gram products, then a factorisation",
        countable=False,
    ),
    case(
        "matrix_exp",
        lambda: Net(lambda m, x: torch.linalg.matrix_exp(x * 0.1)),
        (6, 6),
        why="the number of products depends on the norm",
        countable=False,
    ),
    case(
        "cdist",
        lambda: Net(lambda m, x: torch.cdist(tokens(x, 6), m.codes), codes=par(1, 10, 6)),
        (5, 9),
        why="distances, by a matrix product or elementwise as torch chooses (45x10 by 6)",
        countable=False,
        alternatives=("45*6*10", "45*8*10"),
        note="the matrix-product form would be 45*6*10 (or 45*8*10, its norms "
        "appended as two columns); vector quantisers hide their cost here",
    ),
    case(
        "custom_operator",
        lambda: Net(lambda m, x: opaque_conv(m.conv(x), m.weight), conv=nn.Conv2d(3, 5, 1), weight=par(6, 5, 3, 3)),
        (7, 8),
        conv="3*5*1*1*7*8",
        why="a torch.library operator is a closed box",
        countable=False,
        alternatives=("3*5*7*8 + 5*6*3*3*7*8",),
        note="the alternative is what a counter that does see inside would give",
    ),
    case(
        "numpy_inside",
        lambda: Net(lambda m, x: NumpyMatmul.apply(m.conv(x), m.weight), conv=nn.Conv2d(3, 4, 1), weight=par(9, 5)),
        (6, 9),
        conv="3*4*1*1*6*9",
        why="numpy multiplies 4x(6x9)(9x5)",
        countable=False,
        alternatives=("3*4*6*9 + 4*6*9*5",),
        note="no dispatch-level counter can see numpy work; only the trip out of torch shows",
    ),
)
