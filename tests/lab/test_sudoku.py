# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The Sudoku script: its metrics, its report, and the whole of it on a tiny model."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from support.builders import threads
from support.sudoku_boards import as_row, board, is_valid, write_csv
from transformers import AutoModelForTokenClassification, Trainer


ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
SMALL_RECIPE = SCRIPTS / "recipes" / "sudoku_small.yaml"
TINY = '{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_iterations": 2, "step_size_time_dim": 8}'


def script(name: str):
    return importlib.import_module(name)


def test_metrics_against_counts_by_hand():
    """In all, and by the number of given digits."""
    counting = script("hyperset_lab.sudoku.givens")
    labels = np.full((3, 81), -100)
    labels[0, [0, 80]], labels[1, [3, 4, 5]], labels[2, 40:42] = (2, 8), (0, 1, 2), (7, 3)
    logits = torch.zeros(3, 81, 9)
    for row, cell, digit in (
        (0, 0, 2),
        (0, 80, 8),
        (1, 3, 0),
        (1, 4, 5),
        (1, 5, 2),
        (2, 40, 6),
        (2, 41, 3),
        (2, 42, 3),
    ):
        logits[row, cell, digit] = 1.0
    predictions = script("hyperset_lab.tasks").most_likely(logits, None)
    assert predictions.shape == (3, 81)
    counted = counting.count_right(predictions.numpy(), labels)
    assert counting.total(counted).accuracies == {"board_accuracy": pytest.approx(1 / 3), "cell_accuracy": 5 / 7}
    assert list(counted) == [78, 79]
    assert counted[78].accuracies == {"board_accuracy": 0, "cell_accuracy": pytest.approx(2 / 3)}
    assert counted[79].accuracies == {"board_accuracy": 0.5, "cell_accuracy": 0.75} and counted[79].puzzles == 2
    table = counting.accuracy_table({6: counted, 12: counted}, 6).splitlines()
    assert table[0] == "| given digits | boards | 6 iterations (as trained) | 12 iterations |"
    assert table[2:] == ["| 78 | 1 | 0.0000 | 0.0000 |", "| 79 | 2 | 0.5000 | 0.5000 |"]


def test_many_numbers_of_given_digits_share_rows():
    counting = script("hyperset_lab.sudoku.givens")
    for numbers in ([20], [20, 21, 40], list(range(17, 35)), list(range(36, 72))):
        bands = counting.bands(numbers)
        assert len(bands) <= 10 and [n for band in bands for n in band if n in numbers] == numbers
        assert len({len(band) for band in bands[:-1]}) <= 1
    one = counting.Counts(puzzles=2, boards_right=1, blanks=40, cells_right=30)
    table = counting.accuracy_table({None: dict.fromkeys(range(20, 32), one)}, None)
    assert "| 20 to 21 | 4 | 0.5000 |" in table and "| boards right |" in table


# The script


def run(recipe: Path, *flags) -> None:
    script("hyperset_lab.sudoku.task").main([str(recipe), *map(str, flags), "--use_cpu", "--disable_tqdm", "true"])


