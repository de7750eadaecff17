"""Labels that a search without labels leaves aside: at its end they tell the true AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effscope.data.classes import in_model_classes
from effscope.data.load import load
from effscope.data.record import Fault
from effscope.data.sample import DataSet, Sample
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections
from effscope.errors import EffscopeError, counted
from effscope.models.opened import Model
from effscope.progress import unsaid


@dataclass(frozen=True)
class Truth:
    """The labels of some images of a split.

    Attributes:
        positions: positions of these images in the split.
        samples: the images with their labels.
        classes: class names.
        note: what the labels do not tell, for the user; empty if they tell everything.
    """

    positions: tuple[int, ...]
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    note: str = ""

    def ap(self, detections: Sequence[Detections]) -> float:
        """AP of the detections in all images of the split."""
        return score(self.samples, [detections[n] for n in self.positions], self.classes).ap


def truth_of(data: str, split: DataSet, model: Model) -> Truth | None:
    """The labels of the images of a split that was read without labels.

    Args:
        data: the data set, as the user named it.
        split: the split; its images are known by their paths.
        model: the model whose classes the labels are converted to.

    Returns:
        The labels; None if the data has none for these images, or none of the model's classes.
    """
    try:
        labelled = load(data, split.split)
        known = in_model_classes(labelled, model.classes, model.layout.nc, model.name, unsaid)
    except EffscopeError:
        return None
    by_path = {str(sample.image): sample for sample in known.samples}
    found = [(n, by_path[str(one.image)]) for n, one in enumerate(split.samples) if str(one.image) in by_path]
    if not any(len(sample.boxes) for _, sample in found):
        return None
    note = _note(len(found), len(split.samples), labelled, known)
    return Truth(tuple(n for n, _ in found), tuple(sample for _, sample in found), known.classes, note)


def _note(found: int, every: int, labelled: DataSet, known: DataSet) -> str:
    """What the true AP leaves out, or takes for granted."""
    missing = labelled.faults[Fault.MISSING_LABELS]
    lost = sum(len(a.labels) - len(b.labels) for a, b in zip(labelled.samples, known.samples, strict=True))
    parts = [f"it is of {found} of {counted(every, 'image')}"] if found < every else []
    parts += [f"{counted(missing, 'image')} without a label file: counted as without objects"] if missing else []
    parts += [f"{counted(lost, 'box', 'boxes')} of classes that your model does not know: left out"] if lost else []
    return f"true AP: {'; '.join(parts)}" if parts else ""
