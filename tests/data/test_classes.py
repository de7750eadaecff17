"""Labels of one data set in the classes of a model or of another split."""

from __future__ import annotations

import numpy as np
import pytest

from effscope.data.classes import in_model_classes, matched
from effscope.data.sample import DataSet, Sample
from effscope.errors import EffscopeError
from effscope.progress import unsaid


@pytest.fixture
def cats_and_dogs() -> DataSet:
    boxes = np.array([[0, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7]], np.float32)
    pixels = np.zeros((8, 8, 3), np.uint8)
    return DataSet("pets", "val", ("cat", "dog"), (Sample(pixels, (8, 8), boxes, np.array([0, 1, 1])),))


def test_labels_index_the_wanted_classes(cats_and_dogs: DataSet) -> None:
    found = matched(cats_and_dogs, ("bird", "dog", "cat"), "the model", pytest.fail)
    assert found.classes == ("bird", "dog", "cat")
    assert found.samples[0].labels.tolist() == [2, 1, 1]
    assert np.array_equal(found.samples[0].boxes, cats_and_dogs.samples[0].boxes)


def test_equal_classes_change_nothing(cats_and_dogs: DataSet) -> None:
    assert matched(cats_and_dogs, ("cat", "dog"), "the model", pytest.fail) is cats_and_dogs


def test_boxes_of_other_classes_are_left_out_and_counted(cats_and_dogs: DataSet) -> None:
    said: list[str] = []
    found = matched(cats_and_dogs, ("cat", "bird"), "best.pt", said.append)
    assert found.samples[0].labels.tolist() == [0]
    assert found.samples[0].boxes.tolist() == [[0, 0, 5, 5]]
    assert said == ["val: 2 boxes of classes that best.pt does not have, left out: dog"]


def test_no_common_class_is_an_error(cats_and_dogs: DataSet) -> None:
    with pytest.raises(EffscopeError, match=r"best\.pt and pets \(val\) have no class in common: car, .* cat, dog"):
        matched(cats_and_dogs, ("car",), "best.pt", unsaid)


def test_a_model_without_class_names_needs_as_many_classes(cats_and_dogs: DataSet) -> None:
    assert in_model_classes(cats_and_dogs, None, 2, "best.pt", pytest.fail) is cats_and_dogs
    with pytest.raises(EffscopeError, match=r"best\.pt has 3 unnamed classes, pets has 2: give a weights file"):
        in_model_classes(cats_and_dogs, None, 3, "best.pt", unsaid)
    assert in_model_classes(cats_and_dogs, ("dog", "cat"), 2, "best.pt", unsaid).samples[0].labels.tolist() == [1, 0, 0]
