"""The target policy and the orders of the greedy one, without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from effscope.config import moves_of, targets_of
from effscope.config.search import search_config
from effscope.errors import EffscopeError
from effscope.results import ACCEPTED, HEAD, REJECTED, Change, Latency, spelled
from effscope.searching.changes import Costs, Count
from effscope.searching.jobs import CANDIDATE, DECIDING, GIVEN, Job, JobBook, Measurement
from effscope.searching.latency_table import piece_names, read_table, template
from effscope.searching.outcome import front
from effscope.searching.policies.greedy import greedy
from effscope.searching.policies.library import WHOLE, library, part_key, piece_key, rows
from effscope.searching.policies.state import Stand, Standing, State, folded, remarks
from effscope.searching.policies.target import LEVELS, target
from effscope.searching.rules import ALPHAS, Terms

BOOK = JobBook({kind: kind for kind in DECIDING}, 0)
S4, S8, C4, C8 = (Change(stage, move) for move in ("slim-50", "cib") for stage in (4, 8))
LIGHT = Change(HEAD, "light-head")
CHANGES = (C4, S4, C8, S8, LIGHT)
SAVED = {C4: 10, S4: 14, C8: 12, S8: 16, LIGHT: 15}
DAMAGE = {C4: 0.004, S4: 0.02, C8: 0.01, S8: 0.03, LIGHT: 0.005}
BASE_AP = 0.5


def new(targets: Mapping[str, float], rule: str = "margin", tries: int = len(LEVELS)) -> State:
    saved = {change: Count(n, 10 * n) for change, n in SAVED.items()}
    costs = Costs(Count(100, 1000), Count(100, 1000), saved)
    return State(BOOK, costs, CHANGES, rule, Terms(0.01, tries=tries), 0.2, targets=targets)


class World:
    """Answers jobs: the loss of a candidate after training, and how much slower it is than its pieces say."""

    def __init__(
        self,
        losses: Mapping[frozenset[Change], float] | None = None,
        overhead: float = 0.0,
        slower: Mapping[frozenset[Change], float] | None = None,
    ):
        self.losses, self.overhead, self.slower, self.asked = losses or {}, overhead, slower or {}, list[str]()

    def __call__(self, job: Job) -> Measurement:
        self.asked.append(f"{job.kind} {spelled(job.changes) if job.kind != 'pieces' else ''}".strip())
        saved = sum(SAVED[change] for change in job.changes)
        values = {
            "base": {"ap": BASE_AP},
            "rank": {"order": (8, 4), "by_separability": (4, 8)},
            "fit": {"error": 0.1},
            "start": {"ap": BASE_AP - sum(DAMAGE[change] for change in job.changes)},
            "run": {"ap": BASE_AP - self.losses.get(frozenset(job.changes), 0.0)},
            "pieces": {"latency": self.pieces()},
            "pace": {
                "latency": {
                    GIVEN: Latency(100, 1),
                    CANDIDATE: Latency(100 - saved + self.late(job), 1),
                }
            },
            "time": {"latency": {need: Latency(90.0 - n, 0.1) for n, need in enumerate((GIVEN, *job.needs))}},
            "baselines": {},
        }[job.kind]
        return Measurement(job.id, job.kind, runtime="onnxruntime", **values)  # type: ignore[arg-type]

    def late(self, job: Job) -> float:
        return self.overhead * len(job.changes) + self.slower.get(frozenset(job.changes), 0.0)

    def pieces(self) -> dict[str, Latency]:
        found = {WHOLE: Latency(100, 1)}
        for change, n in SAVED.items():
            found |= {part_key(change): Latency(40, 1), piece_key(change): Latency(40 - n, 1)}
        return found


def ended(state: State, world: World, stand: Stand = target) -> Standing:
    return stand(final(state, world, stand))


def final(state: State, world: World, stand: Stand = target) -> State:
    while jobs := stand(state).jobs:
        for job in jobs:
            state = folded(stand, state, world(job))
    return state


def test_the_library_comes_first_then_one_candidate() -> None:
    world = World()
    now = ended(new({"params": 0.30}), world)
    kinds = [text.split()[0] for text in world.asked]
    assert kinds == ["base", *["fit"] * 5, *["start"] * 5, "rank", "pieces", "run", "start", "run", "time", "baselines"]
    # C8 + light head: .015 for 27; S4 + S8: .05 for 30; C4 + C8 + light: .019 for 37 is the least that reaches 30
    assert now.accepted == (LIGHT, C4, C8)
    assert [trial.verdict for trial in now.trials] == [ACCEPTED]
    assert now.trials[0].stage is None and now.trials[0].changes == now.accepted
    assert now.stop_reason == "params=-30% reached"


def test_a_rejected_candidate_makes_the_search_ask_for_less() -> None:
    world = World({frozenset((LIGHT, C4, C8)): 0.05})
    now = ended(new({"params": 0.30}), world)
    assert [trial.verdict for trial in now.trials] == [REJECTED, ACCEPTED]
    assert sum(SAVED[change] for change in now.accepted) >= 22.5
    assert now.stop_reason == "params=-22.5% reached, 75 % of what was asked for"


def test_nothing_is_accepted_when_everything_costs_too_much() -> None:
    losses = dict.fromkeys([frozenset(c) for c in ((LIGHT, C4, C8), (LIGHT, C4), (LIGHT, C8), (S8,), (S4,))], 0.1)
    now = ended(new({"params": 0.30}), World(losses))
    candidates = [trial.changes for trial in now.trials]
    assert candidates == [(LIGHT, C4, C8), (LIGHT, C4)]
    assert now.accepted == ()
    assert now.stop_reason == "no candidate for params=-30%, or half of it, was accepted"


def test_a_target_beyond_all_changes_is_said_with_what_there_is() -> None:
    state = final(new({"params": 0.60}), World())
    said = remarks(state, target(state))
    assert "params=-60% cannot be reached: all changes together save at most 41 % of the parameters" in said
    assert target(state).stop_reason == "params=-30% reached, 50 % of what was asked for"


def test_a_candidate_that_is_slower_than_predicted_is_chosen_again() -> None:
    """Three changes lose 6 of the 37 that their parts save: 31 instead of 32."""
    world = World(overhead=2.0)
    state = final(new({"latency": 0.32}), world)
    paces = [text for text in world.asked if text.startswith("pace")]
    assert paces == ["pace light-head; cib at 4, 8", "pace light-head; slim-50 at 4; cib at 8"]
    assert target(state).said[0].endswith("measured latency -35 %")
    assert target(state).trials[0].changes == (LIGHT, S4, C8)


def test_the_fastest_choice_is_tried_when_none_is_fast_enough() -> None:
    state = final(new({"latency": 0.40}), World(overhead=3.0))
    assert (
        target(state).said[0].endswith("measured latency -32 %, less than asked for: the fastest choice that was timed")
    )


def test_an_accepted_candidate_that_is_too_slow_reaches_nothing() -> None:
    now = ended(new({"latency": 0.40}), World(overhead=3.0))
    assert [trial.verdict for trial in now.trials] == [ACCEPTED]
    assert now.stop_reason == "accepted, but latency=-40% was not reached: latency -32 %"


def test_the_fastest_of_the_timed_choices_is_tried_not_the_last() -> None:
    """The second choice saves more by its parts and is slower as a whole."""
    slow = frozenset((LIGHT, S4, C8))
    world = World(overhead=2.0, slower={slow: 20.0})
    now = target(final(new({"latency": 0.32}), world))
    timed = [text for text in world.asked if text.startswith("pace")]
    assert len(timed) > 1 and f"pace {spelled((LIGHT, S4, C8))}" in timed
    assert frozenset(now.trials[0].changes) != slow


def test_a_candidate_is_judged_once() -> None:
    """With one change there is one candidate for every share of the target."""
    state = replace(new({"params": 0.10}), changes=(S8,))
    now = ended(state, World({frozenset((S8,)): 0.1}))
    assert [trial.verdict for trial in now.trials] == [REJECTED]
    assert "params=-5%: the candidate is the same as before" in now.said


def test_the_light_head_alone_can_be_asked_for() -> None:
    state = replace(new({"params": 0.10}), changes=(S4, LIGHT))
    assert ended(state, World()).accepted == (LIGHT,)
    greedily = ended(replace(new({}, tries=1), changes=(C4, LIGHT)), World(), greedy)
    assert greedily.order == (4, HEAD)


def test_without_a_time_of_the_light_head_no_compact_stage_is_chosen(tmp_path: Path) -> None:
    """Ultralytics would not build the model."""
    file = tmp_path / "board.csv"
    file.write_text("stage,move,ms\nmodel,,100\n4,stage,40\n8,stage,40\n4,cib,1\n8,cib,1\n4,slim-50,30\n")
    state = replace(new({"latency": 0.05}), table=read_table(file, CHANGES))
    now = ended(state, World())
    assert now.accepted == (S4,)
    assert now.said[0].startswith("no time is known of cib at 4, 8; slim-50 at 8; light-head, or of what they need")
    assert now.stop_reason == "latency=-5% reached by the times of your table"


def test_a_table_of_the_users_device_decides_without_measuring(tmp_path: Path) -> None:
    """There compact stages are slow: the policy takes the narrow ones."""
    lines = template(piece_names(CHANGES)).splitlines()
    assert lines[:3] == ["stage,move,ms", "model,,", "4,stage,"]
    known = {"model,,": 100, "4,stage,": 20, "8,stage,": 20, "head,head,": 10, "4,cib,": 30, "8,cib,": 31,
             "4,slim-50,": 12, "8,slim-50,": 11, "head,light-head,": 9}  # fmt: skip
    file = tmp_path / "board.csv"
    file.write_text("\n".join([lines[0], *(f"{line}{known[line]}" for line in lines[1:])]))
    table = read_table(file, CHANGES)
    world = World()
    now = ended(replace(new({"latency": 0.15}), table=table), world)
    assert now.accepted == (S4, S8)
    assert not any(text.startswith(("pieces", "pace")) for text in world.asked)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage,ms\n8,1\n", "needs the columns stage, move, ms"),
        ("stage,move,ms\n9,cib,1\n", "line 2: no piece '9 cib' in this search: there are model, 4 stage"),
        ("stage,move,ms\n\n\nmodel,,soon\n", "line 4: ms must be a number above 0, got 'soon'"),
        ("stage,move,ms\nmodel,,1\n8,cib,2\n8,cib,3\n", "line 4: a second time of '8 cib'"),
        ("stage,move,ms\nmodel,,soon\n", "line 2: ms must be a number above 0, got 'soon'"),
        ("stage,move,ms\n8,cib,1\n", "has no time of the whole model: add a line model,,MS"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "board.csv"
    file.write_text(text)
    with pytest.raises(EffscopeError, match=said) as caught:
        read_table(file, CHANGES)
    assert "\n" not in str(caught.value)
    with pytest.raises(EffscopeError, match="`latency_table`: cannot read"):
        read_table(tmp_path / "nowhere.csv", CHANGES)


def test_the_library_alone_trains_nothing() -> None:
    world = World()
    state = final(new({}), world, library)
    assert not any(text.startswith(("run", "time")) for text in world.asked)
    found = {Change(row.stage, row.move): row for row in rows(state)}
    assert set(found) == set(CHANGES)
    assert found[C4].damage == pytest.approx(DAMAGE[C4])
    assert (found[S8].params, found[S8].flops, found[S8].ms_before, found[S8].ms_after) == (16, 160, 40, 24)
    assert library(state).stop_reason == "only the library was asked for"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("rank", (8, 4, HEAD)),
        ("separability", (4, 8, HEAD)),
        ("damage", (4, HEAD, 8)),
        ("damage-per-saving", (HEAD, 4, 8)),
    ],
)
def test_the_orders_of_the_greedy_search(order: str, expected: tuple[int, ...]) -> None:
    """One change a stage: the first of the user's moves."""
    now = ended(replace(new({}, tries=1), order=order), World(), greedy)
    assert now.order == expected
    assert [trial.stage for trial in now.trials] == list(expected)
    assert {trial.move for trial in now.trials} <= {"cib", "light-head"}


