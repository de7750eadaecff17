"""A search step by step: AP with its interval above, cost below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effscope.reporting.page import Plot, on_data
from effscope.reporting.plots.style import BLUE, INK, MUTED, RED, figure, line_style
from effscope.results import ACCEPTED, Latency, SearchResult, Trial, stage_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GIVEN, BASE, LOWEST = "your model", "base", "limit"

LOWEST_AP: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "noninferior": ("limit for the interval: base - {}", lambda base, margin: base - margin),
    "margin": ("limit: base - {}", lambda base, margin: base - margin),
    "paper": ("limit: base", lambda base, margin: base),
}
"""Rule -> the limit that AP, or its interval, must reach: words, and the value from the base's AP and the margin.

Other rules are drawn without this line.
"""

START, COST = "at once, before training", "% of your model"

MARKS = {GIVEN: (INK, "*"), BASE: (INK, "o"), ACCEPTED: (BLUE, "s")}
OTHER_MARK = (RED, "X")
"""Verdict -> colour and marker; those of all other verdicts."""

WORDS = {GIVEN: "your model as given", BASE: "base, trained"}
"""Mark -> legend entry; of the others, their verdict."""

COSTS = {"params": "parameters", "flops": "FLOPs", "ms": "time, one thread or GPU"}
"""Key of a row -> legend entry."""

MOST_UPRIGHT = 12
"""With more steps the names are turned."""

Marks = Sequence[Mapping[str, Any]]


def about(result: SearchResult) -> str:
    """Model, data and image size, for titles."""
    config = result.origin.config
    return (
        f"{result.base}, {result.imgsz} px" if config is None else f"{result.base} {on_data(config.data, result.imgsz)}"
    )


def points_word(margin: float) -> str:
    """A margin in words: "1 AP point", "0.5 AP points"."""
    return f"{100 * margin:g} AP point{'s' * (round(100 * margin, 6) != 1)}"


def search_plot(result: SearchResult) -> Plot:
    """Rows: the limit of the rule, the user's model, the base, each trial; AP x 100, costs in % of the user's model."""
    whole = Cost.of_given(result)
    rows: list[dict[str, Any]] = []
    if result.rule in LOWEST_AP:
        words, limit = LOWEST_AP[result.rule]
        label = words.format(points_word(result.margin))
        rows.append({"mark": LOWEST, "label": label, "ap": 100 * limit(result.base_ap, result.margin)})
    own = Cost(result.base_params, result.base_flops, result.base_latency)
    given, name = result.given, GIVEN if result.given else BASE
    if given is not None and (own.params, own.flops) != (whole.params, whole.flops):
        as_given = {"ap_start": None, "ap": _points(given.ap), "low": None, "high": None}
        rows.append({"mark": GIVEN, "label": GIVEN, **whole.shares(whole), **as_given})
        name = "light head"
    else:
        own = whole  # the same model: one time
    starts = {"ap_start": 100 * result.base_ap_start, "ap": 100 * result.base_ap}
    rows.append({"mark": BASE, "label": name, **own.shares(whole), **starts, "low": None, "high": None})
    for n, trial in enumerate(result.trials, 1):
        shares = Cost(trial.params, trial.flops, trial.latency).shares(whole)
        rows.append({"mark": trial.verdict, "label": _label(n, trial), **shares, **_aps(trial)})
    return Plot("ap_vs_cost", f"Search on {about(result)}", tuple(rows), draw_search, COST, "AP50-95 x 100")


@dataclass(frozen=True)
class Cost:
    """Parameters, FLOPs and time of a model."""

    params: int
    flops: int
    latency: Latency | None

    @classmethod
    def of_given(cls, result: SearchResult) -> Cost:
        """That of the user's model; in results of older versions, of the base."""
        given = result.given
        if given is None:
            return cls(result.base_params, result.base_flops, result.base_latency)
        return cls(given.params, given.flops, given.latency or result.base_latency)

    def shares(self, whole: Cost) -> dict[str, float | None]:
        """In % of another model's."""
        ms = 100 * self.latency.ms / whole.latency.ms if self.latency and whole.latency else None
        return {"params": 100 * self.params / whole.params, "flops": 100 * self.flops / whole.flops, "ms": ms}


