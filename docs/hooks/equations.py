# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A hook of MkDocs: equations become MathML while the site is built. Browsers draw that by themselves, without a script."""

import html
import re

from latex2mathml.converter import convert


EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
TAG = re.compile(r"\\tag\{(.*?)\}")


def to_mathml(latex: str, display: bool) -> str:
    """
    MathML of an equation.

    Raises:
        `ValueError`: it holds what the converter hands through as it stands: a command that it does not know, or alignment.
    """
    mathml = convert(" ".join(latex.split()), display="block" if display else "inline")
    if "\\" in mathml or re.search(r"<mi>&(amp;)?</mi>", mathml):
        raise ValueError(f"The equation {latex!r} does not become MathML.")
    return mathml


def on_page_content(content: str, **_) -> str:
    """Replace what `pymdownx.arithmatex` marked in the HTML of a page."""

    def replace(match: re.Match) -> str:
        latex = html.unescape(match[3])
        if match[2] == "(":
            return to_mathml(latex, display=False)
        number = TAG.search(latex)
        number = f'<span class="number">({number[1]})</span>' if number else ""
        return f'<div class="equation">{to_mathml(TAG.sub("", latex), display=True)}{number}</div>'

    return EQUATION.sub(replace, content)
