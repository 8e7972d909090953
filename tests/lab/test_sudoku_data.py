# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Sudoku puzzles for the script: solved, generated, augmented, read from files, and what is refused."""

import importlib
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.sudoku_boards import PUZZLE, SOLUTION, as_row, board, count_solutions, is_valid, write_csv


SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str):
    return importlib.import_module(name)


def test_the_solver_solves_and_counts():
    solver = script("hyperset_lab.sudoku.solver")
    full = board(SOLUTION)
    open_band = full.copy()
    open_band[:27] = 0  # its three rows can stand in any order
    contradiction = board(PUZZLE)
    contradiction[0] = 1  # there is another 1 in its row
    blanked = full.copy()
    blanked[[0, 40, 80]] = 0
    counts, solutions = solver.solve(np.stack((board(PUZZLE), open_band, contradiction, blanked, full)))
    assert counts.tolist() == [1, 2, 0, 1, 1]
    for index in (0, 3, 4):
        assert (solutions[index] == full).all()
    assert is_valid(solutions[1]) and not solutions[2].any()
    assert [count_solutions(puzzle.tolist()) for puzzle in (open_band, contradiction)] == [2, 0]


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), givens=st.tuples(st.integers(26, 80), st.integers(26, 80)).map(sorted))
def test_generated_puzzles_have_one_solution_and_the_digits_asked_for(seed, givens):
    generator = script("hyperset_lab.sudoku.generator")
    puzzles, solutions = generator.generate_puzzles(3, *givens, (seed,))
    again, _ = generator.generate_puzzles(3, *givens, (seed,))
    assert puzzles.shape == solutions.shape == (3, 81) and (puzzles == again).all()
    for puzzle, solution in zip(puzzles, solutions, strict=True):
        assert is_valid(solution) and givens[0] <= (puzzle != 0).sum() <= givens[1]
        assert (puzzle == solution)[puzzle != 0].all()
        assert count_solutions(puzzle.tolist()) == 1


@pytest.mark.parametrize(("count", "givens"), [(16, (24, 30)), pytest.param(6, (20, 22), marks=pytest.mark.slow)])
def test_each_number_of_given_digits_comes_as_often_as_any_other(count, givens):
    """Down to 20, where digging once stops at 22; in random order, each on a board of its own."""
    generator, solve = script("hyperset_lab.sudoku.generator"), script("hyperset_lab.sudoku.solver").solve
    puzzles, solutions = generator.generate_puzzles(count, *givens, (1,))
    num_givens = (puzzles != 0).sum(axis=1)
    low, high = givens
    often = np.bincount(num_givens, minlength=high + 1)
    assert often[:low].sum() == 0 and len(often) == high + 1 and np.ptp(often[low:]) <= 1
    assert (np.diff(num_givens) < 0).any()
    counts, solved = solve(puzzles)
    assert (counts == 1).all() and (solved == solutions).all() and len(np.unique(solutions, axis=0)) == count


def test_the_number_of_processes_changes_nothing(monkeypatch):
    generator, pools = script("hyperset_lab.sudoku.generator"), []

    class Spy(generator.ProcessPoolExecutor):
        def __init__(self, num_processes, *others):
            pools.append(num_processes)
            super().__init__(num_processes, *others)

    monkeypatch.setattr(generator, "ProcessPoolExecutor", Spy)
    monkeypatch.setattr(generator, "BOARDS_AT_ONCE", 2)
    monkeypatch.setattr(generator, "HARD", 40)
    alone, pair = (generator.generate_puzzles(5, 30, 34, (3,), number) for number in (1, 2))
    assert pools == [2] and all((mine == its).all() for mine, its in zip(alone, pair, strict=True))


def test_a_board_that_does_not_get_there_gives_way_to_another(monkeypatch):
    generator = script("hyperset_lab.sudoku.generator")
    monkeypatch.setattr(generator, "MOST_ROUNDS", 0)
    puzzles, solutions = generator.generate_puzzles(4, 24, 24, (0,))
    assert ((puzzles != 0).sum(axis=1) == 24).all() and all(map(is_valid, solutions))


