"""Labels are converted to class numbers, or refused with a remedy."""

from __future__ import annotations

import numpy as np
import pytest

from regtorch.data.labels import check_range, class_numbers, missing_classes
from regtorch.errors import DataError

LABELS = np.array([0, 2, 1, 2])
ACCEPTED = {
    **{f"{kind} of integers": LABELS.astype(kind) for kind in ("u1", "i2", ">i4", "u8", "f2", "f4", ">f8")},
    "a column": LABELS[:, None],
    "a column of floats": LABELS[:, None].astype(float),
    "negative zero": np.array([-0.0, 2, 1, 2]),
}
REFUSED = {
    "one-hot": (np.eye(3)[LABELS], ["(4, 3)", "one-hot", "y.argmax(1)"]),
    "one-hot of integers": (np.eye(3, dtype=int)[LABELS], ["one-hot", "y.argmax(1)"]),
    "one-hot of booleans": (np.eye(3, dtype=bool)[LABELS], ["one-hot", "y.argmax(1)"]),
    "probabilities": (np.full((4, 2), 0.5), ["probabilities", "y.argmax(1)"]),
    "several a row": (np.ones((4, 3), int), ["(4, 3)", "RegularizedModule"]),
    "a row": (LABELS[None], ["(1, 4)", "y.ravel()"]),
    "one number": (np.array(3), ["()"]),
    "strings": (np.array(list("acbc")), ["strings", "numpy.unique(y, return_inverse=True)", "searchsorted"]),
    "bytes": (np.array([b"a", b"b"]), ["strings", "return_inverse"]),
    "dates": (np.array(["2020-01-01"], "M8[D]"), ["datetime64", "return_inverse"]),
    "complex": (LABELS.astype(complex), ["complex128", "integers"]),
    "records": (np.zeros(2, [("a", "i4"), ("b", "f8")]), ["integers"]),
    "NaN": (np.array([0, np.nan, 1]), ["1 NaN", "row 1", "numpy.isfinite(y)"]),
    "infinite": (np.array([0, 1, np.inf]), ["1 NaN or infinite", "row 2"]),
    "fractions": (np.array([0, 1, 0.25]), ["0.25 in row 2", "RegularizedModule"]),
    "large floats": (np.array([0, 1e300]), ["1e+300 in row 1"]),
    "large integers": (np.array([0, 2**63], np.uint64), [str(2**63)]),
}


@pytest.mark.parametrize("labels", ACCEPTED.values(), ids=ACCEPTED)
def test_integers_of_any_type_are_accepted(labels: np.ndarray) -> None:
    found = class_numbers("y_train", labels, DataError)
    assert found.dtype == np.int64
    assert found.tolist() == LABELS.tolist()


def test_booleans_are_accepted() -> None:
    assert class_numbers("y", np.array([True, False]), DataError).tolist() == [1, 0]


@pytest.mark.parametrize(("labels", "words"), REFUSED.values(), ids=REFUSED)
def test_other_labels_are_refused_with_a_remedy(labels: np.ndarray, words: list[str]) -> None:
    with pytest.raises(DataError, match="y_train") as error:
        class_numbers("y_train", labels, DataError)
    message = str(error.value)
    assert len(message) <= 500
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("labels", [[-1, 1, 1], [0, -3, 1], [0, 3, 1]])
def test_labels_outside_the_classes(labels: list[int]) -> None:
    remedy = r"\(y > 0\)" if labels[0] == -1 else "return_inverse"
    with pytest.raises(DataError, match=f"y has 1 labels outside the 3 classes.*{remedy}"):
        check_range("y", np.array(labels), 3, DataError)
    check_range("y", np.array([0, 2, 1]), 3, DataError)


@pytest.mark.parametrize(
    ("labels", "missing", "words"),
    [
        ([1, 2, 3], ["0"], "y - 1"),
        ([0, 2, 7], ["1", "3", "4", "5", "6"], "return_inverse"),
        ([2, 4], ["0", "1", "3"], "return_inverse"),
        ([0, 1, 2], [], ""),
    ],
)
def test_advice_on_classes_without_training_rows(labels: list[int], missing: list[str], words: str) -> None:
    classes = tuple(map(str, range(max(labels) + 1)))
    advice = missing_classes(np.array(labels), classes)
    assert [name for one in advice for name in one["class"]] == missing
    assert all(words in one["text"] for one in advice)


def test_advice_on_many_classes_stays_short() -> None:
    (advice,) = missing_classes(np.array([0]), tuple("a" * 100 + str(index) for index in range(1000)))
    assert len(advice["text"]) <= 500
    assert "989 more of 1000" in advice["text"]
