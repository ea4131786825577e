"""Modified files of a run: a valid structure with some values replaced, removed or added."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

#: values that may cause errors: markup, escape sequences, formulas, resolvers, numbers outside all ranges
ODD = [
    *(
        "[red]x[/red][/]",
        "\x1b[31mtext",
        "\u202etext",
        "=1+1",
        "${oc.env:SECRET}",
        "${seed}",
        "x" * 100_000,
        "\ud800",
        "\0",
    ),
    *(10**400, -1, 2**63, 1e308, float("inf"), float("nan"), True, None, "", [], {}, [[[[[1]]]]], {"name": []}),
]
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(ODD)
VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, valid: Any) -> Any:
    """A copy of a structure of dicts and lists with one to three random changes."""
    root = {"": copy.deepcopy(valid)}
    for _ in range(draw(st.integers(1, 3))):
        owner: Any = root
        key: Any = ""
        while isinstance(owner[key], (dict, list)) and owner[key] and draw(st.integers(0, 3)):
            owner = owner[key]
            key = draw(st.sampled_from(list(owner) if isinstance(owner, dict) else range(len(owner))))
        if owner is not root and draw(st.integers(0, 3)) == 0:
            del owner[key]
        else:
            owner[key] = draw(VALUES)
    return root[""]
