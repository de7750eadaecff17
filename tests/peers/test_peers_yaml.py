"""Layout files against Ultralytics: every detection file it ships, files in many forms, and files that we write."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from support.peers_env import PEERS, ask_for

from effscope.costing.nodes import parameters
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml, read_yaml, to_yaml
from effscope.layouts.ultralytics_yaml.tables import OPEN_VOCABULARY, SHARED_BLOCKS
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.spec.layout import Layout

OTHER_TASKS = ("-seg", "-pose", "-obb", "-cls", "-sem", "-depth")


def shipped() -> dict[str, Path]:
    """Every detection model there is a file for, a name with the scale's letter for each scale -> the file."""
    found: dict[str, Path] = {}
    for file in sorted(PEERS.glob(".venv/lib/*/site-packages/ultralytics/cfg/models/**/*.yaml")):
        if any(task in file.stem for task in OTHER_TASKS):
            continue
        scales = yaml.safe_load(file.read_text(encoding="utf-8")).get("scales") or {}
        if len(scales) < 2:
            found[file.stem] = file
        for letter in scales if len(scales) > 1 else ():
            found[with_letter(file.stem, letter)] = file
    return found


def with_letter(stem: str, letter: str) -> str:
    """yolov8-p2 at n is yolov8n-p2, yoloe-v8 at n is yoloe-v8n: the letter stands behind the version number."""
    return re.sub(r"(\d+)", rf"\1{letter}", stem, count=1)


FORMS = {
    "dual": "nc: 3\nend2end: True",
    "few bins": "nc: 3\nreg_max: 8\nend2end: False",
    "dual, without bins": "nc: 300\nend2end: True\nreg_max: 1",
    "activation": "nc: 80\nactivation: nn.Hardswish()",
    "multiples": "nc: 80\ndepth_multiple: 0.33\nwidth_multiple: 0.30",
    "one scale": "nc: 80\nscales: {s: [0.5, 0.33, .inf]}",
    **{f"scale {letter}": f"nc: 80\nscales: {{{letter}: [0.5, 0.75, 512]}}" for letter in "nsmlx"},
}
"""What stands above the rows."""

ROWS = {
    "words": ["[-1, 1, Conv, ['64', 3, 2, 'None', 1, 1, 'True']]", "[-1, 2, C2f, [64, 'False', 2]]"],
    "repeats": ["[-1, 1, Conv, [64, 3, 2]]", "[-1, 6, Conv, [64, 3]]", "[-1, 3, nn.MaxPool2d, [2, None]]"],
    "sources": ["[-1, 1, nn.Identity, []]", "[0, 1, Conv, [64, 3, 2]]", "[-2, 1, Conv, [32, 3, 2]]",
                "[[-1, 1, -2], 1, Concat, [1]]"],
    "forced": ["[-1, 1, Conv, [128, 3, 2]]", "[-1, 2, C3k2, [256, False, 0.25]]", "[-1, 2, C3k2, [512]]",
               "[-1, 4, A2C2f, [512, True, 4]]"],
    "pooling": ["[-1, 1, Conv, [128, 3, 2]]", "[-1, 1, SPPF, [256]]", "[-1, 1, SPPF, [256, 5, 3, True]]",
                "[-1, 1, SPP, [256, [3, 7]]]"],
    "groups": ["[-1, 1, Conv, [128, 3, 2]]", "[-1, 2, C3, [128, False, 2, 1.0]]", "[-1, 1, GhostConv, [64, 3, 2]]",
               "[-1, 2, C2fCIB, [128, True, True]]", "[-1, 1, Bottleneck, [256, True, 4]]"],
}  # fmt: skip
"""What stands in the backbone, under a head on its last two layers."""


def forms() -> dict[str, str]:
    """Name -> text of files in every form."""
    texts = {}
    for top, above in FORMS.items():
        for kind, rows in ROWS.items():
            for head in ("Detect", "v10Detect"):
                body = "\n".join(f"  - {row}" for row in rows)
                text = f"{above}\nbackbone:\n{body}\nhead:\n  - [[{len(rows) - 2}, -1], 1, {head}, [nc]]\n"
                texts[f"{top}, {kind}, {head}"] = text
    return texts


FILES = forms()

MOVES = (("scdown",), ("light-head", "cib"), ("nms-free",), ("nms-free", "light-head", "cib-lk", "scdown", "psa"),
         ("slim-50",), ("slim-75", "ghost"), ("shallow",), ("shallow", "shallow"), ("shallow", "slim-50"))  # fmt: skip
