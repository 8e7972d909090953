# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Nothing is lost: a run that is killed, at any operation, or whose disk is full, ends at the weights of an unbroken one."""

import functools
import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hyperset_lab import checkpoints
from hyperset_lab.images import data
from hyperset_lab.images.task import main
from hyperset_lab.run import checkpoint_to_resume
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from modeling_hyperset.files import write_json
from support.builders import threads
from support.processes import in_a_process


# Everything that draws random numbers while it trains: order, views, mixes, dropout; and checkpoints that replace each other.
FLAGS = [
    str(Path(__file__).parents[2] / "scripts" / "recipes" / "digits.yaml"),
    "--config_overrides",
    '{"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "image_size": 8, "embedding_dropout": 0.1}',
    *("--max_train_samples", "24", "--max_eval_samples", "10", "--per_device_train_batch_size", "8"),
    *("--num_train_epochs", "2", "--do_eval", "false", "--eval_strategy", "no", "--use_cpu", "--disable_tqdm", "true"),
    *(
        "--random_crop",
        "padded",
        "--crop_padding",
        "1",
        "--random_flip",
        "--mixup_alpha",
        "0.8",
        "--cutmix_alpha",
        "1",
    ),
    *("--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "2"),
]
NUM_STEPS = 6


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Runs share their data, on one thread, and no disk is waited for: a killed process leaves what it wrote to the system."""
    with threads(1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "digits", functools.cache(data.digits))
        patch.setattr(os, "fsync", lambda handle: None)
        gc.collect()
        gc.freeze()  # each run collects garbage, and need not look at what the imports made
        yield
        gc.unfreeze()


def count_operations(folder: Path, event) -> None:
    """Call `event` before every training step and every operation on the files of `folder`."""

    def audit(name, arguments):
        if name in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree") and arguments:
            if str(arguments[0]).startswith(str(folder)):
                event()

    step = ScriptTrainer.training_step
    ScriptTrainer.training_step = lambda *args: (event(), step(*args))[1]
    sys.addaudithook(audit)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The weights of a run that nothing stops, and the number of its operations."""
    folder = tmp_path_factory.mktemp("unbroken") / "out"

    def work():
        operations = 0

        def event():
            nonlocal operations
            operations += 1

        count_operations(folder, event)
        main([*FLAGS, "--output_dir", str(folder)])
        (folder / "operations").write_text(str(operations))

    assert in_a_process(work) == 0
    return folder, int((folder / "operations").read_text())


def assert_same_weights(folder: Path, unbroken: Path) -> None:
    wanted, got = load_file(unbroken / "model.safetensors"), load_file(folder / "model.safetensors")
    assert wanted.keys() == got.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, got[name]), name


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_killed_again_and_again_it_ends_at_the_same_weights(unbroken, tmp_path, seed):
    """SIGKILL before a random step or file operation, of each run anew, until one gets through."""
    wanted, operations = unbroken
    folder, rng = tmp_path / "out", random.Random(seed)
    lives = kills = 0
    while True:
        lives += 1
        # Each run gets somewhat further than the one before, and a later one to the end.
        left = rng.randrange(operations // 8, operations // 2) if lives < 5 else None
        resumable = folder.is_dir() and checkpoints.last_whole_checkpoint(folder) is not None

        def work(left=left, resumable=resumable):
            def event():
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            if left is not None:
                count_operations(folder, event)
            main([*FLAGS, "--output_dir", str(folder), *(["--resume_from_checkpoint", "true"] * resumable)])

        ended = in_a_process(work)
        assert ended in (0, signal.SIGKILL)
        kills += ended != 0
        for path in checkpoints.all_checkpoints(folder):
            assert not checkpoints.defects(path) or checkpoints.mark_of(path).is_file(), path
        if (folder / "model.safetensors").is_file():
            load_file(folder / "model.safetensors")
        if ended == 0:
            break
    assert kills >= 2
    assert_same_weights(folder, wanted)
    # One that was to be removed when the last kill came stays, for the last run may have no step to take.
    assert [path.name for path in checkpoints.all_checkpoints(folder)][-2:] == ["checkpoint-4", "checkpoint-6"]
    assert not (folder / "_unfinished").exists() and not list(folder.glob(".*"))


@pytest.mark.parametrize("share", [0.5, 1.5], ids=["weights", "optimizer"])
def test_a_full_disk_is_an_error_that_names_the_path_and_costs_nothing(unbroken, tmp_path, share):
    """The system refuses files above a share of the weights' size from the fifth step on, then no more."""
    wanted, _ = unbroken
    folder, limit = tmp_path / "out", int(share * (wanted / "model.safetensors").stat().st_size)

    def work():
        step = ScriptTrainer.training_step

        def training_step(trainer, *args):
            if trainer.state.global_step == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            return step(trainer, *args)

        ScriptTrainer.training_step = training_step
        with pytest.raises(OSError) as caught:
            main([*FLAGS, "--output_dir", str(folder)])
        message = str(caught.value)
        assert f"Could not write {folder}/checkpoint-6: " in message, message
        assert f"{folder}/checkpoint-4 is whole: `--resume_from_checkpoint true` continues" in message

    assert in_a_process(work) == 0
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert not checkpoints.defects(folder / "checkpoint-4") and not (folder / "_unfinished").exists()
    if share > 1:
        resume = [*FLAGS, "--output_dir", str(folder), "--resume_from_checkpoint", "true"]
        assert in_a_process(lambda: main(resume)) == 0
        assert_same_weights(folder, wanted)


def test_a_full_disk_leaves_the_model_of_an_earlier_run(unbroken, tmp_path):
    wanted, _ = unbroken
    folder = tmp_path / "out"
    folder.mkdir()
    for path in wanted.iterdir():
        if path.is_file():
            shutil.copy(path, folder)

    def work():
        save = ScriptTrainer.save_model

        def save_model(trainer, *args, **kwargs):
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            save(trainer, *args, **kwargs)

        ScriptTrainer.save_model = save_model
        flags = ["--output_dir", str(folder), "--save_strategy", "no", "--max_steps", "1"]
        with pytest.raises(OSError, match=r"Could not write .*/out/model.safetensors: "):
            main([*FLAGS, *flags])

    assert in_a_process(work) == 0
    assert_same_weights(folder, wanted)
    assert not (folder / "_unfinished").exists()


def test_a_full_disk_leaves_the_results_of_an_earlier_run(tmp_path):
    path = tmp_path / "eval_results.json"
    write_json(path, {"eval_loss": 1.0})

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        with pytest.raises(OSError, match=r"Could not write .*eval_results\.json: "):
            write_json(path, {"eval_loss": "2" * 1000})

    assert in_a_process(work) == 0
    assert json.loads(path.read_text()) == {"eval_loss": 1.0} and list(tmp_path.iterdir()) == [path]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGES = {
    "model.safetensors has": lambda folder: cut(folder / "model.safetensors"),
    "optimizer.pt has": lambda folder: cut(folder / "optimizer.pt"),
    "model.safetensors is not what": lambda folder: spoil(folder / "model.safetensors"),
    "model.safetensors is missing": lambda folder: (folder / "model.safetensors").unlink(),
    "rng_state.pth is missing": lambda folder: (folder / "rng_state.pth").unlink(),
    "trainer_state.json has": lambda folder: cut(folder / "trainer_state.json"),
    "it has no manifest.json, so it was not finished": lambda folder: (folder / "manifest.json").unlink(),
    "manifest.json is unreadable": lambda folder: cut(folder / "manifest.json"),
    "manifest.json is unreadable ": lambda folder: (folder / "manifest.json").write_text("[1]"),
    "it has no manifest.json": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_whole_is_not_picked_up(unbroken, tmp_path, caplog, damage):
    shutil.copytree(unbroken[0], tmp_path / "out")
    last = tmp_path / "out" / "checkpoint-6"
    (tmp_path / "out" / "checkpoint-12-mine").mkdir()
    arguments = ScriptTrainingArguments(str(tmp_path / "out"), resume_from_checkpoint="true", use_cpu=True)
    assert checkpoint_to_resume(arguments) == str(last)
    DAMAGES[damage](last)
    assert checkpoint_to_resume(arguments) == str(last.parent / "checkpoint-4")
    assert f"Not continuing from {last}: {damage.strip()}" in caplog.text
    arguments.resume_from_checkpoint = str(last)
    with pytest.raises(ValueError, match=f"cannot continue from '{last}': {damage.strip()}"):
        checkpoint_to_resume(arguments)
    DAMAGES[damage](last.parent / "checkpoint-4")
    arguments.resume_from_checkpoint = "True"
    with pytest.raises(ValueError, match="no whole checkpoint"):
        checkpoint_to_resume(arguments)


def test_a_checkpoint_without_its_manifest_is_made_whole_by_hand(unbroken, tmp_path):
    """As those of older versions are. One of the model alone is continued from by a run that saves no more than that."""
    checkpoint = tmp_path / "checkpoint-6"
    shutil.copytree(unbroken[0] / checkpoint.name, checkpoint)
    (checkpoint / "manifest.json").unlink()
    (found,) = checkpoints.defects(checkpoint)
    exec(found.split('python -c "')[1].split('"`')[0])
    assert not checkpoints.defects(checkpoint, contents=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (checkpoint / name).unlink()
    checkpoints.seal(checkpoint)
    assert "the model alone" in checkpoints.defects(checkpoint)[0] and not checkpoints.defects(checkpoint, True)


def test_a_new_run_does_not_mix_with_the_checkpoints_of_an_earlier_one(unbroken):
    with pytest.raises(ValueError, match="holds checkpoint-6 of an earlier run"):
        main([*FLAGS, "--output_dir", str(unbroken[0])])
    state = json.loads((unbroken[0] / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["global_step"] == NUM_STEPS


def make_checkpoints(folder: Path, *steps: int) -> None:
    """Whole checkpoints, by their number of steps."""
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "rng_state.pth").write_text("state")
        checkpoints.seal(folder / f"checkpoint-{step}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_run_left_is_cleaned_up(tmp_path):
    """What is marked goes, unless it is whole after all. What is not marked stays: another version may have written it."""
    make_checkpoints(tmp_path, 2, 3, 4)
    (tmp_path / "checkpoint-2" / "manifest.json").unlink()
    (tmp_path / "checkpoint-3" / "manifest.json").unlink()
    (tmp_path / "_unfinished" / "model").mkdir(parents=True)
    for step in (3, 4, 5):
        checkpoints.mark_of(tmp_path / f"checkpoint-{step}").touch()
    (tmp_path / ".unfinished-energy.x1.json").touch()
    assert [path.name for path in checkpoints.all_checkpoints(tmp_path) if checkpoints.is_leftover(path)] == [
        "checkpoint-3"
    ]
    checkpoints.clean_up(tmp_path)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4"]


def test_rotation_counts_whole_checkpoints_alone(tmp_path):
    """The last whole one stays beside any number of others that are not."""
    make_checkpoints(tmp_path, 2, 4, 6, 8, 10)
    for step in (6, 10):
        (tmp_path / f"checkpoint-{step}" / "rng_state.pth").unlink()
    checkpoints.rotate(tmp_path, 1, {str(tmp_path / "checkpoint-8"), None})
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-6", "checkpoint-8"]
    make_checkpoints(tmp_path, 1, 12)
    checkpoints.rotate(tmp_path, 2, {str(tmp_path / "checkpoint-12"), str(tmp_path / "checkpoint-1")})
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-10", "checkpoint-12", "checkpoint-6"]
    checkpoints.rotate(tmp_path, None, set())
    assert len(names(tmp_path)) == 4


def test_a_model_replaces_another_with_nothing_of_it_left(tmp_path):
    """Shards of an earlier, larger model would win over the new weights, or be pushed with them."""
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
    for name in files:
        (tmp_path / name).touch()
    staged = tmp_path / "_unfinished" / "model"
    (staged / "inside").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "inside/file"):
        (staged / name).write_text("new")
    checkpoints.publish_model(staged, tmp_path)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["config.json", "inside/file", "model.safetensors"]


def test_the_best_checkpoint_is_kept_and_loaded(tmp_path):
    """`load_best_model_at_end` with the limit: the state on disk names the checkpoint where it is, not where it was written."""
    flags = ["--do_eval", "true", "--eval_strategy", "steps", "--eval_steps", "2", "--save_total_limit", "1"]
    flags += ["--load_best_model_at_end", "--metric_for_best_model", "eval_loss", "--greater_is_better", "true"]
    main([*FLAGS, *flags, "--output_dir", str(tmp_path / "out")])
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"])
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == [best.name]
    assert_same_weights(tmp_path / "out", best)
    losses = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    assert best.name == f"checkpoint-{max(losses, key=losses.get)}"
