# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the site of documents is built with: equations and docstrings. `mkdocs build --strict` builds it in CI."""

import griffe
import pytest


def test_equations_become_mathml():
    from equations import on_page_content

    page = '<p>so <span class="arithmatex">\\(a &lt; \\mathbf{W}_h\\)</span> and</p>'
    page += '<div class="arithmatex">\\[\nE = \\frac{1}{2}\n\\tag{5}\\]</div>'
    page = on_page_content(page)
    assert "arithmatex" not in page and "\\" not in page
    assert page.count("<math") == 2 and page.count('display="block"') == 1
    assert "<mo>&#x0003C;</mo>" in page and "𝐖" in page.replace("&#x1D416;", "𝐖")
    assert page.endswith('</math><span class="number">(5)</span></div>')


@pytest.mark.parametrize("latex", [r"\nosuchcommand{x}", r"a &= b"])
def test_what_would_not_be_drawn_is_an_error(latex):
    from equations import to_mathml

    with pytest.raises(ValueError, match="does not become MathML"):
        to_mathml(latex, display=True)


SOURCE = '''
from elsewhere import Thing


class Base:
    """A base."""

    def method(self, size, other, more, last):
        """
        Does it to a [`Thing`].

        Args:
            size (`int` or pair of `int`, defaults to (1, 2)):
                How large,
                in pixels.
            other, more (`torch.Tensor` of shape `(batch_size, 2)`): Two.
            last (`str`).

        Returns:
            `torch.Tensor` of shape `(2,)`.

        Raises:
            `ValueError`: it does
                not fit.
        """


class Derived(Base):
    """See [`method`], and the [`way`](function) of it."""

    def method(self, size, other, more, last):
        pass


def function():
    """As [`Base.method`]."""
'''


def test_docstrings_of_transformers_style_become_markdown():
    from docstrings import TransformersDocstrings

    with griffe.temporary_visited_package("package", {"__init__.py": SOURCE}) as package:
        TransformersDocstrings().on_package(pkg=package, loader=None)
        assert package["Base.method"].docstring.value.split("\n\n") == [
            "Does it to a `Thing`.",
            "**Arguments**",
            "- **`size`** (`int` or pair of `int`, defaults to (1, 2)): How large, in pixels.\n"
            "- **`other`**, **`more`** (`torch.Tensor` of shape `(batch_size, 2)`): Two.\n"
            "- **`last`** (`str`).",
            "**Returns**",
            "`torch.Tensor` of shape `(2,)`.",
            "**Raises**",
            "- `ValueError`: it does not fit.",
        ]
        links = "See [`method`][package.Base.method], and the [`way`][package.function] of it."
        assert package["Derived"].docstring.value == links
        assert package["function"].docstring.value == "As [`Base.method`][package.Base.method]."


def test_a_reference_to_nothing_is_an_error():
    from docstrings import TransformersDocstrings

    with griffe.temporary_visited_package("package", {"__init__.py": 'def f():\n    """See [`g`]."""\n'}) as package:
        with pytest.raises(ValueError, match=r"package\.f refers to g"):
            TransformersDocstrings().on_package(pkg=package, loader=None)
