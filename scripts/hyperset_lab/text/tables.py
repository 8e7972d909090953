# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Tables of texts in CSV, TSV and JSON files. Texts stay what the file says: "007" is no number and "NA" is not missing. A row
that does not fit its header is an error with its line, because a reader that goes on shifts columns or joins rows in silence.
"""

import ast
import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError


# Raise it if the same file gives another table: what `datasets` keeps in its cache does not match then.
READER_VERSION = 2
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")  # no leading zeros: "01" is the name of a class
NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE
)
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".json", ".jsonl")
DTYPES = {bool: "bool", int: "int64", float: "float64", str: "string"}

# A row: its line in the file, and its values by the name of the column.
Row = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class TableColumns:
    """The columns to read: those of the texts, and those of the labels."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    several: bool = False  # whether a cell of a CSV file holds several names, or none
    quotes: bool = True  # whether quotation marks in a CSV or TSV file quote; if not, they are characters


@contextmanager
def long_fields() -> Iterator[None]:
    """csv's limit of 131,072 characters is for guarding against stray quotation marks, which we find by other means."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def utf_8(path: str) -> Iterator[Any]:
    """The file, opened as UTF-8 with or without a byte order mark. The ends of lines are left as they are."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8 ({error}): save it as UTF-8.") from error


def fields_of(path: str, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """The fields of every line that is not empty, and the line's number."""
    with long_fields(), utf_8(path) as file:
        delimiter = DELIMITERS[Path(path).suffix.lower()]
        reader = csv.reader(
            file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, strict=quotes
        )
        try:
            for fields in reader:
                if fields and (len(fields) > 1 or fields[0].strip()):
                    yield reader.line_num, fields
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {reader.line_num}: {error}. A field with a quotation mark must stand in quotation marks, with "
                "each mark in it doubled."
            ) from error


def header_of(fields: list[str], columns: TableColumns, path: str) -> tuple[str, ...] | None:
    """
    The names of the columns in the first line, or `None` if it is a row already. The files of Zhang et al. (2015), Yelp's
    among them, have no header: a row is the number of the class and then the text or texts.
    """
    names = tuple(field.strip() for field in fields)
    if {*names} & {*columns.texts, *columns.labels} or not (len(fields) > 1 and WHOLE.fullmatch(names[0])):
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{path}: each column must have a name of its own, got {', '.join(twice)} more than once."
            )
        return names
    if len(columns.labels) != 1 or len(fields) != 1 + len(columns.texts):
        raise ValueError(
            f"{path} has no header and {len(fields)} columns: expected a label and then {len(columns.texts)} texts. Give "
            f"every text a name (`--text_column_names` with {len(fields) - 1} names), or add a header."
        )
    return None


def delimited_rows(path: str, columns: TableColumns) -> Iterator[Row]:
    """The rows of a CSV or TSV file. Their values are strings."""
    names: tuple[str, ...] | None = None
    for number, (line, fields) in enumerate(fields_of(path, columns.quotes)):
        if number == 0:
            names = header_of(fields, columns, path)
            has_header = names is not None
            names = names or (*columns.labels, *columns.texts)
            if has_header:
                continue
        assert names is not None
        if len(fields) != len(names):
            row = number if has_header else number + 1
            raise ValueError(
                f"{path}, row {row} (line {line}): expected {len(names)} fields ({', '.join(names)}), got {len(fields)}: "
                f"{shortened(fields)}. A text with the delimiter in it must stand in quotation marks."
            )
        yield line, {name: field for name, field in zip(names, fields, strict=True) if name}
    if names is None:
        raise ValueError(f"{path} is empty: expected the names of the columns, then a text and its label per row.")


def has_quotes(path: str, columns: TableColumns) -> bool:
    """
    Whether quotation marks in a TSV file quote, or are characters of the texts, as in GLUE's files. They are characters if
    all lines fit the header that way, and reading them as quotes joins lines or breaks the rules of quotes.
    """
    if Path(path).suffix.lower() != ".tsv":
        return True
    counts: list[int | None] = []
    for quotes in (False, True):
        try:
            counts.append(sum(1 for _ in delimited_rows(path, replace(columns, quotes=quotes))))
        except ValueError:
            counts.append(None)
    plain, quoted = counts
    return quoted is not None and plain in (None, quoted)


def json_rows(path: str) -> Iterator[Row]:
    """The rows of a JSON file: one list of objects, or an object per line. Of a list, the line is the place in the list."""
    with utf_8(path) as file:
        lines = file
        if Path(path).suffix.lower() == ".json":
            content = file.read()
            lines = content.split("\n")
            if content.lstrip().startswith("["):
                try:
                    lines = json.loads(content)
                except ValueError as error:
                    raise ValueError(f"{path}: {error}. Expected a list of objects, or an object per line.") from error
        for number, line in enumerate(lines, start=1):
            if isinstance(line, str) and not line.strip():
                continue
            try:
                row = json.loads(line) if isinstance(line, str) else line
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}. Expected an object per line.") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: expected an object with the columns, got {shortened(row)}.")
            yield number, row


def rows_of(path: str, columns: TableColumns) -> Iterator[Row]:
    """The rows of a file of any kind."""
    if Path(path).suffix.lower() in DELIMITERS:
        return delimited_rows(path, columns)
    return json_rows(path)


def as_text(value: Any) -> str | None:
    """The text in a cell. `None` is missing, and so are lists and objects, which are no texts."""
    return None if value is None or isinstance(value, list | dict) else str(value)


