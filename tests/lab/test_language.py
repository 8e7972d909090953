# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Training on text, to write it and to fill it in, as a user calls the scripts."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import analyze
from hyperset_lab.analyzing import task_of
from hyperset_lab.arguments import parse_arguments
from hyperset_lab.comparison.costs import forward_flops
from hyperset_lab.comparison.plan import Comparison, ComparisonArguments
from hyperset_lab.language import data, examples, tokenizer
from hyperset_lab.language.task import TASK, main
from hyperset_lab.masked_language.task import TASK as MASKED
from support.builders import threads
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline


RECIPES = Path(__file__).parents[2] / "scripts" / "recipes"
TINY = {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "initializer_range": 0.2}
TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 40


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with threads(1):
        yield


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.txt").write_text(TEXT)
    return tmp_path


def flags(*more: str, recipe: str = "shakespeare_char", steps: int = 4, **overrides) -> list[str]:
    """A short run of a tiny model on `train.txt`."""
    config = TINY | {"step_size_time_dim": 16, "max_position_embeddings": 16} | overrides
    words = [str(RECIPES / f"{recipe}.yaml"), "--train_file", "train.txt", "--validation_file", ""]
    words += ["--config_overrides", json.dumps(config), "--max_steps", str(steps), "--output_dir", "out"]
    words += ["--eval_num_iterations", "", "--logging_strategy", "no"]
    words += ["--use_cpu", "--report_to", "none", "--disable_tqdm", "true", "--cache_dir", "cache"]
    return [*words, *more]


def build(*more: str, task=TASK, **options):
    """A trainer that is not run."""
    recipe = "shakespeare_char" if task is TASK else "shakespeare_mlm"
    trainer, _ = task.build_trainer(*parse_arguments(task.arguments, flags(*more, recipe=recipe, **options), "script"))
    return trainer


SAMPLE = ["--sample_prompt", "the ", "--sample_tokens", "24"]


@pytest.mark.slow
def test_it_learns_writes_and_resumes(text, capsys):
    """A resumed run is the unbroken one; the card has a sample; the folder is a pipeline's."""
    long = ["--save_strategy", "steps", "--save_steps", "40", *SAMPLE]
    metrics = main(flags(*long, steps=80))
    assert metrics["eval_loss"] < 1.5 < math.log(18)  # of 18 characters
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(metrics["eval_loss"]))
    assert metrics["eval_bits_per_character"] == pytest.approx(metrics["eval_loss"] / math.log(2))
    assert metrics["eval_4_iterations_perplexity"] > 1
    printed, card = capsys.readouterr().out, Path("out/README.md").read_text()
    sample = printed.rstrip("\n").rpartition("\nthe ")[2]
    assert "## Sample" in card and "after the prompt 'the '" in card and f"    the {sample}".splitlines()[0] in card
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "text-generation"
    whole = load_file("out/model.safetensors")
    Path("out/checkpoint-80/manifest.json").unlink()
    assert main(flags(*long, "--resume_from_checkpoint", "true", steps=80))["eval_loss"] == metrics["eval_loss"]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in load_file("out/model.safetensors").items())

    write = pipeline("text-generation", model="out", device="cpu")
    (written,) = write("the c", max_new_tokens=5, do_sample=False)
    assert written["generated_text"].startswith("the c") and len(written["generated_text"]) == 10
    evaluated = ["--model_name_or_path", "out", "--validation_file", "train.txt", "--do_eval", "--use_cpu"]
    again = main([*evaluated, "--output_dir", "again", "--report_to", "none", "--sample_tokens", "0"])
    assert again["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=0.2)


@pytest.mark.parametrize("windows", ["true", "false"])
def test_examples_of_a_model_that_writes(text, windows):
    trainer = build("--random_windows", windows)
    encoded = trainer.processing_class(TEXT[: int(len(TEXT) * 0.9)])["input_ids"]
    found = [item["input_ids"].tolist() for item in map(trainer.train_dataset.__getitem__, range(10))]
    starts = [next(i for i in range(len(encoded)) if encoded[i : i + 16] == ids) for ids in found]  # any such place
    if windows == "false":
        assert [ids for row in found for ids in row] == encoded[:160]
    else:
        assert any(start % 16 for start in starts)
        trainer.train_dataset.set_epoch(1)
        assert trainer.train_dataset[0]["input_ids"].tolist() != found[0]
        trainer.train_dataset.set_epoch(0)
    assert trainer.train_dataset[0]["input_ids"].tolist() == found[0]
    assert np.array_equal(trainer.train_dataset[3]["labels"], trainer.train_dataset[3]["input_ids"])
    assert len(trainer.train_dataset) == int(len(TEXT) * 0.9) // 16
    # The end of the text is held out, and compare.py can count operations.
    held_out = trainer.processing_class.decode(trainer.eval_dataset[0]["input_ids"])
    assert held_out == TEXT[int(len(TEXT) * 0.9) :][:16]
    assert forward_flops(trainer) > 0


def test_masks_depend_on_epoch_and_place_alone(text):
    trainer = build(task=MASKED)
    rows = [trainer.train_dataset[index] for index in range(60)]
    labels = np.stack([row["labels"] for row in rows])
    ids = np.stack([row["input_ids"] for row in rows])
    masked, mask = labels != -100, trainer.processing_class.mask_token_id
    assert 0.1 < masked.mean() < 0.2 and 0.65 < (ids[masked] == mask).mean() < 0.95
    assert np.array_equal(trainer.train_dataset[7]["input_ids"], ids[7])
    trainer.train_dataset.set_epoch(1)
    assert not np.array_equal(trainer.train_dataset[7]["labels"], labels[7])
    metrics = trainer.evaluate()
    assert metrics == trainer.evaluate() | {
        name: value for name, value in metrics.items() if "per_sec" in name or "runtime" in name
    }
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(metrics["eval_loss"]))
    assert "eval_bits_per_character" not in metrics and trainer.card_section() == ""