def test_a_greedy_search_has_no_library() -> None:
    """Its first trial is a change alone, which is not every change."""
    assert rows(final(new({}, tries=1), World(), greedy)) == ()


def test_candidates_after_a_rejection_share_the_error() -> None:
    """Bonferroni: all together err with at most .05."""
    assert Terms(0.01).alphas == ALPHAS[3]
    assert Terms(0.01, 3, tries=3).alphas == pytest.approx([alpha / 3 for alpha in ALPHAS[2]])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": "params=-30%", "library_only": True}, "`library_only` makes no candidate"),
        ({"target": "params=-30%", "head": "light"}, "the light head is a move: name light-head in `moves`"),
        ({"latency_table": "board.csv"}, "`latency_table` is used with `target` or `library_only`"),
    ],
)
def test_settings_that_would_change_nothing_together_are_refused(settings: Mapping[str, object], said: str) -> None:
    with pytest.raises(EffscopeError, match=said):
        search_config(settings)


def test_the_front_holds_what_nothing_beats() -> None:
    state = final(new({"params": 0.30}), World({frozenset((LIGHT, C4, C8)): 0.05, frozenset((LIGHT, C4)): 0.005}))
    found = [point for point in front(state, target(state)) if point.verdict != "predicted"]
    assert [point.verdict for point in found] == ["base", ACCEPTED, REJECTED]
    assert [point.params for point in found] == sorted((point.params for point in found), reverse=True)


def test_words_of_moves_and_targets() -> None:
    assert moves_of("cib, slim") == ("cib", "slim-75", "slim-50")
    assert moves_of(["dense"]) == ("slim-75", "slim-50", "shallow")
    assert targets_of(["params=-30%", "latency=-12.5%"]) == {"params": 0.3, "latency": 0.125}
    with pytest.raises(EffscopeError, match="write flops=-20%"):
        targets_of("flops=20%")  # to save a fifth, or to keep one
    with pytest.raises(EffscopeError, match="`target` names params twice"):
        targets_of("params=-30%,params=-20%")
    for other in (5, True, {"cib": 1}):
        with pytest.raises(EffscopeError, match="`moves` must be text or a list of texts"):
            moves_of(other)  # type: ignore[arg-type]
    for bad in ("params", "params=-0%", "params=-100%", "speed=-3%", "params=-30"):
        with pytest.raises(EffscopeError, match="`target` must be like params=-30%"):
            targets_of(bad)
    with pytest.raises(EffscopeError, match="names no move"):
        moves_of(" ,")
