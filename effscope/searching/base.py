"""The base of a search: your weights with the head of the search, or a network trained on the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from effscope.layouts.expand import expand
from effscope.nn.build import Network, build
from effscope.nn.inherit import Transfer, inherit
from effscope.searching.fitting import Part, fit_head
from effscope.searching.jobs import Measurement
from effscope.searching.plan import base_words
from effscope.searching.work import Work
from effscope.spec.layout import Layout

CLASS_TOWERS = ("cv3.", "one2one_cv3.")
"""Names of a head's class towers. For other classes they are initialised randomly."""


def base(work: Work) -> Measurement:
    """Load or train the base, and score it."""
    context, given = work.context, work.context.given
    network = build(expand(context.layout), work.job.seed)
    if given.state is not None:
        kept = given.state if context.fits else without_class_towers(given.state, given.layout)
        transfer = inherit(network, context.layout, given.layout, kept)
        work.notes.append(f"start: {given.source}; {transfer.summary()}; {base_words(context, work.plan)}")
        if context.fits:
            return _taken_over(work, network, transfer)
        work.recalibrate(network)
    network = work.train(network, context.base_epochs, context.config.recipe, "base: training")
    return _scored(work, network)


def without_class_towers(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors outside the head's class towers."""
    towers = tuple(f"model.{_head(layout)}.{name}" for name in CLASS_TOWERS)
    return {key: tensor for key, tensor in state.items() if not key.startswith(towers)}


def _scored(work: Work, network: Network) -> Measurement:
    work.store(work.context.layout, network)
    return work.measured(work.score(network, "base: scoring"))


def _taken_over(work: Work, network: Network, transfer: Transfer) -> Measurement:
    """The base from weights of the same classes: a head of another form is fitted, and trained if it costs much."""
    context = work.context
    yours = context.given.network()
    scored = work.score(yours, "base: scoring your model")
    given, left_out = scored.ap, scored.matches.left_out()
    if not (transfer.fresh or transfer.reshaped):
        return replace(_scored(work, network), given_ap=given, given_left_out=left_out)
    part = Part(yours, context.yours, context.layout, _head(context.layout))
    progress = work.parts.part(work.plan.fitting, "base: fitting the light head")
    fitted = fit_head(network, part, transfer, context, work.job.seed, progress)
    work.notes.append(f"light head: {fitted.words}")
    score = work.score(network, "base: scoring")
    if given - score.ap <= context.config.margin:
        work.store(context.layout, network)
        return replace(work.measured(score), given_ap=given, given_left_out=left_out, fitted_ap=score.ap)
    trained = _head_trained(work, network, yours)
    after = work.score(trained, "base: scoring its trained head")
    better = after.ap > score.ap
    work.notes.append(
        f"the light head costs {100 * (given - score.ap):.1f} AP points, more than the margin, so its class towers "
        f"learned from labels: AP {100 * score.ap:.1f} before, {100 * after.ap:.1f} after; "
        + ("the base has the trained head" if better else "no better, so the light head stays as it was fitted")
    )
    work.store(context.layout, trained if better else network)
    found = work.measured(after if better else score)
    return replace(found, given_ap=given, given_left_out=left_out, fitted_ap=score.ap)


def _head_trained(work: Work, network: Network, teacher: Network) -> Network:
    """A copy of the base whose head alone learned from labels, for as long as a short training."""
    context = work.context
    copy = build(expand(context.layout))
    copy.load_state_dict(network.state_dict())
    work.recalibrate(copy)
    title, frozen = "base: training its head", _head(context.layout)
    return work.train(copy, context.config.epochs, context.proxy_recipe, title, frozen, teacher)


def _head(layout: Layout) -> int:
    """Position of the head, the last layer."""
    return len(layout.layers) - 1