@given(st.text(alphabet="ab \n\t\r'[]PADé…", max_size=30))
@settings(max_examples=30, deadline=None)
def test_characters_come_back(text):
    made = tokenizer.character_tokenizer(["ab \n\t\r'[]PADé…"])
    ids = made(text)["input_ids"]
    assert len(ids) == len(text) and made.decode(ids) == text


def test_a_character_tokenizer_in_a_folder(tmp_path):
    made = tokenizer.character_tokenizer(["to be,\n", "or not"])
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        loaded("to\nbe").input_ids == made("to\nbe").input_ids
        and loaded.decode(loaded("t\n\n b").input_ids) == "t\n\n b"
    )
    assert loaded("tüt").input_ids[1] == loaded.unk_token_id and loaded.mask_token == "[MASK]"
    assert tokenizer.unknown_characters(loaded, ["tüt", "é"]) == ["é", "ü"] and tokenizer.is_of_characters(loaded)


def test_documents_are_joined_and_cut(text):
    """Documents of a table have the end-of-text token after each; long texts are the same in pieces."""
    made = tokenizer.character_tokenizer(["ab\n"])
    arguments = data.LanguageDataArguments(train_file="train.txt")
    table = SimpleNamespace(
        is_one_document=False, streaming=False, preprocessing_num_workers=None, limits={"train": 3}
    )
    split = Dataset.from_dict({"text": ["ab", "", "b\na", "aaaa"]})
    end = made.eos_token
    joined = made.decode(np.concatenate(data.cut_into_blocks("train", split, made, 3, table)["input_ids"]))
    assert joined == f"ab{end}{end}b\na{end}a"
    joined = made.decode(np.concatenate(data.cut_into_blocks("train", split, made, 3, arguments)["input_ids"]))
    assert joined == "abb\naaaaa"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "PIECE", 4)
        pieces = [made.decode(ids) for ids in data.token_ids(made, "ab\nab\nab\nabb\na")]
    assert pieces == ["ab\nab\n", "ab\nabb\n", "a"]


@pytest.mark.parametrize(("rows", "wanted"), [(["0123456789"], "89 67 45"), ([*"0123456789"], "89 67 45")])
def test_each_seed_holds_out_another_part(rows, wanted):
    split = Dataset.from_dict({"text": rows})
    parts = [data.hold_out_text(split, 0.2, part) for part in range(3)]
    assert " ".join("".join(part["eval"]["text"]) for part in parts) == wanted
    for part in parts:
        assert sorted("".join([*part["train"]["text"], *part["eval"]["text"]])) == list("0123456789")
    with pytest.raises(ValueError, match="train_val_split"):
        data.hold_out_text(Dataset.from_dict({"text": ["a"]}), 0.2, 0)


