"""A rich console without markup that escapes control characters. It imports rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from regtorch.printable import escaped, shortened


class PlainConsole(Console):
    """Escapes unprintable characters in all text, but not rich's own style sequences."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Render a text verbatim, with bounded length."""
        return super().render_str(escaped(shortened(text, 4000), keep="\n"), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything, and escape unprintable characters in its segments."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control is None and not text.isprintable():
                segment = Segment(escaped(text, keep="\n"), segment.style)
            yield segment
