"""Recurrent layers and cells."""

from __future__ import annotations

from torch import nn

from battery.case import Case, Net, case
from battery.models import (
    CellOverColumns,
    Recurrent,
)

RECURRENT: tuple[Case, ...] = (
    case(
        "lstm",
        lambda: Recurrent(nn.LSTM(6, 10, batch_first=True)),
        (4, 6),
        other="24*4*10*6 + 24*4*10*10",
        why="24 steps, 4 gates: input and hidden products",
    ),
    case(
        "lstm_bidirectional_two_layers",
        lambda: Recurrent(nn.LSTM(6, 7, num_layers=2, bidirectional=True, batch_first=True)),
        (3, 9),
        other="2*27*4*7*6 + 2*27*4*7*7 + 2*27*4*7*14 + 2*27*4*7*7",
        why="27 steps, 2 directions; the second layer reads 2*7=14",
    ),
    case(
        "lstm_projected",
        lambda: Recurrent(nn.LSTM(6, 10, proj_size=4, batch_first=True)),
        (3, 7),
        other="21*4*10*6 + 21*4*10*4 + 21*10*4",
        why="21 steps; the hidden product reads 4; projection 10x4",
    ),
    case(
        "lstm_sequence_first",
        lambda: Net(lambda m, x: m.lstm(x[0].permute(2, 1, 0))[0], lstm=nn.LSTM(3, 8)),
        (5, 11),
        other="11*5*4*8*3 + 11*5*4*8*8",
        why="11 steps, a batch of 5 rows",
    ),
    case(
        "gru",
        lambda: Recurrent(nn.GRU(6, 9, batch_first=True)),
        (5, 4),
        other="20*3*9*6 + 20*3*9*9",
        why="20 steps, 3 gates",
    ),
    case(
        "gru_bidirectional",
        lambda: Recurrent(nn.GRU(6, 5, bidirectional=True, batch_first=True)),
        (2, 7),
        other="2*14*3*5*6 + 2*14*3*5*5",
        why="14 steps, 2 directions, 3 gates",
    ),
    case(
        "rnn",
        lambda: Recurrent(nn.RNN(6, 8, nonlinearity="relu", batch_first=True)),
        (2, 9),
        other="18*8*6 + 18*8*8",
        why="18 steps, one product pair",
    ),
    case(
        "lstm_cell",
        lambda: CellOverColumns(nn.LSTMCell(3, 5)),
        (4, 9),
        other="9*4*4*5*3 + 9*4*4*5*5",
        why="9 steps, batch of 4 rows, 4 gates",
    ),
    case(
        "gru_cell",
        lambda: CellOverColumns(nn.GRUCell(3, 6)),
        (5, 7),
        other="7*5*3*6*3 + 7*5*3*6*6",
        why="7 steps, batch of 5 rows, 3 gates",
    ),
)
