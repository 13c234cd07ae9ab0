"""Markdown cells as HTML: headings with anchors, formulas as pictures, images inside the page."""

from __future__ import annotations

import base64
import mimetypes
import re
from html import escape, unescape
from pathlib import Path
from typing import Any

from landscape.notebooks.formulas import formula


class MarkdownPage:
    """Renders the Markdown cells of one notebook and remembers their headings.

    Args:
        folder: Where local images are looked for.
        attachments: Filled per cell: name to MIME data.

    Attributes:
        headings: (level, anchor, plain text) in order.
    """

    def __init__(self, folder: Path) -> None:
        import mistune
        from mistune.plugins.math import math

        self.folder = folder
        self.headings: list[tuple[int, str, str]] = []
        self._attachments: dict[str, Any] = {}
        page = self

        class Renderer(mistune.HTMLRenderer):
            """Own headings, images and formulas."""

            def heading(self, text: str, level: int, **attrs: Any) -> str:
                return page._heading(text, level)

            def image(self, text: str, url: str, title: str | None = None) -> str:
                return page._image(text, url)

        self._render: Any = mistune.create_markdown(
            renderer=Renderer(escape=False), plugins=["table", "strikethrough", "url", math]
        )
        self._render.renderer.register("inline_math", lambda _, text: formula(unescape(text)))
        self._render.renderer.register("block_math", lambda _, text: formula(unescape(text), block=True))

    def render(self, source: str, attachments: dict[str, Any] | None = None) -> str:
        """Turn one cell's source into HTML."""
        self._attachments = attachments or {}
        return self._render(source)

    def _heading(self, text: str, level: int) -> str:
        plain = unescape(re.sub(r"<[^>]+>", "", text)).strip()
        anchor = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "section"
        anchor = f"{anchor}-{len(self.headings)}"
        self.headings.append((level, anchor, plain))
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def _image(self, text: str, url: str) -> str:
        alt = escape(text)
        data = self._attachments.get(url.removeprefix("attachment:"), {})
        for kind, content in data.items():
            return f'<img alt="{alt}" src="data:{kind};base64,{content}">'
        if url.startswith("data:"):
            return f'<img alt="{alt}" src="{escape(url)}">'
        path = self.folder / url
        if "://" not in url and path.is_file():
            kind = mimetypes.guess_type(path.name)[0] or "image/png"
            return f'<img alt="{alt}" src="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">'
        return f'<a href="{escape(url)}">{alt or escape(url)}</a>'