def kind_of(value: Any) -> str:
    """What a label in a JSON file is."""
    if isinstance(value, list):
        return " ".join(["list of", *sorted({kind_of(part) for part in value})])
    return DTYPES.get(type(value), type(value).__name__)


def json_type(kinds: dict[str, int], path: str) -> Any:
    """The type of the labels of a JSON file. `kinds` are what was found, each with the line of its first."""
    lists = [kind for kind in kinds if kind.startswith("list of")]
    inner = {word for kind in kinds for word in kind.removeprefix("list of").split()}
    if inner == {"int64", "float64"}:
        inner = {"float64"}
    if len(inner) > 1 or not inner <= {*DTYPES.values()} or len(lists) not in (0, len(kinds)):
        first = ", ".join(f"{kind} in line {line}" for kind, line in kinds.items())
        raise ValueError(f"{path}: all labels must be names, or numbers, or lists of them, got {first}.")
    value = Value(inner.pop() if inner else "string")
    return List(value) if lists else value


def zero_or_one(value: Any) -> bool | None:
    """Whether one label of a row of 0 and 1 is there. `None` is neither. (`True` equals 1, and 1.0 does.)"""
    known = {0: False, 1: True, "0": False, "1": True, "0.0": False, "1.0": True, "False": False, "True": True}
    return None if isinstance(value, list | dict) else known.get(value)


def label_reader(path: str, columns: TableColumns, name: str) -> tuple[Any, Callable[[Any], Any]]:
    """
    The type of a column of labels, and what reads one. In a CSV file, where everything is a string, the type is what fits all
    labels: whole numbers, numbers, lists, or else names.
    """
    values = ((line, row.get(name)) for line, row in rows_of(path, columns))
    if Path(path).suffix.lower() not in DELIMITERS:
        kinds: dict[str, int] = {}
        for line, value in values:
            if value is not None:
                kinds.setdefault(kind_of(value), line)
        return json_type(kinds, path), lambda value: value
    if columns.several:
        return Value("string"), str
    whole = numbers = lists = True
    some = fraction = parts = False
    for value in (value.strip() for _, value in values if value and value.strip()):
        some = True
        whole = whole and WHOLE.fullmatch(value) is not None
        numbers = numbers and NUMBER.fullmatch(value) is not None
        fraction = fraction or re.search(r"[0-9]*[.eE]", value) is not None
        lists = lists and value[0] == "[" and value[-1] == "]"
        parts = parts or re.search(r"[\s,'\"0-9]", value) is not None  # "[good]" may be the name of a class
    if some and whole:
        return Value("int64"), int
    if some and numbers and fraction:
        return Value("float64"), float
    return (List(Value("string")), list_in_a_cell) if lists and parts else (Value("string"), str)


def list_in_a_cell(value: str) -> list[str]:
    """A list as Python and pandas write it into a CSV file: its parts as strings."""
    try:
        parts = ast.literal_eval(value)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"the label {value!r} is no list: write commas between its parts and quotation marks around names, or leave the "
            "brackets out and pass `--label_delimiter`."
        ) from error
    return [str(part) for part in parts]


def shortened(value: Any) -> str:
    """What an error shows of a value."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} …"


def column_names(path: str, columns: TableColumns) -> tuple[str, ...]:
    """All columns of a file."""
    names: dict[str, None] = {}
    for _, row in rows_of(path, columns):
        names |= dict.fromkeys(row)
        if Path(path).suffix.lower() in DELIMITERS:
            break  # all rows have the same
    return tuple(names)


def generate(path: str, columns: TableColumns, names: tuple[str, ...], **_: Any) -> Iterator[dict[str, Any]]:
    """The rows as `datasets` takes them."""
    readers: dict[str, Callable[[Any], Any]] = dict.fromkeys(names, as_text)
    readers |= {name: label_reader(path, columns, name)[1] for name in columns.labels if name in names}
    # Spaces around a label in a CSV file belong to the commas. Around several, `--label_delimiter` sees to them.
    trimmed = set(columns.labels) if Path(path).suffix.lower() in DELIMITERS and not columns.several else set()
    for line, row in rows_of(path, columns):
        values = {}
        for name, read in readers.items():
            value = row.get(name)
            if isinstance(value, str) and name in trimmed:
                value = value.strip() or None  # a cell without a label
            try:
                values[name] = None if value is None else read(value)
                str(values[name]).encode()  # JSON can write half a character, which no file in UTF-8 holds
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {error}") from error
        yield values


def read_table(path: str, columns: TableColumns, cache_dir: str | None) -> Dataset:
    """
    A file as a data set that lies in the cache, not in memory. All columns but those of the labels are strings.

    Raises:
        `ValueError`: a file that is empty or not in UTF-8, or a row that does not fit, with its line.
    """
    columns = replace(columns, quotes=has_quotes(path, columns))
    names = column_names(path, columns)
    if not names or next(rows_of(path, columns), None) is None:
        raise ValueError(f"{path} is empty: it has no row.")
    features = dict.fromkeys(names, Value("string"))
    features |= {name: label_reader(path, columns, name)[0] for name in columns.labels if name in names}
    stat = Path(path).stat()
    stamp = (stat.st_size, stat.st_mtime_ns, READER_VERSION)
    arguments = {"path": path, "columns": columns, "names": names, "stamp": stamp}
    try:
        return Dataset.from_generator(generate, Features(features), cache_dir=cache_dir, gen_kwargs=arguments)
    except DatasetGenerationError as error:
        raise ValueError(str(error.__cause__ or error)) from error
