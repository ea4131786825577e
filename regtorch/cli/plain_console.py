"""A console that reads no markup and lets no control character through; it imports rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from regtorch.printable import escaped, shortened


class PlainConsole(Console):
    """Escapes what is not printable in all text; the sequences that rich adds for styles are its own."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """A text as it stands, of bounded length."""
        return super().render_str(escaped(shortened(text, 4000), keep="\n"), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything, also of texts that were made elsewhere."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control is None and not text.isprintable():
                segment = Segment(escaped(text, keep="\n"), segment.style)
            yield segment
