# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Kept results: the page is what the command makes, every figure has an origin, and finished runs are taken in."""

import json
import re

import pytest

from hyperset_lab.origin import ORIGIN
from hyperset_lab.results.folders import evaluation
from hyperset_lab.results.kept import kept_results, take_in
from hyperset_lab.results.page import PAGE, page, with_tables


RESULTS = kept_results()
SCORE = {"name": "accuracy", "higher_is_better": True, "is_share": True}
HARDWARE = {"device": "a CPU", "processes": 1, "threads": 2, "precision": "float32"}
MADE = {
    "command": ["scripts/run_image_classification.py", "x.yaml"],
    "commit": "a" * 40,
    "changed": False,
    "date": "2026-01-02",
}
NEW = {"title": "Things", "chosen_on": "held-out things."}


def write_run(folder, layer_type="hyperset", seed=0, accuracy=0.5, **changes):
    """The folder of a training of three iterations, as far as it is read."""
    origin = MADE | {
        "hardware": HARDWARE,
        "versions": {"torch": "2"},
        "data": "the things dataset",
        "score": SCORE,
        "model": {"layer_type": layer_type, "parameters": 1000, "flops": 2_500_000, "num_iterations": 4},
        "training": {"seed": seed, "learning_rate": 0.01, "steps": 7, "seconds": 1.5},
        "metrics": {
            "eval_accuracy": accuracy,
            "eval_runtime": 3.0,
            "eval_2_iterations_accuracy": accuracy / 2,
            "eval_8_iterations_accuracy": 0.25,
        },
    }
    folder.mkdir()
    (folder / ORIGIN).write_text(json.dumps(origin | changes))
    return str(folder)


def test_the_page_is_what_the_command_makes():
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS), "run scripts/make_results.py"
    for path in PAGE.parent.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert with_tables(text, RESULTS) == text, f"run scripts/make_results.py: {path}"


def test_a_page_shows_the_table_of_a_result(tmp_path):
    result = take_in("things", [write_run(tmp_path / "ours")], NEW, kept=tmp_path / "kept")
    text = "Before.\n\n<!-- results: things -->\nold\n<!-- end of results -->\n\nBehind.\n"
    shown = with_tables(text, {"things": result})
    assert shown.startswith("Before.\n\n<!-- results: things -->\n\n| model") and shown.endswith("-->\n\nBehind.\n")
    assert "old" not in shown and with_tables(shown, {"things": result}) == shown
    with pytest.raises(ValueError, match="things"):
        with_tables(text, {})


@pytest.mark.parametrize("name", RESULTS)
def test_every_kept_result_says_where_it_comes_from(name):
    result = RESULTS[name]
    assert result["title"] and result["chosen_on"] and result["data"] and result["made"]
    for made in result["made"]:
        assert re.fullmatch(r"[0-9a-f]{40}", made["commit"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", made["date"])
        assert made["command"] and made["hardware"]["device"] and made["versions"]
    for label, row in result["models"].items():
        assert row["parameters"] > 0 and len(set(row["seeds"])) == len(row["seeds"]) > 0, label
        if not row["diverged"]:
            values = row["metrics"][result["score"]["name"]][str(row["num_iterations"])]
            assert len(values) == len(row["seeds"]), label


def test_runs_are_taken_in(tmp_path):
    """Seeds of one model become one row; what is written by hand stays when they are taken in again."""
    folders = [write_run(tmp_path / f"ours-{seed}", seed=seed, accuracy=0.5 + seed / 10) for seed in (0, 1)]
    other = write_run(tmp_path / "other", "transformer", accuracy=0.4)
    take_in("things", folders, NEW | {"remark": "It is small."}, kept=tmp_path / "kept")
    result = take_in("things", [*folders, other], {}, kept=tmp_path / "kept")
    assert result == json.loads((tmp_path / "kept" / "things.json").read_text())
    assert (result["title"], result["remark"]) == ("Things", "It is small.")
    assert result["made"] == [MADE | {"hardware": HARDWARE, "versions": {"torch": "2"}}]
    row = result["models"]["Hyper-SET"]
    assert row["seeds"] == [0, 1]
    assert row["metrics"] == {"accuracy": {"2": [0.25, 0.3], "4": [0.5, 0.6], "8": [0.25, 0.25]}}
    text = page({"things": result | {"paper": {"Hyper-SET": "61 %", "where": "Table 0", "setting": "d = 9"}}})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert cells[2] == ["[Things](#things)", "accuracy, %", "61 %", "–", "55.00 ± 7.07", "40.00"]
    assert cells[5][:8] == ["Hyper-SET", "1,000", "2.5", "–", "4", "55.00 ± 7.07", "27.50 ± 3.54", "25.00 ± 0.00"]
    assert cells[6][:6] == ["Transformer", "1,000", "2.5", "–", "4", "40.00"] and cells[6][-2:] == ["0.01", "0"]
    for part in (
        "It is small.",
        "held-out things.",
        "a CPU, 2 threads, float32",
        "run_image_classification.py x.yaml",
        "`aaaaaaaaaa`",
    ):
        assert part in text


def test_the_accuracy_of_sudokus_by_given_digits_is_shown(tmp_path):
    run = write_run(tmp_path / "ours")
    counted = {"30": {"boards": 8, "board_accuracy": 0.125}, "9": {"boards": 2, "board_accuracy": 0.0}}
    (tmp_path / "ours" / "givens.json").write_text(json.dumps({"accuracy": {"4": counted, "8": {}}}))
    result = take_in("things", [run], NEW, kept=tmp_path / "kept")
    rows = [line.split("|")[1:-1] for line in page({"things": result}).splitlines() if line.startswith("|")]
    assert [[cell.strip() for cell in row] for row in rows[-2:]] == [["9", "2", "0.0"], ["30", "8", "12.5"]]


@pytest.mark.parametrize(
    "changes, by_hand, message",
    [
        ({}, {"title": "Things"}, "pass --chosen_on"),
        ({"seed": 0}, NEW, "two runs of seed 0"),
        ({"data": "other data"}, NEW, "different data"),
        (
            {"model": {"layer_type": "hyperset", "parameters": 1001, "flops": 1, "num_iterations": 4}},
            NEW,
            "differ in parameters",
        ),
        ({"commit": None}, NEW, "No commit is known"),
    ],
)
def test_runs_that_do_not_make_a_result_are_refused(tmp_path, changes, by_hand, message):
    folders = [write_run(tmp_path / "one"), write_run(tmp_path / "two", **({"seed": 1} | changes))]
    with pytest.raises(ValueError, match=message):
        take_in("things", folders, by_hand, kept=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_folder_of_no_finished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no finished run"):
        take_in("things", [str(tmp_path)], NEW, kept=tmp_path)
    (tmp_path / ORIGIN).write_text("half")
    with pytest.raises(ValueError, match="is no JSON file of a finished run"):
        take_in("things", [str(tmp_path)], NEW, kept=tmp_path)


def test_the_command_of_an_evaluation_has_no_flag_of_the_training():
    command = ["scripts/run_sudoku.py", "a.yaml", "--layer_type", "hyperset", "--seed", "1", "--output_dir=x"]
    command += ["--eval_num_iterations", "2", "4", "--config_overrides", "{}", "--bf16"]
    assert evaluation(command, "m") == [
        *("scripts/run_sudoku.py", "a.yaml", "--seed", "1", "--eval_num_iterations", "2", "4", "--bf16"),
        *("--model_name_or_path", "model_cards/m", "--do_train", "false", "--output_dir", "outputs/m"),
    ]