@pytest.mark.parametrize("givens", [(19, 40), (17, 17), (30, 29), (30, 81)], ids=str)
def test_ranges_that_cannot_be_generated(givens):
    with pytest.raises(ValueError, match=r"(?s)min_givens.*from 20 to 80.*--train_file"):
        script("hyperset_lab.sudoku.generator").generate_puzzles(1, *givens, (0,))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_augmentation_keeps_form_and_uniqueness(seed):
    generator = script("hyperset_lab.sudoku.generator")
    puzzle, solution = generator.augment(board(PUZZLE), board(SOLUTION), np.random.default_rng(seed))
    assert is_valid(solution) and (puzzle != 0).sum() == 17
    assert (puzzle == solution)[puzzle != 0].all() and not (solution == board(SOLUTION)).all()
    # As many of each digit, under other names; and as many in each row or column, in another order.
    assert sorted(np.bincount(puzzle, minlength=10)[1:]) == sorted(np.bincount(board(PUZZLE), minlength=10)[1:])
    counts = [sorted((grid.reshape(9, 9) != 0).sum(axis=axis)) for grid in (puzzle, board(PUZZLE)) for axis in (0, 1)]
    assert sorted(counts[:2]) == sorted(counts[2:])
    (found,), (solved,) = script("hyperset_lab.sudoku.solver").solve(puzzle[None])
    assert found == 1 and (solved == solution).all()


def test_augmentation_reaches_all_names_and_places():
    generator, rng = script("hyperset_lab.sudoku.generator"), np.random.default_rng(0)
    solution, corner = board(SOLUTION), (np.arange(81) == 0).astype(np.uint8)
    names, places = set(), set()
    for _ in range(1000):
        moved, renamed = generator.augment(corner, solution, rng)
        (place,) = np.flatnonzero(
            moved
        )  # where the first cell went, and the name that its digit and the new name of 1 got
        places.add(int(place))
        names.add((int(moved[place]), int(renamed[place])))
    assert len(places) == 81 and len(names) == 72  # two names at a time: 1 and 6 are never called alike


def test_data_set_and_its_epochs():
    data = script("hyperset_lab.sudoku.puzzles")
    puzzles = data.Puzzles(board(PUZZLE)[None], board(SOLUTION)[None])
    item = data.SudokuDataset(puzzles)[0]
    assert item["input_ids"].tolist() == board(PUZZLE).tolist() and item["input_ids"].dtype == torch.long
    expected = [
        -100 if given else digit - 1 for given, digit in zip(board(PUZZLE), board(SOLUTION).tolist(), strict=True)
    ]
    assert item["labels"].tolist() == expected

    def draws(seed, epochs):
        dataset = data.SudokuDataset(puzzles, augment_seed=seed)
        for epoch in epochs:
            dataset.set_epoch(epoch)
            yield tuple(dataset[0]["input_ids"].tolist())

    first = list(draws(0, (0, 1, 2)))
    assert len(set(first)) == 3 and first != list(draws(1, (0, 1, 2)))
    assert first[1:] == list(draws(0, (1, 2)))  # resumed within an epoch


def load(tmp_path, wanted=("train", "eval"), **arguments):
    data = script("hyperset_lab.sudoku.data")
    options = {"cache_dir": str(tmp_path / "cache"), "token": None}
    return data.load_puzzles(data.SudokuDataArguments(**arguments), options, wanted)


def some_rows(count: int, seed: int = 0) -> list[str]:
    puzzles, solutions = script("hyperset_lab.sudoku.generator").generate_puzzles(count, 50, 60, (seed,))
    return [as_row(*pair) for pair in zip(puzzles, solutions, strict=True)]


