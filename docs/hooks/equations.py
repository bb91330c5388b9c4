"""Hook of the documentation site that turns equations from LaTeX to MathML when the site is built.

The extension `pymdownx.arithmatex` marks the equations. Browsers draw MathML by themselves, so the
pages need no script.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def mathml(match: re.Match[str]) -> str:
    """Return the MathML of an equation that arithmatex marked; one in a `div` has its own line."""
    display = "block" if match["tag"] == "div" else "inline"
    equation = str(convert(html.unescape(match["latex"]).strip(), display=display))
    # Without a font for equations, browsers draw what is below a sum into the sum.
    return equation.replace("munderover", "msubsup").replace("munder", "msub")


def on_page_content(content: str, **_: Any) -> str:
    """Return the HTML of a page with its equations as MathML."""
    return EQUATION.sub(mathml, content)
