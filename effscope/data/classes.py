"""Convert the labels of a data set to the classes of a model or of another split; classes are matched by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import yaml
from numpy.typing import NDArray

from effscope.data.sample import DataSet, Objects
from effscope.errors import EffscopeError, counted
from effscope.progress import Say


def in_model_classes(
    dataset: DataSet, classes: tuple[str, ...] | None, n_classes: int, model: str, say: Say
) -> DataSet:
    """The data with labels that index the classes of a model.

    A model without class names is assumed to have the classes of the data, if their numbers are equal.

    Args:
        dataset: the data.
        classes: names of the model's classes, position = label; None if they are unknown.
        n_classes: number of classes of the model.
        model: name of the model, for messages.
        say: called with the number of dropped boxes, those of classes that the model does not have.

    Raises:
        EffscopeError: no common class, or a model without class names and with another number of classes.
    """
    if classes is not None:
        return matched(dataset, classes, model, say)
    if n_classes != len(dataset.classes):
        raise EffscopeError(
            f"{model} has {n_classes} unnamed classes, {dataset.source} has {len(dataset.classes)}: "
            "give a weights file that names its classes"
        )
    return dataset


def matched(dataset: DataSet, classes: tuple[str, ...], owner: str, say: Say) -> DataSet:
    """The data with labels that index `classes`; reports the number of dropped boxes of other classes.

    Args:
        dataset: the data.
        classes: the wanted classes, position = label.
        owner: name of the model or split with these classes, for messages.
        say: called with the number of dropped boxes.

    Raises:
        EffscopeError: no class in common.
    """
    dataset = _as_yaml_reads_them(dataset, classes, owner, say)
    if dataset.classes == classes:
        return dataset
    if not set(classes) & set(dataset.classes):
        raise EffscopeError(
            f"{owner} and {dataset.source} ({dataset.split}) have no class in common: {', '.join(classes[:5])}, ... "
            f"against {', '.join(dataset.classes[:5])}"
        )
    found = relabelled(dataset, classes)
    lost = sum(len(a.labels) - len(b.labels) for a, b in zip(dataset.samples, found.samples, strict=True))
    if lost:
        unknown = ", ".join(name for name in dataset.classes if name not in classes)
        boxes = counted(lost, "box", "boxes")
        say(f"{dataset.split}: {boxes} of classes that {owner} does not have, left out: {unknown}")
    return found


def _as_yaml_reads_them(dataset: DataSet, classes: tuple[str, ...], owner: str, say: Say) -> DataSet:
    """The data with the owner's names for classes such as `no`: who reads them as YAML does calls this one False."""
    read = {name: _yaml_text(name) for name in dataset.classes if name not in classes}
    names = {name: text for name, text in read.items() if text in classes and text not in dataset.classes}
    if not names:
        return dataset
    say(f"{dataset.split}: {', '.join(f'{name!r} is {text!r} of {owner}' for name, text in names.items())}")
    renamed = tuple(names.get(name, name) for name in dataset.classes)
    ids = {names.get(name, name): key for name, key in dataset.category_ids.items()}
    return replace(dataset, classes=renamed, category_ids=ids)


def _yaml_text(name: str) -> str:
    try:
        return str(yaml.safe_load(name))
    except yaml.YAMLError:
        return name


def relabelled(dataset: DataSet, classes: tuple[str, ...]) -> DataSet:
    """The data with labels that index `classes`, matched by name; boxes of other classes are left out."""
    index = {name: k for k, name in enumerate(classes)}
    table = np.array([index.get(name, -1) for name in dataset.classes], dtype=np.int64)
    samples = []
    for sample in dataset.samples:
        labels = table[sample.labels]
        known = labels >= 0
        written = None if sample.written is None else _relabelled(sample.written, table)
        samples.append(replace(sample, boxes=sample.boxes[known], labels=labels[known], written=written))
    return replace(dataset, classes=classes, samples=tuple(samples))


def _relabelled(truth: Objects, table: NDArray[np.int64]) -> Objects:
    """Objects with labels of another order; `table` is label -> new label, -1 for a class that is not wanted."""
    labels = table[truth.labels]
    return replace(truth, labels=labels).some(labels >= 0)