def test_csv_files(tmp_path, caplog):
    """Both signs for a blank, other columns, no header, a split of its own, limits, and rows that two files share."""
    rows = some_rows(20)
    train = write_csv(tmp_path / "train.csv", *(f"{i},{row}" for i, row in enumerate(rows)), header="id,quiz,answer")
    names = {"puzzle_column_name": "quiz", "solution_column_name": "answer"}
    data = load(tmp_path, train_file=train, train_val_split=0.25, **names)
    assert (len(data["train"]), len(data["eval"])) == (15, 5)
    held_out = {puzzle.tobytes() for puzzle in data["eval"].puzzles}
    assert not held_out & {puzzle.tobytes() for puzzle in data["train"].puzzles}
    other = load(tmp_path, train_file=train, train_val_split=0.25, puzzle_seed=1, **names)
    assert held_out != {puzzle.tobytes() for puzzle in other["eval"].puzzles}

    dots = write_csv(tmp_path / "dots.csv", f"{PUZZLE.replace('0', '.')},{SOLUTION}", rows[0], header=None)
    caplog.clear()
    data = load(tmp_path, train_file=train, validation_file=dots, **names)
    assert (data["eval"].puzzles[0] == board(PUZZLE)).all() and (data["eval"].solutions[0] == board(SOLUTION)).all()
    assert len(data["eval"]) == 2 and len(data["train"]) == 19
    data = load(
        tmp_path,
        train_file=train,
        validation_file=dots,
        max_train_samples=7,
        max_givens=20,
        min_givens=17,
        wanted=["eval"],
    )
    assert list(data) == ["eval"] and data["eval"].num_givens.tolist() == [17]
    assert "Left out 1 of 2 puzzles" in caplog.text


def broken(**changes: str) -> str:
    """A row with the puzzle or the solution changed."""
    return ",".join(({"puzzle": PUZZLE, "solution": SOLUTION} | changes).values())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([broken(puzzle=PUZZLE[:-1])], r"row 2: `puzzle` must be 81 digits.*80 characters"),
        ([broken(solution="")], r"row 2: `solution` must be 81 digits.*got 0 characters"),
        ([PUZZLE], r"row 2: expected 2 fields \(puzzle, solution\), got 1"),
        ([broken(puzzle="x" + PUZZLE[1:])], r"row 2: `puzzle` must be 81 digits.*'x' at character 1"),
        ([broken(puzzle=PUZZLE[:80] + "٣")], r"row 2: `puzzle` must be 81 digits.*at character 81"),
        ([broken(solution=SOLUTION[:40] + "0" + SOLUTION[41:])], r"row 2: .*no valid Sudoku: its row 5"),
        ([broken(solution=SOLUTION[9:] + SOLUTION[:9])], r"row 2: .*no valid Sudoku: its box 1"),
        ([broken(puzzle="1" + PUZZLE[1:])], r"row 2: .*contradicts.*row 1, column 1: expected the given 1, got 6"),
        ([broken(puzzle=SOLUTION)], r"row 2: .*no blank"),
        ([broken() + ",more"], r"row 2: expected 2 fields .*got 3"),
        ([f'"{broken()}'], r"row 2: expected 2 fields"),
        (None, r"holds no puzzles"),
    ],
)
def test_rows_that_are_no_puzzles(tmp_path, rows, message):
    path = write_csv(tmp_path / "puzzles.csv", *([] if rows is None else [broken(), *rows]))
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, validation_file=path)
    assert path in str(error.value)


