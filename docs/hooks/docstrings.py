# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""An extension of griffe: docstrings in the style of transformers become Markdown, their [`references`] links."""

import inspect
import re
from textwrap import dedent
from typing import Any

from griffe import Alias, Class, Extension, GriffeLoader, Module, Object


TITLES = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises", "Example": "Example"}
SECTION = re.compile(rf"^({'|'.join(TITLES)}):[ \t]*\n((?:[ \t]*\n|[ \t]+.*\n?)*)", re.MULTILINE)
# `name (type): what it is`, `name, other: what they are`, or `name (type).`
ARGUMENT = re.compile(r"(?P<names>[\w…]+(?:, [\w…]+)*)(?P<rest>[ :.].*)", re.DOTALL)
REFERENCE = re.compile(r"\[`(?P<text>[\w.]+)`\](?:\((?P<target>[\w.]+)\))?(?![\[(])")


def items(body: str) -> list[str]:
    """A list has an item for each line that is not indented; what is indented below it belongs to it."""
    return [item for item in re.split(r"\n(?=\S)", dedent(body).strip()) if item]


def as_list(body: str, named: bool) -> str:
    """An item for each argument or error; the names of arguments become code."""
    lines = []
    for item in items(body):
        if named and (match := ARGUMENT.fullmatch(item)):
            item = ", ".join(f"**`{name}`**" for name in match["names"].split(", ")) + match["rest"]
        lines.append("- " + " ".join(line.strip() for line in item.splitlines()))
    return "\n".join(lines)


def to_markdown(docstring: str) -> str:
    """Sections of a docstring as Markdown; all else in it is Markdown already."""

    def section(match: re.Match) -> str:
        title, body = match.groups()
        if title in ("Args", "Raises"):
            body = as_list(body, named=title == "Args")
        return f"**{TITLES[title]}**\n\n{dedent(body).strip()}\n\n"

    return SECTION.sub(section, inspect.cleandoc(docstring)).strip()


def names_of(module: Module) -> dict[str, str]:
    """
    Where what has a docstring is defined, by the name that others refer to it with: `Class`, `function`, and `Class.method`, of
    the class itself or of one before it in the module.
    """
    found: dict[str, str] = {}
    for name, item in module.members.items():
        if item.is_alias:
            continue
        if item.is_module:
            found |= names_of(item)
        elif item.docstring is not None:
            found[name] = item.path
            if item.is_class:
                bases = tuple(f"{base}." for base in item.bases)
                inherited = {key.partition(".")[2]: path for key, path in found.items() if key.startswith(bases)}
                found |= {f"{name}.{key}": path for key, path in inherited.items()}
                found |= {f"{name}.{key}": one.path for key, one in item.members.items() if one.docstring is not None}
    return found


class TransformersDocstrings(Extension):
    """Rewrite every docstring of a package once it is loaded."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        self.rewrite(pkg, names_of(pkg))

    def rewrite(self, item: Object | Alias, names: dict[str, str]) -> None:
        if item.is_alias:
            return
        if item.docstring is not None:
            item.docstring.value = self.with_links(to_markdown(item.docstring.value), item, names)
        for member in item.members.values():
            self.rewrite(member, names)

    def with_links(self, text: str, item: Object, names: dict[str, str]) -> str:
        """
        `[`name`]` → a link; a method of the same class, or of one that it derives from, needs no class before it.

        Raises:
            `ValueError`: the package has nothing of that name that has a docstring.
        """
        owner = item if item.is_class else item.parent
        scopes = [owner.name, *map(str, owner.bases)] if isinstance(owner, Class) else []

        def link(match: re.Match) -> str:
            name = match["target"] or match["text"]
            found = [names[full] for full in [*(f"{scope}.{name}" for scope in scopes), name] if full in names]
            if not found and name in item.module.members:  # imported from elsewhere
                return f"`{match['text']}`"
            if not found:
                raise ValueError(f"The docstring of {item.path} refers to {name}, which has no docstring there.")
            return f"[`{match['text']}`][{found[0]}]"

        return REFERENCE.sub(link, text)
