"""For mkdocs: formulas between dollar signs become MathML, which browsers draw without a script."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Convert the formulas of a page; code stays as it is."""
    parts = CODE.split(markdown)
    parts[::2] = [FORMULA.sub(_mathml, text) for text in parts[::2]]
    return "".join(parts)


def _mathml(found: re.Match[str]) -> str:
    display = found[1] is not None
    return convert(found[1] or found[2], display="block" if display else "inline")