MOVED = ("yolov8n", "yolov5s", "yolov9t", "yolov10n", "yolo11n", "yolo11m", "yolo12l", "yolo26n", "yolov6n")


def written() -> dict[str, str]:
    """Name -> text of every fourth built-in model, and of some after moves where that can be spelled."""
    spelled = [name for name in ZOO if {layer.block for layer in layout(name).layers} <= set(SHARED_BLOCKS)]
    texts = {name: to_yaml(layout(name)) for name in spelled[::4]}
    for name in MOVED:
        for moves in MOVES:
            model = moved(layout(name, 5), moves)
            with suppress(EffscopeError):
                texts[f"{name} {' '.join(moves)}"] = to_yaml(model)
    return texts


def moved(model: Layout, moves: tuple[str, ...]) -> Layout:
    """The model after those of the moves that it has layers for."""
    for step in moves:
        with suppress(EffscopeError):
            model = move(model, step)
    return model


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | str]:
    """Parameters as Ultralytics builds them: by name of a shipped file, by path of one of ours. One process for all."""
    folder = tmp_path_factory.mktemp("counts")
    questions = [f"{name}.yaml" for name in shipped()]
    for kind, texts in (("form", FILES), ("written", written())):
        for name, text in texts.items():
            file = folder / kind / name.replace(" ", "_") / "model.yaml"
            file.parent.mkdir(parents=True)
            file.write_text(text, encoding="utf-8")
            questions.append(str(file))
    (folder / "question.json").write_text(json.dumps(questions))
    ask_for("counts", folder)
    answers: dict[str, int | str] = json.loads((folder / "answer.json").read_text())
    return {name.replace(f"{folder}/", "").removesuffix("/model.yaml"): count for name, count in answers.items()}


def test_every_shipped_detection_file_at_every_scale(theirs: dict[str, int | str]) -> None:
    """Equal to the unit, or one line names the block that is not built: those that need a text encoder."""
    score: Counter[str] = Counter()
    for name, file in shipped().items():
        try:
            ours = parameters(expand(from_yaml(file.read_text(encoding="utf-8"), name, str(file))))
        except EffscopeError as e:
            block = next((block for block in OPEN_VOCABULARY if f"'{block}'" in str(e)), None)
            assert block, f"{name}: {e}"
            assert ", line " in str(e)
            score[block] += 1
            continue
        assert ours == theirs[f"{name}.yaml"], name
        score["equal"] += 1
    unsupported = ", ".join(f"{block} {count}" for block, count in score.items() if block != "equal")
    print(f"{score['equal']} of {score.total()} equal, {score.total() - score['equal']} unsupported: {unsupported}")
    assert score.total() - score["equal"] == sum("yoloe" in name or "world" in name for name in shipped())
    assert {"yolov3", "yolov5s", "yolov6m", "yolov8x", "yolov9e", "yolov10b", "yolo11l", "yolo12x"} <= set(shipped())


@pytest.mark.parametrize("name", FILES)
def test_files_in_any_form_are_the_same_model(name: str, theirs: dict[str, int | str]) -> None:
    """Or none at all on both sides: area attention at widths it cannot split."""
    answer = theirs[f"form/{name.replace(' ', '_')}"]
    if isinstance(answer, str):
        assert "multiple of 32" in answer
        with pytest.raises(EffscopeError, match="multiple of 32"):
            from_yaml(FILES[name], "model")
    else:
        assert parameters(expand(from_yaml(FILES[name], "model"))) == answer


def test_ultralytics_builds_what_we_write(theirs: dict[str, int | str], tmp_path: Path) -> None:
    """The same count, and for every move at least one model that could be written after it."""
    texts = written()
    assert len(texts) > 3 * len(MOVED)
    for name, text in texts.items():
        (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
        assert parameters(expand(read_yaml(tmp_path / "model.yaml"))) == theirs[f"written/{name.replace(' ', '_')}"], (
            name
        )
        base, *moves = name.split()
        source = moved(layout(base, 5), tuple(moves)) if moves else layout(base)
        assert parameters(expand(source)) == theirs[f"written/{name.replace(' ', '_')}"], name
    for moves in MOVES:
        assert any(name.endswith(" ".join(moves)) for name in texts)
