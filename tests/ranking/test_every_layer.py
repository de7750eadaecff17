"""`at` all ranks every kind of layer as (C_out, rest), by NumPy's singular values; what has no rank says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torchvision.ops import FrozenBatchNorm2d

from effscope import api
from effscope.results import StageRank


def lively(norm: nn.Module) -> nn.Module:
    with torch.no_grad():
        norm.weight.copy_(10 ** (2 * torch.rand(len(norm.weight)) - 1))
        norm.running_var.copy_(0.5 + torch.rand(len(norm.weight)))
    return norm


def rank_of(weight: Tensor, groups: int = 1, norm: nn.Module | None = None, eps: float = 1e-5) -> int:
    """Singular values above half of the largest one, of (C_out, rest), all groups together."""
    if norm is not None:
        scale = norm.weight.detach() * (norm.running_var + eps).rsqrt()
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    blocks = weight.detach().double().reshape(groups, len(weight) // groups, -1).numpy()
    values = np.linalg.svd(blocks, compute_uv=False)
    return int((values > 0.5 * values.max()).sum())


class Kinds(nn.Module):
    """Convolutions of one, two and three dimensions, forward and transposed, grouped; linear layers; attention."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(3, 8, 3, padding=1), lively(nn.BatchNorm2d(8))
        self.b, self.nb = nn.Conv1d(8, 16, 3, padding=1, groups=2), lively(nn.BatchNorm1d(16))
        self.c, self.nc = nn.Conv3d(16, 8, (1, 3, 3), padding=(0, 1, 1)), lively(nn.BatchNorm3d(8))
        self.t, self.nt = nn.ConvTranspose2d(8, 6, 2, 2, groups=2), lively(nn.BatchNorm2d(6))
        self.t1 = nn.ConvTranspose1d(6, 4, 2, 2)
        self.t3 = nn.ConvTranspose3d(4, 4, (1, 2, 2), (1, 2, 2))
        self.fc, self.mha = nn.Linear(4, 5), nn.MultiheadAttention(5, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.na(self.a(x))
        n, _, h, w = x.shape
        x = self.nb(self.b(x.flatten(2))).view(n, 16, 1, h, w)
        x = self.nt(self.t(self.nc(self.c(x))[:, :, 0]))
        x = self.t1(x.flatten(2)).view(n, 4, 1, 2 * h, 4 * w)
        x = self.fc(self.t3(x).flatten(2).transpose(1, 2)[:, :8])
        found: Tensor = self.mha(x, x, x)[0]
        return found


def turned(conv: nn.Module) -> Tensor:
    """The weight of a transposed convolution with its outputs first."""
    return conv.weight.unflatten(0, (conv.groups, -1)).transpose(1, 2).flatten(0, 1)


def wanted(net: Kinds) -> dict[str, int]:
    return {
        "a": rank_of(net.a.weight, 1, net.na), "b": rank_of(net.b.weight, 2, net.nb),
        "c": rank_of(net.c.weight, 1, net.nc), "t": rank_of(turned(net.t), 2, net.nt), "t1": rank_of(turned(net.t1)),
        "t3": rank_of(turned(net.t3)), "fc": rank_of(net.fc.weight), "mha.in_proj": rank_of(net.mha.in_proj_weight),
        "mha.out_proj": rank_of(net.mha.out_proj.weight),
    }  # fmt: skip


def rows(model: str | nn.Module, **settings: int) -> dict[str, StageRank]:
    return {row.layer: row for row in api.rank(model, at="all", **settings).stages}  # type: ignore[arg-type]


def whole(net: nn.Module, path: Path) -> None:
    torch.save(net, path)


def traced(net: nn.Module, path: Path) -> None:
    torch.jit.trace(net, torch.zeros(1, 3, 16, 16), check_trace=False).save(path)


def program(net: nn.Module, path: Path) -> None:
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 16, 16),), strict=False), path)


def test_every_kind_of_layer_of_a_module() -> None:
    torch.manual_seed(0)
    net = Kinds().eval()
    assert {name: row.rank for name, row in rows(net, imgsz=16).items()} == wanted(net)


@pytest.mark.parametrize(("write", "name"), [(whole, "net.pt"), (traced, "script.pt"), (program, "net.pt2")])
def test_every_kind_of_layer_of_a_file_that_tells_groups(
    tmp_path: Path, write: Callable[[nn.Module, Path], None], name: str
) -> None:
    torch.manual_seed(0)
    net = Kinds().eval()
    torch.backends.mha.set_fastpath_enabled(False)
    write(net, tmp_path / name)
    torch.backends.mha.set_fastpath_enabled(True)
    found = rows(str(tmp_path / name))
    is_raw = {key for key, row in found.items() if row.note.startswith("raw")}
    assert not is_raw or write is whole  # a pickle tells no calls, and these names tell no order
    assert {key: found[key].rank for key in wanted(net) if key not in is_raw} == {
        key: rank for key, rank in wanted(net).items() if key not in is_raw
    }


