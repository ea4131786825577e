"""The package, the configuration and the documentation use plain modern English and the field's terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: what is not written -> what is written instead
BANNED = {
    r"go(es|ing|ne)? on\b": "resume, continue",
    r"\bbehind (each|every|the last|its|it)\b": "after",
    r"\bwhoever\b": "anyone who",
    r"\b(is|was|are|were) (said|told)\b": "reported, logged, printed",
    r"\bthe very\b": "the same",
    r"\banew\b": "again",
    r"\blies\b": "is",
    r"\bstranger": "untrusted",
    r"(?<!sampled )(?<!sampling it )\bwhole\b": "complete, atomic, integer",
    r"\bof its own accord\b": "by itself",
}
FILES = sorted(
    path
    for pattern in ("regtorch/**/*.py", "regtorch/**/*.pyi", "conf/**/*.yaml", "scripts/*.py", "docs/*.md", "*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("banned", BANNED)
def test_words(banned: str) -> None:
    assert len(FILES) > 300
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(banned, line, re.IGNORECASE)
    ]
    assert found == [], f"write {BANNED[banned]}"