WRONG = {
    "train_file": ["--train_file", "none.txt"],
    "cannot be read": ["--train_file", "latin.txt"],
    "shorter than one block": ["--train_file", "empty.txt", "--validation_file", "train.txt"],
    "leaves nothing": ["--train_file", "empty.txt"],
    "block_size.*at least 2": ["--block_size", "1"],
    "max_position_embeddings=16": ["--block_size", "17"],
    "causal_softmax": ["--config_overrides", '{"attention_energy": "bi_softmax"}'],
    "text_column_name.*among words": ["--train_file", "table.csv"],
    "needs `--max_steps`": ["--streaming", "true", "--max_steps", "-1", "--num_train_epochs", "1"],
    "leave `--do_eval` out": ["--streaming", "true"],
    "reads all the training text": ["--streaming", "true", "--do_eval", "false"],
    "needs the whole text": ["--streaming", "true", "--random_windows", "true"],
    "has no tokenizer": ["--tokenizer_name", ""],
    "No tokenizer can be loaded": ["--tokenizer_name", "./no-such"],
    "label_smoothing": ["--label_smoothing_factor", "0.1"],
    "sample_prompt": ["--sample_prompt", ""],
    "new tokenizer": ["--model_name_or_path", "x", "--tokenizer_name", "characters"],
}


@pytest.mark.parametrize("message", WRONG)
def test_mistakes(text, message):
    for name, content in (("empty.txt", b""), ("latin.txt", b"\xff\xfe" * 9), ("table.csv", b"words,n\na,1\n")):
        Path(name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build(*WRONG[message])


def test_mistakes_of_masked_models(text):
    with pytest.raises(ValueError, match="not causal"):
        build("--config_overrides", '{"attention_energy": "causal_softmax"}', task=MASKED)
    made = tokenizer.character_tokenizer(["ab"])
    made.mask_token = None
    with pytest.raises(ValueError, match="mask token"):
        examples.masking(made, 0.15)
    with pytest.raises(ValueError, match="mlm_probability"):
        build("--mlm_probability", "0", task=MASKED)


def test_a_stream(text):
    """A stream gives the blocks of the text, and goes on for as many steps as are asked for."""
    made = tokenizer.character_tokenizer([TEXT])
    made.save_pretrained("saved")
    trainer = build(
        *("--streaming", "true", "--validation_file", "train.txt", "--tokenizer_name", "./saved"),
        *("--max_eval_samples", "5", "--shuffle_buffer_size", "4"),
    )
    evaluated = [made.decode(example["input_ids"]) for example in trainer.eval_dataset]
    assert "".join(evaluated) == TEXT[:80]
    stream = iter(trainer.train_dataset)
    assert all(made.decode(next(stream)["input_ids"]) in TEXT for _ in range(150))  # more than one pass has


def test_each_token_of_a_text_is_analysed(text):
    main(flags("--sample_tokens", "0", steps=1))
    data = ["--validation_file", "train.txt", "--max_eval_samples", "3", "--use_cpu", "--report_to", "none"]
    where = ["--model_name_or_path", "out", "--output_dir", "analysis"]
    analyze.main([*where, *data, "--energy_tolerances", "0.001", "--sample", "1"])
    found = json.loads(Path("analysis/text.json").read_text())
    assert "".join(found["tokens"]) == TEXT[16:32] and found["energy_tolerance"] == 0.001
    assert len(found["iterations"]) == 16 and set(found["iterations"]) <= {2}  # of two, each token takes both
    point = json.loads(Path("analysis/adaptive_depth.json").read_text())[0]
    assert point["mean_iterations"] == 2
    pictures = {path.stem for path in Path("analysis").glob("*.png")}
    assert {"text", "token_energies", "energies", "accuracy", "adaptive_depth", "trajectories"} <= pictures


def test_commands_know_the_tasks(text):
    """analyze.py knows them by their heads, and compare.py builds the models of its recipe."""
    for head, task in (("CausalLM", TASK), ("MaskedLM", MASKED)):
        assert task_of(SimpleNamespace(architectures=[f"HyperSETFor{head}"], model_type="hyperset"), None) is task
    flags = {"train_file": "train.txt", "use_cpu": True, "validation_file": "train.txt"}
    words = [str(RECIPES / "compare_shakespeare.yaml"), "--flags", json.dumps(flags)]
    (arguments,) = parse_arguments((ComparisonArguments,), words)
    base = yaml.safe_load((RECIPES / "shakespeare_char.yaml").read_text())
    comparison = Comparison(arguments, base)
    Path("built").mkdir()
    trainers = comparison.build(Path("built"))
    counts = {name: trainer.model.num_parameters() for name, trainer in trainers.items()}
    assert comparison.score.name == "loss" and not comparison.score.higher_is_better
    assert counts["Hyper-SET"] < 400_000 and counts["Iterated Transformer"] < 400_000
    assert 2 * counts["Hyper-SET"] < counts["Stacked Transformer"]
    assert all(
        isinstance(trainer.model, AutoModelForCausalLM._model_mapping[type(trainer.model.config)])
        for trainer in trainers.values()
    )