def tiny_flags(folder: Path, cache: Path) -> list:
    flags = ["--config_overrides", TINY, "--output_dir", folder, "--cache_dir", cache, "--num_train_epochs", 2]
    return [*flags, "--max_train_samples", 40, "--max_eval_samples", 10, "--per_device_train_batch_size", 8]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny model trained on a few puzzles, and the cache."""
    folder, cache = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("cache")
    run(
        SMALL_RECIPE,
        *tiny_flags(folder, cache),
        "--eval_num_iterations",
        3,
        6,
        "--save_strategy",
        "steps",
        "--save_steps",
        3,
    )
    return folder, cache


def test_everything_is_saved_and_reported(trained):
    folder, _ = trained
    for name in ("model.safetensors", "config.json", "README.md", "solving.json", "solving.png", "eval_results.json"):
        assert (folder / name).is_file(), name
    assert not list(folder.glob(".*"))
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {str(label): str(label + 1) for label in range(9)}
    metrics = json.loads((folder / "eval_results.json").read_text())
    for prefix in ("eval", "eval_3_iterations", "eval_6_iterations"):
        assert 0 <= metrics[f"{prefix}_board_accuracy"] <= metrics[f"{prefix}_cell_accuracy"] <= 1
    card = (folder / "README.md").read_text()
    assert "token-classification" in card and "sudoku" in card and "trained from scratch" in card


def test_puzzles_and_accuracy_by_given_digits(trained):
    """What was asked beside what came, and the boards right of each number; in a file, a picture and the card."""
    folder, cache = trained
    report = json.loads((folder / "givens.json").read_text())
    metrics = json.loads((folder / "eval_results.json").read_text())
    (kept,) = (cache / "generated_sudoku").glob("eval-10-*")
    with np.load(kept) as data:
        numbers, counts = np.unique((data["puzzles"] != 0).sum(axis=1), return_counts=True)
    assert report["puzzles"]["eval"]["came"] == dict(zip(map(str, numbers), counts, strict=True))
    assert report["puzzles"]["train"]["asked"] == {str(number): 2.5 for number in range(61, 77)}
    assert set(report["puzzles"]["train"]["came"].values()) == {2, 3}
    assert list(report["accuracy"]) == ["2", "3", "6"]
    for depth, prefix in (("2", "eval"), ("6", "eval_6_iterations")):
        rows = report["accuracy"][depth].values()
        right = sum(row["board_accuracy"] * row["boards"] for row in rows)
        assert right == pytest.approx(10 * metrics[f"{prefix}_board_accuracy"])
    card = (folder / "README.md").read_text()
    assert "## Boards right, by the number of given digits" in card and "| 2 iterations (as trained) |" in card
    figure = script("hyperset_lab.sudoku.givens").figure_of_givens(report)
    puzzles, accuracy = figure.axes
    bars = [bar.get_height() for bar in puzzles.containers[1]]
    assert bars == counts.tolist() and puzzles.lines[0].get_ydata().tolist() == [2.5] * 16
    assert len(accuracy.lines) == 6 and (folder / "givens.png").is_file()


def test_the_report_says_what_the_model_computes(trained):
    """Boards, counts and energies are those of the saved model at each number of iterations, and the picture shows them."""
    folder, _ = trained
    report = json.loads((folder / "solving.json").read_text())
    model = AutoModelForTokenClassification.from_pretrained(folder)
    puzzle, solution = board(report["puzzle"]), board(report["solution"])
    blank = puzzle == 0
    assert is_valid(solution) and report["num_blanks"] == blank.sum() and report["trained_iterations"] == 2
    assert len(report["boards"]) == len(report["total"]) == 6
    with torch.no_grad():
        outputs = model(
            torch.from_numpy(puzzle.astype(int))[None],
            num_iterations=6,
            output_energies=True,
            output_hidden_states=True,
        )
        for index in range(6):
            energies = [report[name][index] for name in ("attention", "feedforward")]
            assert energies == pytest.approx(outputs.energies[index][0].tolist(), rel=1e-4)
            assert report["total"][index] == pytest.approx(sum(energies))
            logits = model.classifier(model.hyperset.norm(outputs.hidden_states[index + 1]))
            filled = np.where(blank, logits[0].argmax(dim=-1).numpy() + 1, puzzle)
            assert (board(report["boards"][index]) == filled).all()
            assert report["num_right"][index] == (filled == solution)[blank].sum()

    figure = script("hyperset_lab.sudoku.report").figure_of(report, shown=[1, 2, 6])
    *boards, attention, feedforward, total, right = figure.axes
    for axes, number in zip(boards, (1, 2, 6), strict=True):
        assert "".join(text.get_text() for text in axes.texts) == report["boards"][number - 1]
        bold = "".join(str(int(text.get_fontweight() == "bold")) for text in axes.texts)
        assert bold == "".join(str(int(not is_blank)) for is_blank in blank)
        struck = sum(len(line.get_xdata()) == 2 and line.get_color() != "black" for line in axes.lines)
        assert struck == report["num_blanks"] - report["num_right"][number - 1]
        assert axes.get_xlabel() == f"{report['num_right'][number - 1]} of {report['num_blanks']} right"
    for axes, name in ((attention, "attention"), (feedforward, "feedforward"), (total, "total")):
        assert axes.lines[0].get_ydata().tolist() == report[name]
    assert right.lines[0].get_ydata() == pytest.approx([number / blank.sum() for number in report["num_right"]])
    with Image.open(folder / "solving.png") as picture:
        assert picture.width > 900


def test_iterations_to_show():
    show = script("hyperset_lab.sudoku.report").iterations_to_show
    assert show(24, 48) == [1, 2, 5, 10, 24, 48] and show(1, 2) == [1, 2] and show(1, 1) == [1]
    for trained in range(1, 40):
        for longest in (trained, 2 * trained, 5 * trained):
            shown = show(trained, longest)
            assert {1, trained, longest} <= set(shown) and len(shown) <= 6 and shown == sorted(set(shown))


def test_a_resumed_run_sees_the_boards_of_an_unbroken_one(trained, tmp_path):
    """With augmentation, from within an epoch."""
    folder, cache = trained
    flags = tiny_flags(tmp_path, cache)
    run(
        SMALL_RECIPE,
        *flags,
        "--resume_from_checkpoint",
        folder / "checkpoint-3",
        "--eval_strategy",
        "no",
        "--do_eval",
        "false",
    )
    models = [AutoModelForTokenClassification.from_pretrained(path) for path in (folder, tmp_path)]
    for (name, expected), (_, found) in zip(*(model.named_parameters() for model in models), strict=True):
        assert torch.equal(expected, found), name


def test_evaluation_of_a_saved_model_is_a_run_of_its_own(trained, tmp_path, capsys):
    """On puzzles from a file, and with the figures that training gave on the same ones."""
    folder, cache = trained
    (kept,) = (cache / "generated_sudoku").glob("eval-10-*")
    with np.load(kept) as data:
        puzzles, solutions = data["puzzles"], data["solutions"]
    rows = [as_row(*pair) for pair in zip(puzzles, solutions, strict=True)]
    path = write_csv(tmp_path / "puzzles.csv", *rows)
    flags = [
        "--model_name_or_path",
        folder,
        "--do_eval",
        "--output_dir",
        tmp_path / "out",
        "--use_cpu",
        "--report_to",
        "none",
    ]
    flags += ["--cache_dir", tmp_path / "cache", "--disable_tqdm", "true", "--eval_num_iterations", 1]
    script("hyperset_lab.sudoku.task").main([*map(str, flags), "--validation_file", path])
    metrics = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    model = AutoModelForTokenClassification.from_pretrained(folder)
    for prefix, depth in (("eval", 2), ("eval_1_iterations", 1)):
        with torch.no_grad():
            filled = (
                model(torch.from_numpy(puzzles.astype(int)), num_iterations=depth).logits.argmax(dim=-1).numpy() + 1
            )
        right = (filled == solutions)[puzzles == 0].mean()
        assert metrics[f"{prefix}_cell_accuracy"] == pytest.approx(right)
    assert (tmp_path / "out" / "solving.png").is_file()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "as it is, measured on" in card and "fine-tuned" not in card


def test_a_baseline_runs_through_the_same_command(trained, tmp_path):
    _, cache = trained
    run(SMALL_RECIPE, *tiny_flags(tmp_path, cache), "--layer_type", "transformer", "--num_train_epochs", 1)
    assert json.loads((tmp_path / "config.json").read_text())["layer_type"] == "transformer"
    report = json.loads((tmp_path / "solving.json").read_text())
    assert report["total"] == [] and len(report["boards"]) == 4 and (tmp_path / "solving.png").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--do_train", "false", "--do_eval", "false", "--eval_strategy", "no"], "Nothing to do"),
        (["--config_name", "imagenet-small"], "vocab_size"),
        (["--config_overrides", '{"vocab_size": 9}'], r"input_ids"),
        (["--config_overrides", '{"max_position_embeddings": 80}'], "max_position_embeddings"),
        (["--config_overrides", '{"num_labels": 10}'], "num_labels"),
        (["--train_file", "puzzles.csv"], "`--train_file` must be a CSV file"),
        (["--train_file", "puzzles.csv", "--dataset_name", "generated"], "either `--dataset_name`"),
        (["--max_givens", "90"], "max_givens"),
        (["--layer_type", "lstm"], "layer_type"),
        (["--eval_num_iterations", "0"], "eval_num_iterations"),
        (["--dataset_name", "/no/such/folder"], "/no/such/folder"),
        (["--dataset_config_name", "plain"], "dataset_config_name"),
        (["--do_predict"], "do_predict"),
    ],
    ids=str,
)
def test_mistakes_stop_before_training(trained, flags, message, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "train", lambda *_, **__: pytest.fail("trained all the same"))
    sizes = ["--config_overrides", TINY] if flags[0] != "--config_name" else []
    with pytest.raises(ValueError, match=message):
        run(SMALL_RECIPE, *tiny_flags(tmp_path / "out", trained[1])[2:], *sizes, *flags)


@pytest.mark.long
def test_the_small_recipe_solves_95_percent_of_the_boards(tmp_path):
    """And not many fewer at twice the iterations that it was trained with. The README has 98.8 and 97.6 %."""
    with threads(1):
        run(SMALL_RECIPE, "--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache", "--eval_strategy", "no")
    metrics = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    assert metrics["eval_board_accuracy"] >= 0.95 and metrics["eval_12_iterations_board_accuracy"] >= 0.8


def test_the_recipe_of_the_paper():
    """Tables 7 and 8."""
    common, data, training = (
        script("hyperset_lab.arguments"),
        script("hyperset_lab.sudoku.data"),
        script("hyperset_lab.trainer"),
    )
    types = (common.ModelArguments, data.SudokuDataArguments, training.ScriptTrainingArguments)
    flags = [str(SCRIPTS / "recipes" / "sudoku.yaml"), "--use_cpu"]
    model_arguments, data_arguments, arguments = common.parse_arguments(types, flags)
    config = importlib.import_module("hyperset_lab.models").load_config(
        model_arguments, id2label=dict(enumerate("123456789"))
    )
    with torch.device("meta"):
        assert AutoModelForTokenClassification.from_config(config).num_parameters() == 5_195_584
    assert (config.num_iterations, config.hidden_size, config.embedding_dropout) == (24, 768, 0.1)
    assert (arguments.num_train_epochs, arguments.per_device_train_batch_size) == (200, 16)
    assert (arguments.learning_rate, arguments.weight_decay, arguments.max_grad_norm) == (1e-4, 0.1, 1.0)
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.lr_scheduler_type) == (0.9, 0.95, "cosine")
    assert (data_arguments.max_train_samples, data_arguments.max_eval_samples) == (9000, 1000)
    assert arguments.eval_num_iterations == [24, 32, 40, 48]
    assert (data_arguments.givens, data_arguments.augment) == ((20, 34), False)
