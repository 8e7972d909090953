# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Texts in files as people have them: read as they are, or refused with the file and the row."""

import importlib
import json

import pytest


def load(path, **options):
    """The texts of a file to train on, their labels as names, and the kind of problem."""
    data = importlib.import_module("hyperset_lab.text.data")
    labels = importlib.import_module("hyperset_lab.text.labels")
    source = {"dataset_name": str(path)} if path.is_dir() else {"train_file": str(path)}
    arguments = data.TextDataArguments(**source, **options)
    cache = path.parent / "cache"
    splits = data.load_texts(arguments, {"cache_dir": str(cache), "token": None}, True, False, False)
    encoded, space = labels.encode_labels(splits, arguments)
    rows = encoded["train"]
    names = rows["label"]
    if space.problem_type == "single_label_classification":
        names = [space.names[index] for index in names]
    elif space.problem_type == "multi_label_classification":
        names = [[name for name, there in zip(space.names, row, strict=True) if there] for row in names]
    return list(rows["text"]), names, space


def write(tmp_path, name: str, content: str | bytes):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


GOOD = (["fine, really", "dull"], ["good", "bad"])


@pytest.mark.parametrize(
    ("name", "content", "texts", "labels"),
    [
        ("bom.csv", '\ufefftext,label\n"fine, really",good\ndull,bad\n', *GOOD),
        ("crlf.csv", 'text,label\r\n"fine, really",good\r\n\r\n\r\ndull,bad\r\n\r\n', *GOOD),
        ("index.csv", ',text,label\n0,"fine, really",good\n1,dull,bad\n', *GOOD),
        ("spaces.csv", 'text, label\n"fine, really",good\ndull,bad\n', *GOOD),
        ("spaced.csv", 'text, label\n"fine, really", good\ndull,bad \n', *GOOD),
        # As Yelp's authors publish it: no header, the class first, all in quotation marks.
        (
            "yelp.csv",
            '"5","A ""real"" gem\\nhere"\n"1","2 stars, no"\n',
            ['A "real" gem\\nhere', "2 stars, no"],
            ["5", "1"],
        ),
        ("plain.csv", "5,2012\n1,bad\n", ["2012", "bad"], ["5", "1"]),
        ("bare.tsv", "2\tgood\n1\tso so\n", ["good", "so so"], ["2", "1"]),
        # Quotation marks that quote nothing, as in GLUE's files, and marks that quote.
        (
            "glue.tsv",
            'text\tlabel\n"Open, it says\ta\nsaid "x" end"\tb\n"q" r\ta\n',
            ['"Open, it says', 'said "x" end"', '"q" r'],
            list("aba"),
        ),
        (
            "pandas.tsv",
            'text\tlabel\n"say ""hi"""\ta\n"two\nlines\tand a tab"\tb\n',
            ['say "hi"', "two\nlines\tand a tab"],
            ["a", "b"],
        ),
        ("numbers.csv", "text,label\n007,a\n1.50,b\nNA,a\nTrue,b\n", ["007", "1.50", "NA", "True"], list("abab")),
        (
            "numbers.jsonl",
            '{"text": 7, "label": "a"}\n\n{"text": "2012-01-01", "label": "b"}\n',
            ["7", "2012-01-01"],
            ["a", "b"],
        ),
        (
            "lines.json",
            '{"text": "a\u2028b", "label": 3}\n{"text": "c", "label": 10, "more": 1}\n',
            ["a\u2028b", "c"],
            ["3", "10"],
        ),
        ("names.csv", "text,label\na,01\nb,1\nc,[good]\n", ["a", "b", "c"], ["01", "1", "[good]"]),
        ("floats.csv", "text,label\na,1\nb,2.5\n", ["a", "b"], [1.0, 2.5]),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_files_are_read_as_they_are(tmp_path, name, content, texts, labels):
    assert load(write(tmp_path, name, content))[:2] == (texts, labels)


def test_long_texts_several_texts_and_folders(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    long = "word " * 40_000
    write(folder, "train.csv", f"text,label\n{long}x,a\n007,b\n")
    assert load(folder)[:2] == ([f"{long}x", "007"], ["a", "b"])
    news = write(tmp_path, "news.csv", '"3","A title","A story"\n"4","Another","Its story"\n')
    texts, labels, _ = load(news, text_column_names="title,description", text_column_delimiter=": ")
    assert texts == ["A title: A story", "Another: Its story"] and labels == ["3", "4"]
    with pytest.raises(ValueError, match=r"news.csv has no header and 3 columns.*text_column_names"):
        load(news)


@pytest.mark.parametrize(
    ("name", "content", "options", "names", "labels"),
    [
        (
            "hot.json",
            [[0, 1, 1], [1, 0, 0]],
            {},
            ("LABEL_0", "LABEL_1", "LABEL_2"),
            [["LABEL_1", "LABEL_2"], ["LABEL_0"]],
        ),
        ("hot.json", [[0.0, 1.0], [0.0, 0.0]], {}, ("LABEL_0", "LABEL_1"), [["LABEL_1"], []]),
        ("hot.json", [[False, True], [False, False]], {}, ("LABEL_0", "LABEL_1"), [["LABEL_1"], []]),
        ("names.json", [[0], [1, 0], []], {}, ("0", "1"), [["0"], ["0", "1"], []]),
        (
            "hot.csv",
            'text,label\na,"[0, 1, 1]"\nb,"[0, 0, 0]"\n',
            {},
            ("LABEL_0", "LABEL_1", "LABEL_2"),
            [["LABEL_1", "LABEL_2"], []],
        ),
        ("list.csv", "text,label\na,\"['x', 'y']\"\nb,\"['y']\"\n", {}, ("x", "y"), [["x", "y"], ["y"]]),
        (
            "hot.tsv",
            "text\tlabel\na\t0 1\nb\t0 0\n",
            {"label_delimiter": " "},
            ("LABEL_0", "LABEL_1"),
            [["LABEL_1"], []],
        ),
        ("none.csv", "text,label\na,1|2\nb,\n", {"label_delimiter": "|"}, ("1", "2"), [["1", "2"], []]),
        (
            "columns.csv",
            "text,rude,never,odd\na,1,0,0\nb,1,0,1\n",
            {"label_column_name": "rude,never,odd"},
            ("rude", "never", "odd"),
            [["rude"], ["rude", "odd"]],
        ),
    ],
)
def test_rows_of_zeros_and_ones_are_several_labels(tmp_path, name, content, options, names, labels):
    if not isinstance(content, str):
        content = json.dumps([{"text": "ab"[index % 2], "label": label} for index, label in enumerate(content)])
    _, found, space = load(write(tmp_path, name, content), **options)
    assert (space.problem_type, space.names, found) == ("multi_label_classification", names, labels)


HEAD = "text,label\na,x\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("longer.csv", "text,label\n1,a,x\n2,b,y\n", {}, r"row 1 \(line 2\): expected 2 fields.*got 3"),
        ("longer.csv", HEAD + "\nb,c,y\n", {}, r"row 2 \(line 4\): expected 2 fields.*got 3"),
        ("shorter.csv", HEAD + "b\n", {}, r"row 2 \(line 3\): expected 2 fields.*got 1"),
        ("longer.tsv", "text\tlabel\na\tx\nb\tc\ty\n", {}, r"row 2 \(line 3\): expected 2 fields.*got 3"),
        ("stray.csv", HEAD + '"b" c,y\n', {}, r"line 3: .*doubled"),
        ("escaped.csv", HEAD + r'"b \"c\" d",y' + "\n", {}, r"line 3: .*doubled"),
        ("open.csv", HEAD + '"b,y\nc,x\n', {}, r"line \d: unexpected end"),
        ("headless.csv", "1,a\n2,b,c\n", {}, r"row 2 \(line 2\): expected 2 fields"),
        ("headless.csv", "a film,1\nb,2\n", {}, r"text_column_names.*a film, 1.*without a header"),
        ("twice.csv", "text,text,label\na,b,x\n", {}, r"name of its own, got text"),
        ("latin.csv", "text,label\ncaf\xe9,x\n".encode("latin-1"), {}, "UTF-8"),
        ("utf16.tsv", "text\tlabel\na\tx\n".encode("utf-16"), {}, "UTF-8"),
        ("empty.csv", HEAD + ",y\n", {}, r"empty.csv, row 2: .*a text in every row"),
        (
            "blank.jsonl",
            '{"text": "a", "label": 1}\n{"text": " ", "label": 2}\n',
            {},
            r"blank.jsonl, row 2: .*a text in every row",
        ),
        ("lacks.jsonl", '{"text": "a", "label": 1}\n{"label": 2}\n', {}, r"lacks.jsonl, row 2: .*a text in every row"),
        ("no_label.csv", HEAD + "b,\nc,y\n", {}, r"1 of the 3 texts.*row 2 of .*no_label.csv"),
        (
            "null.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b"}\n{"text": "c", "label": 2}',
            {},
            r"1 of the 3 texts.*row 2 of .*null.jsonl",
        ),
        (
            "mixed.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b", "label": "x"}\n',
            {},
            r"mixed.jsonl: .*int64 in line 1, string in line 2",
        ),
        (
            "half.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b\\ud800", "label": 2}\n',
            {},
            r"half.jsonl, line 2: .*surrogates",
        ),
        ("broken.jsonl", '{"text": "a", "label": 1}\n{"text": \n', {}, r"broken.jsonl, line 2: "),
        (
            "no_object.jsonl",
            '{"text": "a", "label": 1}\n["b", 2]\n',
            {},
            r"no_object.jsonl, line 2: expected an object",
        ),
        ("hot.csv", "text,label\na,0 1 0\nb,1 0 0\n", {}, r"hot.csv: .*rows of 0 and 1.*--label_delimiter ' '"),
        ("numpy.csv", "text,label\na,[0 1 0]\nb,[1 0 0]\n", {}, r"numpy.csv, line 2: .*no list.*label_delimiter"),
        (
            "hot.jsonl",
            '{"text": "a", "label": [0, 1, 1]}\n{"text": "b", "label": [0, 1]}\n',
            {},
            r"hot.jsonl, row 2: .*3 of them",
        ),
        (
            "hot.jsonl",
            '{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["y", "y"]}\n',
            {},
            r"hot.jsonl, row 2: .*each label once",
        ),
        ("columns.csv", "text,p,q\na,1,0\nb,1,2\n", {"label_column_name": "p,q"}, r"columns.csv, row 2: .*2 in 'q'"),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, name, content, options, message):
    with pytest.raises(ValueError, match=f"(?s){message}") as error:
        load(write(tmp_path, name, content), **options)
    assert name in str(error.value) or "without a header" in message
