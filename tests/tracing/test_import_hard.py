"""Modules that are difficult to import: shared and computed weights, writes through views, unsaved tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from effscope.costing.model import cost_graph
from effscope.errors import EffscopeError
from effscope.results import CostResult
from effscope.tracing.importer import import_module
from effscope.tracing.rebuild import rebuild

SIDE = 16
SHAPE = (1, 3, SIDE, SIDE)


class Does(nn.Module):
    """A module with given children, parameters and buffers. Its forward is a function of the module and the image."""

    def __init__(self, act: Callable[[Any, Tensor], Any], **held: Any) -> None:
        super().__init__()
        self.act = act
        for name, value in held.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value, persistent=not name.startswith("unsaved"))
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        return self.act(self, x)


def conv(c_out: int = 4, k: int = 3, **args: Any) -> nn.Conv2d:
    return nn.Conv2d(3, c_out, k, **args)


def written(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.conv(x)
    y[:, :2] = y[:, 2:] * 2
    y[:, 1].relu_()
    return F.silu(y)


def grown(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.conv(x)
    return m.other(F.relu(y, inplace=True)) + y  # type: ignore[no-any-return]


def without_gradient(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        mean = x.mean((2, 3), keepdim=True)
    with torch.autocast("cpu", enabled=False):
        return m.conv(x.float() - mean)  # type: ignore[no-any-return]


def standardised(m: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, m.weight - m.weight.mean((1, 2, 3), keepdim=True))


def masked(m: Any, x: Tensor) -> Tensor:
    tokens = F.adaptive_avg_pool2d(x, 3).flatten(2).transpose(1, 2)
    q, k, v = m.qkv(tokens).reshape(1, 9, 2, 6).transpose(1, 2).split(2, -1)
    return F.scaled_dot_product_attention(q, k, v, m.bias) + F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attended(m: Any, x: Tensor) -> Tensor:
    tokens = F.adaptive_avg_pool2d(x, 3).flatten(2).transpose(1, 2)
    return m.attention(m.query(tokens), tokens, tokens)[0]  # type: ignore[no-any-return]


def flattened(m: Any, x: Tensor) -> Tensor:
    return m.norm(m.line(x.flatten(2))) + m.norm2(m.linear(x.mean((2, 3))))[:, :4, None]  # type: ignore[no-any-return]


def doubled(m: Any, x: Tensor) -> dict[str, Any]:
    y = m.conv(x)
    return {"a": y, "b": [y.relu(), y]}


def tied() -> nn.Module:
    made = Does(lambda m, x: m.b(m.a(x)), a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1))
    made.b.weight = made.a.weight
    return made


def trained(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


CASES: dict[str, Callable[[], nn.Module]] = {
    "two parameters as weights": lambda: Does(
        lambda m, x: F.conv2d(F.conv2d(x, m.a), m.b, stride=2), a=trained(4, 3, 1, 1), b=trained(5, 4, 3, 3)
    ),
    "one weight at two strides": lambda: Does(lambda m, x: F.conv2d(m.conv(x), m.conv.weight, stride=2), conv=conv(3)),
    "tied weights, own biases": tied,
    "a buffer as weight": lambda: Does(
        lambda m, x: m.conv(F.conv2d(x, m.kernel, groups=3)), kernel=torch.randn(3, 1, 3, 3), conv=conv()
    ),
    "a buffer that is not saved": lambda: Does(
        lambda m, x: m.conv(x * m.unsaved), unsaved=torch.randn(3, 1, 1), conv=conv()
    ),
    "constants made in the forward pass": lambda: Does(
        lambda m, x: m.conv(x[:, m.order] + torch.tensor([1.0, 2.0, 3.0])[:, None, None]),
        order=torch.tensor([2, 0, 1]), conv=conv(),
    ),
    "computed weights": lambda: Does(standardised, weight=trained(4, 3, 3, 3)),
    "weight norm": lambda: Does(
        lambda m, x: m.conv(x), conv=nn.utils.parametrizations.weight_norm(conv())
    ),
    "weight norm by hooks": lambda: Does(lambda m, x: m.conv(x), conv=nn.utils.weight_norm(conv())),
    "same padding of even kernels": lambda: Does(
        lambda m, x: m.conv(x), conv=nn.Conv2d(3, 4, (4, 3), padding="same", dilation=(1, 2))
    ),
    "writes through a view": lambda: Does(written, conv=conv()),
    "an activation in place": lambda: Does(grown, conv=conv(), other=nn.Conv2d(4, 4, 1)),
    "no_grad and autocast inside": lambda: Does(without_gradient, conv=conv()),
    "one-dimensional convolution and vectors": lambda: Does(
        flattened, line=nn.Conv1d(3, 4, 3), norm=nn.BatchNorm1d(4), linear=nn.Linear(3, 6), norm2=nn.BatchNorm1d(6)
    ),
    "norms without bias": lambda: Does(
        lambda m, x: m.norm(m.group(x)), norm=nn.LayerNorm(SIDE, bias=False), group=nn.GroupNorm(1, 3)
    ),
    "attention with a bias": lambda: Does(masked, qkv=nn.Linear(3, 12, bias=False), bias=trained(2, 9, 9)),
    "attention with different widths": lambda: Does(
        attended, attention=nn.MultiheadAttention(6, 2, batch_first=True, kdim=3, vdim=3), query=nn.Linear(3, 6)
    ),
    "the same output twice": lambda: Does(doubled, conv=conv()),
    "several values at once": lambda: Does(lambda m, x: m.conv(x).flatten(2).topk(3, -1)[0].sum(-1), conv=conv()),
}  # fmt: skip


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in leaves(part)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_an_import_has_the_same_parameters_multiply_adds_and_outputs(case: str) -> None:
    torch.manual_seed(0)
    module = CASES[case]().eval()
    image = torch.randn(SHAPE)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        expected = leaves(module(image.clone()))
    imported = import_module(module, SHAPE, "made")
    counted = cost_graph(imported.graph, imported.outline, SIDE)
    assert isinstance(counted, CostResult)
    assert counted.params == sum(p.numel() for p in module.parameters())
    assert 2 * counted.macs == flops.get_total_flops()
    assert counted.uncounted == ()
    with torch.no_grad():
        found = rebuild(imported, module.state_dict())(image.clone())
    assert len(found) == len(expected)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_hooks_do_not_run_and_attributes_of_the_forward_pass_are_not_kept() -> None:
    def remember(m: Any, x: Tensor) -> Tensor:
        m.seen = x.mean()
        return m.conv(x)  # type: ignore[no-any-return]

    module = Does(remember, conv=conv())
    ran: list[int] = []
    module.conv.register_forward_hook(lambda *_: ran.append(1))
    before = dict(vars(module))
    import_module(module, SHAPE, "made")
    assert not ran
    assert set(vars(module)) == set(before)
    assert len(module.conv._forward_hooks) == 1


def test_a_module_that_cannot_be_copied_is_traced_itself_and_restored() -> None:
    module = Does(lambda m, x: m.conv(x), conv=conv(), stream=(n for n in range(3)))
    module.train()
    imported = import_module(module, SHAPE, "made")
    assert [node.name for node in imported.graph.nodes] == ["image", "conv"]
    assert module.training
    assert module.conv.training


def test_a_note_says_how_many_parameters_uncounted_operations_read() -> None:
    module = Does(
        lambda m, x: m.conv(x).sum() + torch.matrix_exp(m.turn.weight.mT).sum(),
        turn=nn.Linear(4, 4, False),
        conv=conv(),
    )
    imported = import_module(module, SHAPE, "made")
    assert imported.outline.notes == (f"uncounted operations read 16 of {16 + 4 * 27 + 4} parameters (12.5%)",)
    counted = cost_graph(imported.graph, imported.outline, SIDE)
    assert counted.uncounted in (("matrix_exp.default",), ("linalg_matrix_exp.default",))
    assert [(row.calls, row.macs_at_most) for row in counted.uncounted_ops] == [(1, 16 * 16)]
    assert counted.coverage["uncounted"] == 1


def test_weights_of_another_module_are_refused() -> None:
    imported = import_module(Does(lambda m, x: m.conv(x), conv=conv()), SHAPE, "made")
    with pytest.raises(EffscopeError, match=r"the state dict has no 'conv\.weight'"):
        rebuild(imported, {})