def test_a_state_dict_ranks_or_says_why_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Kinds().eval()
    torch.save(net.state_dict(), tmp_path / "state.pt")
    found, right = rows(str(tmp_path / "state.pt")), wanted(net)
    assert set(found) == set(right)
    for name, row in found.items():
        assert row.rank == right[name] or "groups unknown" in row.note or row.note.startswith("raw"), name


def computed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        weight_norm(nn.Conv2d(3, 8, 3)), parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
        lively(nn.BatchNorm2d(8)), parametrizations.spectral_norm(nn.Conv2d(8, 8, 3)),
        spectral_norm(nn.Conv2d(8, 8, 3)),
        prune.ln_structured(nn.Conv2d(8, 8, 3), "weight", 0.5, 2, 0), nn.Flatten(),
        weight_norm(nn.Linear(8 * 6 * 6, 6)),
    ).eval()  # fmt: skip


def test_weights_that_are_computed_from_parameters() -> None:
    net = computed()
    with torch.no_grad():
        net(torch.zeros(1, 3, 16, 16))
    found = rows(net, imgsz=16)
    assert sorted(found) == ["0", "1", "3", "4", "5", "7"]
    for name, row in found.items():
        assert row.rank == rank_of(net[int(name)].weight, 1, net[2] if name == "1" else None), name


def test_weights_in_parts_of_a_file(tmp_path: Path) -> None:
    net = computed()
    with torch.no_grad():
        net(torch.zeros(1, 3, 16, 16))
    torch.save(net.state_dict(), tmp_path / "state.pt")
    found = rows(str(tmp_path / "state.pt"))
    assert sorted(found) == ["0", "1", "3", "4", "5", "7"]
    for name, row in found.items():
        assert row.rank == rank_of(net[int(name)].weight, 1, net[2] if name == "1" else None), name
    result = api.cost(str(tmp_path / "state.pt"))
    assert result.params == sum(p.numel() for p in net.parameters())
    source = api.rank(str(tmp_path / "state.pt")).source
    assert all(f"({tool})" in source for tool in ("weight norm", "spectral norm", "pruning mask"))


class Dynamic(nn.Module):
    """A convolution whose weight is made from the image, one whose weight is a buffer, and one used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.made = nn.Conv2d(3, 4, 1), nn.Linear(4, 4 * 4)
        self.register_buffer("blur", torch.ones(4, 1, 3, 3) / 9)
        self.blur: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain(x)
        weight = self.made(x.mean((0, 2, 3))).view(4, 4, 1, 1)
        return nn.functional.conv2d(nn.functional.conv2d(x, weight), self.blur, groups=4)


def test_weights_without_a_rank_are_named() -> None:
    found = {row.note.partition(":")[0] for row in rows(Dynamic(), imgsz=8).values()}
    assert found == {"", "weight made from the inputs", "fixed weight"}


def test_a_frozen_norm_is_folded_and_a_shared_one_is_said() -> None:
    torch.manual_seed(0)
    frozen = FrozenBatchNorm2d(8)
    frozen.weight.copy_(10 ** (2 * torch.rand(8) - 1))
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), frozen).eval()
    assert rows(net, imgsz=16)["0"].rank == rank_of(net[0].weight, 1, frozen)

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), lively(nn.BatchNorm2d(8))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.norm(self.a(x)) + self.norm(self.b(x))
            return found

    assert all(row.note.startswith("raw") for row in rows(Shared().eval(), imgsz=16).values())
    assert all(not row.note for row in api.rank(Shared().eval(), at="all", imgsz=16, fold_bn=False).stages)


def test_another_epsilon_that_changes_a_rank_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16, eps=1e-3)).eval()
    with torch.no_grad():
        net[1].running_var.copy_(10 ** (-6 * torch.rand(16)))
    torch.save(net.state_dict(), tmp_path / "state.pt")
    torch.save(net, tmp_path / "whole.pt")
    right = rank_of(net[0].weight, 1, net[1], eps=1e-3)
    assert rows(str(tmp_path / "whole.pt"))["0"].rank == right
    said = rows(str(tmp_path / "state.pt"))["0"]
    assert said.rank != right and f"gives rank {right}" in said.note


@pytest.mark.parametrize(
    "between",
    [lambda c, n, x: n(torch.relu(c(x))), lambda c, n, x: n(c(x) + 1), lambda c, n, x: (n(y := c(x)), y)],
    ids=["relu", "sum", "used twice"],
)
@pytest.mark.parametrize(("write", "name"), [(traced, "script.pt"), (program, "net.pt2")])
def test_a_norm_that_does_not_follow_directly_is_not_folded(
    tmp_path: Path, between: Callable[..., Tensor], write: Callable[[nn.Module, Path], None], name: str
) -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 8, 3), lively(nn.BatchNorm2d(8))

        def forward(self, x: Tensor) -> Tensor:
            return between(self.conv, self.bn, x)

    torch.manual_seed(0)
    net = Between().eval()
    write(net, tmp_path / name)
    raw, folded = rank_of(net.conv.weight), rank_of(net.conv.weight, 1, net.bn)
    assert raw != folded and rows(str(tmp_path / name))["conv"].rank == raw