def test_files_and_columns_that_do_not_exist(tmp_path):
    path = write_csv(tmp_path / "puzzles.csv", broken())
    empty = tmp_path / "empty.csv"
    empty.touch()
    for arguments, message in (
        ({"train_file": str(empty)}, "empty.csv is empty"),
        ({"train_file": str(tmp_path / "nowhere.csv")}, "train_file"),
        ({"train_file": path, "dataset_name": "generated"}, "dataset_name"),
        ({}, "dataset_name"),
        (
            {"validation_file": path, "puzzle_column_name": "quiz"},
            r"puzzles.csv: `--puzzle_column_name`.*puzzle, solution",
        ),
        ({"validation_file": path, "solution_column_name": "answer"}, "--solution_column_name"),
        ({"validation_file": path, "min_givens": 30}, "puzzles.csv holds no puzzle with 30 to 80.*17 to 17"),
        ({"train_file": path}, "train_val_split"),
        ({"train_file": path, "validation_file": path}, "All 1 puzzles"),
        ({"train_file": path, "min_givens": 30, "max_givens": 20}, "min_givens"),
        ({"dataset_name": "generated", "max_givens": 20}, "max_givens"),
        ({"dataset_name": "generated", "min_givens": 17, "max_givens": 34}, "from 20 to 80"),
        ({"dataset_name": "generated", "puzzle_num_workers": 0}, "puzzle_num_workers"),
        ({"dataset_name": "generated", "puzzle_seed": -1}, "puzzle_seed"),
        ({"dataset_name": "generated", "max_eval_samples": 0}, "max_eval_samples"),
        ({"train_file": path, "train_val_split": 1.0}, "train_val_split"),
    ):
        with pytest.raises(ValueError, match=message):
            load(tmp_path, **arguments)
    headless = write_csv(tmp_path / "headless.csv", broken() + f",{PUZZLE}", header=None)
    with pytest.raises(ValueError, match=r"headless.csv has 3 columns and no header"):
        load(tmp_path, validation_file=headless)


def test_a_data_set_of_the_hub_by_its_local_path(tmp_path):
    folder = tmp_path / "puzzles"
    folder.mkdir()
    rows = some_rows(6)
    write_csv(folder / "train.csv", *rows[:4], header="question,answer")
    write_csv(folder / "test.csv", *rows[4:], header="question,answer")
    names = {"puzzle_column_name": "question", "solution_column_name": "answer"}
    data = load(tmp_path, dataset_name=str(folder), **names)
    assert (len(data["train"]), len(data["eval"])) == (4, 2)
    with pytest.raises(ValueError, match="`--puzzle_column_name` 'puzzle'"):
        load(tmp_path, dataset_name=str(folder))


def test_generated_puzzles_are_kept_and_disjoint(tmp_path, monkeypatch):
    arguments = {
        "dataset_name": "generated",
        "max_train_samples": 40,
        "max_eval_samples": 20,
        "min_givens": 30,
        "max_givens": 33,
    }
    data = load(tmp_path, **arguments)
    assert (len(data["train"]), len(data["eval"])) == (40, 20)
    solutions = {name: {solution.tobytes() for solution in split.solutions} for name, split in data.items()}
    assert len(solutions["train"]) == 40 and not solutions["train"] & solutions["eval"]
    # Whatever is asked for, boards to evaluate on are none to train on.
    longer = load(tmp_path, **arguments | {"max_eval_samples": 60, "min_givens": 60, "max_givens": 70})
    assert not solutions["train"] & {solution.tobytes() for solution in longer["eval"].solutions}
    seeded = load(tmp_path, **arguments, puzzle_seed=1, wanted=["eval"])
    assert list(seeded) == ["eval"] and (seeded["eval"].puzzles != data["eval"].puzzles).any()

    def fail(*_):
        raise AssertionError("generated again")

    monkeypatch.setattr(script("hyperset_lab.sudoku.data"), "generate_puzzles", fail)
    again = load(tmp_path, **arguments)
    assert all((again[name].puzzles == data[name].puzzles).all() for name in data)
    with pytest.raises(AssertionError, match="generated again"):
        load(tmp_path, **arguments | {"min_givens": 31})
    for path in (tmp_path / "cache" / "generated_sudoku").glob("train-40-givens-30-33*"):
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ValueError, match=path.name):
            load(tmp_path, **arguments)


def one_hot(boards: list[str]) -> torch.Tensor:
    digits = torch.tensor([[int(digit) for digit in text] for text in boards])
    return torch.nn.functional.one_hot(digits, 10)[..., 1:].reshape(-1, 9, 9, 9).float()


def save_tensors(folder: Path, boards: list[list[str]], **options) -> Path:
    folder.mkdir(exist_ok=True)
    for name, column in zip(("features", "labels"), zip(*boards, strict=True), strict=True):
        torch.save(one_hot(list(column)), folder / f"{name}.pt", **options)
    return folder


