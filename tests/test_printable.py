"""Names, values and messages are shown as one printable line of bounded length, unchanged if possible."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from regtorch.printable import cell, escaped, printable, shortened

TEXTS = st.text(st.characters(), max_size=600) | st.text("\x1b\u202e\ud800\x00 \n=+-@a'\"", max_size=40)


@given(TEXTS)
def test_texts_are_printable_and_bounded(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 500
    if text.isprintable() and len(text) <= 500:
        assert shown == " ".join(text.split())
    assert escaped(text, keep="\n").replace("\n", "").isprintable()


@given(TEXTS, st.integers(20, 100))
def test_the_middle_is_removed(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert short[:5] == text[:5]
    assert short[-5:] == text[-5:]


@given(TEXTS)
def test_no_cell_is_a_formula(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([cell(text), "end"])
    (row,) = csv.reader([file.getvalue()])
    assert row == [cell(text), "end"]
    try:
        float(row[0])
    except ValueError:
        assert row[0][:1] not in ("=", "+", "-", "@")