def _points(ap: float | None) -> float | None:
    return None if ap is None else 100 * ap


def _label(n: int, trial: Trial) -> str:
    """The step that a trial tests."""
    return f"candidate {n}" if trial.stage is None else f"{stage_name(trial.stage)}: {trial.move}"


def _aps(trial: Trial) -> dict[str, float | None]:
    """AP at once and trained, with the interval of its difference to the base around it."""
    low, high = trial.ci or (None, None)
    return {
        "ap_start": 100 * trial.ap_start, "ap": 100 * trial.ap_mean,
        "low": None if low is None else 100 * (trial.ap_mean + low - trial.delta),
        "high": None if high is None else 100 * (trial.ap_mean + high - trial.delta),
    }  # fmt: skip


def draw_search(plot: Plot) -> Figure:
    """Steps from left to right. Above: AP trained with intervals, AP at once hollow, the limit dashed. Below: costs."""
    steps = [row for row in plot.rows if row["mark"] != LOWEST]
    drawing = figure(max(7.0, 1.2 + 0.7 * len(steps)), 5.4)
    upper, lower = drawing.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for row in plot.rows:
        if row["mark"] == LOWEST:
            upper.axhline(row["ap"], color=MUTED, lw=1, ls="--", zorder=0, label=row["label"])
    _draw_ap(upper, steps)
    _draw_costs(lower, steps)
    upper.set_ylabel(plot.y)
    lower.set_ylabel(plot.x)
    turned = 90 if len(steps) > MOST_UPRIGHT else 0
    names = [row["label"].replace(" ", "\n", 1) for row in steps] if not turned else [row["label"] for row in steps]
    lower.set_xticks(range(len(steps)), names, fontsize=8, rotation=turned)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", length=0)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    drawing.suptitle(plot.title, fontsize=10, x=0.02, ha="left")
    return drawing


def _draw_ap(axes: Axes, steps: Marks) -> None:
    """A mark per model and its interval; the shape says the verdict."""
    kept = [(x, row["ap"]) for x, row in enumerate(steps) if row["mark"] in (BASE, ACCEPTED)]
    axes.plot(*zip(*kept, strict=True), color=BLUE, lw=1.2, zorder=1)
    starts = [(x, row["ap_start"]) for x, row in enumerate(steps) if row["ap_start"] is not None]
    if starts:
        xs, ys = zip(*starts, strict=True)
        axes.scatter(xs, ys, facecolors="white", edgecolors=INK, s=26, zorder=2, label=START)
    for verdict in dict.fromkeys(row["mark"] for row in steps if row["ap"] is not None):
        colour, marker = MARKS.get(verdict, OTHER_MARK)
        rows = [(x, row) for x, row in enumerate(steps) if row["mark"] == verdict]
        label = WORDS.get(verdict, f"trained, {verdict}")
        at = ([x for x, _ in rows], [row["ap"] for _, row in rows])
        axes.scatter(*at, color=colour, marker=marker, s=46, zorder=3, label=label)
        for x, row in rows:
            if row["low"] is not None:
                spread = [[row["ap"] - row["low"]], [row["high"] - row["ap"]]]
                axes.errorbar([x], [row["ap"]], spread, color=colour, capsize=4, lw=1.2, zorder=2)
    axes.margins(0.06, 0.12)


def _draw_costs(axes: Axes, steps: Marks) -> None:
    """A line per cost, in % of the user's model; 0 is on the axis."""
    for n, (key, name) in enumerate(COSTS.items()):
        known = [(x, row[key]) for x, row in enumerate(steps) if row[key] is not None]
        if known:
            axes.plot(*zip(*known, strict=True), label=name, **line_style(n))
    axes.set_ylim(0, None)