@pytest.mark.parametrize("old_format", [True, False])
def test_the_tensors_of_satnet(tmp_path, old_format):
    """Either file, or their folder; in the format of the torch that SATNet was written with, too."""
    boards = [row.split(",") for row in some_rows(6)]
    folder = save_tensors(tmp_path / "sudoku", boards, _use_new_zipfile_serialization=not old_format)
    csv_file = write_csv(tmp_path / "puzzles.csv", *map(",".join, boards))
    expected = load(tmp_path, ["eval"], validation_file=csv_file)["eval"]
    for path in (folder, folder / "features.pt", folder / "labels.pt"):
        data = load(tmp_path, ["eval"], validation_file=str(path))["eval"]
        assert (data.puzzles == expected.puzzles).all() and (data.solutions == expected.solutions).all()


def test_tensors_that_are_no_puzzles(tmp_path):
    boards = [row.split(",") for row in some_rows(3)]
    folder = save_tensors(tmp_path / "sudoku", boards)
    for name, broken, message in (
        ("features", torch.zeros(3, 81), r"features.pt must hold a tensor of shape \(n, 9, 9, 9\), got \(3, 81\)"),
        ("features", {"x": torch.zeros(1)}, r"features.pt must hold a tensor .*got dict"),
        ("features", one_hot([p for p, _ in boards]) * 0.5, r"features.pt, row 1: each cell must"),
        ("features", torch.ones(3, 9, 9, 9), r"features.pt, row 1: each cell must.*row 1, column 1"),
        ("labels", one_hot([p for p, _ in boards]), r"row 1: the solution is no valid Sudoku"),
        ("labels", one_hot([s for _, s in boards[:2]]), r"as many boards as each other, got 3 and 2"),
        ("labels", Path("x"), r"labels.pt cannot be read as a tensor"),  # a class: weights_only refuses it
    ):
        save_tensors(folder, boards)
        torch.save(broken, folder / f"{name}.pt")
        with pytest.raises(ValueError, match=f"(?s){message}"):
            load(tmp_path, validation_file=str(folder / "features.pt"))
    (folder / "labels.pt").unlink()
    with pytest.raises(ValueError, match=r"labels.pt does not exist"):
        load(tmp_path, validation_file=str(folder / "features.pt"))
    with pytest.raises(ValueError, match=r"--validation_file. must be a CSV file, or the folder"):
        load(tmp_path, validation_file=str(folder))


def test_pickles_are_refused_with_the_command_that_makes_them_csv(tmp_path):
    boards = [row.split(",") for row in some_rows(4)]
    for name, column in zip(("given", "solved"), zip(*boards, strict=True), strict=True):
        arrays = {f"img_{key}": board(text).reshape(9, 9).astype(float) for key, text in enumerate(column)}
        (tmp_path / f"easy_130k_{name}.p").write_bytes(pickle.dumps(arrays))
    with pytest.raises(ValueError, match="is a pickle") as error:
        load(tmp_path, validation_file=str(tmp_path / "easy_130k_given.p"))
    command = str(error.value).split("pass that: ")[1].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    data = load(tmp_path, ["eval"], validation_file=str(tmp_path / "puzzles.csv"))["eval"]
    assert ["".join(map(str, puzzle)) for puzzle in data.puzzles] == [puzzle for puzzle, _ in boards]


def test_csv_files_as_people_have_them(tmp_path):
    """A byte order mark, CRLF, empty lines, blanks around fields, quotation marks."""
    lines = ["\ufeffpuzzle, solution", "", f'"{PUZZLE}", {SOLUTION} ', "  ", ""]
    path = tmp_path / "windows.csv"
    path.write_bytes("\r\n".join(lines).encode())
    data = load(tmp_path, ["eval"], validation_file=str(path))["eval"]
    assert (data.puzzles == board(PUZZLE)).all() and len(data) == 1
    path.write_text(f"puzzle,puzzle,solution\n{PUZZLE},{PUZZLE},{SOLUTION}\n")
    with pytest.raises(ValueError, match=r"windows.csv: each column must have a name of its own, got puzzle"):
        load(tmp_path, validation_file=str(path))
