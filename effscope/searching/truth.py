"""Labels that a search without labels leaves aside: at its end they tell the true AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effscope.data.classes import in_model_classes
from effscope.data.load import load
from effscope.data.sample import DataSet, Sample
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections
from effscope.errors import EffscopeError
from effscope.models.opened import Model
from effscope.progress import unsaid


@dataclass(frozen=True)
class Truth:
    """The labels of some images of a split.

    Attributes:
        positions: positions of these images in the split.
        samples: the images with their labels.
        classes: class names.
    """

    positions: tuple[int, ...]
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]

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
    return Truth(tuple(n for n, _ in found), tuple(sample for _, sample in found), known.classes)
