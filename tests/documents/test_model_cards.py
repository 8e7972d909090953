# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The cards in `model_cards/`: their code runs, their metadata is the Hub's, their figures are the presets' and the paper's."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

import transformers
from modeling_hyperset.presets import PRESETS, preset_config
from support.hub_card_rules import check_card
from transformers import BertTokenizer, ViTImageProcessorPil


ROOT = Path(__file__).parents[2]
CARDS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "model_cards").glob("hyperset-*.md"))}
PAPER = Path(os.environ.get("HYPERSET_PAPER", ROOT.parent / "shared" / "paper" / "hyper-set.md"))
MODELS = {
    "hyperset-small": ("imagenet-small", {}),
    "hyperset-base": ("imagenet-base", {}),
    "hyperset-base-lora": ("imagenet-base", {"lora_rank": 32}),
    "hyperset-sudoku-paper": ("sudoku", {}),
    "hyperset-mim": ("mim-base", {}),
    "hyperset-yelp": ("yelp-small", {}),
}
NARROW = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "step_size_time_dim": 16}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder in which every `org/hyperset-…` of the cards is a narrow model of the same kind."""
    folder = tmp_path_factory.mktemp("cards")
    for name, (preset, overrides) in MODELS.items():
        model = PRESETS[preset].model_class(preset_config(preset, **(NARROW | overrides)))
        model.save_pretrained(folder / "org" / name)
        if not model.config.takes_token_ids:
            size = dict(zip(("height", "width"), model.config.image_height_width, strict=True))
            ViTImageProcessorPil(size=size).save_pretrained(folder / "org" / name)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "soup", "was", "cold", "kind"]
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(
        folder / "org" / "hyperset-yelp"
    )
    return folder


def test_there_is_a_card_for_every_model():
    assert CARDS.keys() == MODELS.keys()
    listed = (ROOT / "model_cards" / "README.md").read_text(encoding="utf-8")
    for name, (preset, _) in MODELS.items():
        assert re.search(rf"\| \[{name}\.md\]\({name}\.md\) \| `{preset}`", listed), name


@pytest.mark.parametrize("name", MODELS)
def test_code_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(folder / "modules"))
    code = blocks(CARDS[name], "python")
    assert code and f'"org/{name}"' in code[0]
    for block in code:
        namespace = {}
        exec(block, namespace)
        if "attention" in namespace:
            assert namespace["attention"].shape == namespace["feedforward"].shape == (24, 1)
        if "board" in namespace:
            assert namespace["board"].shape == (9, 9) and namespace["board"].min() >= 1
            assert namespace["digits"].max() <= 9 and namespace["board"][0, 0] == 5
        if "filled" in namespace:
            assert namespace["filled"].shape == (1, 256) and namespace["logits"].shape[:2] == (1, 256)
        if "train_adapters_only" in block:
            trained = [key for key, value in namespace["model"].named_parameters() if value.requires_grad]
            assert trained and all("lora" in key or key.startswith("classifier") for key in trained)


@pytest.mark.parametrize("name", MODELS)
def test_metadata(name):
    assert check_card(CARDS[name]) == ([], [])
    data = ModelCard(CARDS[name]).data
    assert (data.license, data.library_name) == ("apache-2.0", "transformers") and "hyperset" in data.tags
    assert data.eval_results is None and "model-index:" not in CARDS[name]  # nothing was measured
    tasks = {"HyperSETForMaskedImageModeling": None, "HyperSETForTokenClassification": "token-classification"}
    tasks |= {"HyperSETForImageClassification": "image-classification"}
    tasks |= {"HyperSETForSequenceClassification": "text-classification"}
    assert data.pipeline_tag == tasks[PRESETS[MODELS[name][0]].model_class.__name__]


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_what_the_card_says(name):
    preset, overrides = MODELS[name]
    config = preset_config(preset, **overrides)
    with torch.device("meta"):
        count = PRESETS[preset].model_class(config).num_parameters()
    text = " ".join(CARDS[name].split())
    assert f"{count:,} parameters" in text and f"`{preset}`" in text
    assert f"one layer with {config.num_iterations} iterations, width {config.hidden_size}" in text.replace(
        "One", "one"
    )
    assert f"{config.num_attention_heads} heads" in text
    # The paper's count, where the preset has one, is in the card's table or is what its own count rounds to.
    paper = PRESETS[preset].paper_parameters
    assert paper == "–" or f"{count / 1e6:.2f} M" == paper
    for section in (
        "Intended use",
        "Use",
        "Training",
        "The paper's figures",
        "Results here",
        "Limits and biases",
        "Citation",
    ):
        assert f"\n## {section}\n" in CARDS[name], section


@pytest.mark.parametrize("name", MODELS)
def test_the_training_command_is_what_the_card_says(name):
    (command,) = blocks(CARDS[name], "bash")
    words = shlex.split(command.replace("\\\n", " "))
    script, recipe, *flags = words[next(index for index, word in enumerate(words) if word.endswith(".py")) :]
    assert (ROOT / script).is_file(), script
    settings = yaml.safe_load((ROOT / recipe).read_text(encoding="utf-8"))
    assert settings["config_name"] == MODELS[name][0]
    assert flags == [] or yaml.safe_load(flags[flags.index("--config_overrides") + 1]) == MODELS[name][1]
    text = " ".join(CARDS[name].split())
    batch = settings["per_device_train_batch_size"]
    processes = int(words[words.index("--num_processes") + 1]) if "accelerate" in words else 1
    assert f"{settings['num_train_epochs']} epochs" in text
    assert f"batches of {batch * processes}" in text
    assert f"β = ({settings['adam_beta1']}, {settings['adam_beta2']})" in text
    (rate,) = re.findall(r"learning rate (?:that rises to|of) ([\de.-]+)", text)
    (decay,) = re.findall(r"weight decay ([\de.-]+\d)", text)
    assert float(rate) == settings["learning_rate"] and float(decay) == settings["weight_decay"]
    for dataset in ModelCard(CARDS[name]).data.datasets or []:
        assert settings["dataset_name"] == dataset


def plain(cell: str) -> str:
    """A cell of a table of the paper as the cards write it."""
    cell = re.sub(r"\(.* et al\., \d{4}\w?\)", "", cell.replace("$", "").replace("\\pm", " ± "))
    return " ".join(cell.replace("\\uparrow", "↑").replace("\\downarrow", "↓").split())


def paper_table(number: str) -> list[list[str]]:
    """The rows of a table of the paper."""
    lines = PAPER.read_text(encoding="utf-8").split(f"\n{number}: ", 1)[1].splitlines()
    rows = []
    for line in lines[1:]:
        if "\t" in line:
            rows.append([plain(cell) for cell in line.split("\t")])
        elif rows and line.strip():
            break
    return rows


def in_order(cells: list[str], row: list[str]) -> bool:
    rest = iter(row)
    return all(cell in rest for cell in cells)


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not here; HYPERSET_PAPER names it")
@pytest.mark.parametrize("name", MODELS)
def test_the_papers_figures(name):
    """Every row of a table is a row of the paper's table of that number; every percentage of its text is the paper's."""
    section = CARDS[name].split("\n## The paper's figures\n")[1].split("\n## ")[0]
    parts = re.split(r"<!-- paper: (.*?) -->\n", section)[1:]
    assert parts
    for source, part in zip(parts[::2], parts[1::2], strict=True):
        if source.startswith("Table"):
            header, _, *rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
            table = paper_table(source)
            titles = [cell for line in table[:2] for cell in line]
            for cell in header:
                assert cell in titles or cell.removeprefix("↑") in titles, (source, cell)
            assert rows
            for row in rows:
                assert any(in_order(row, candidate) for candidate in table), (source, row)
        else:
            figures = re.findall(r"\d+\.\d+%|\d+ to \d+ known digits", part)
            text = PAPER.read_text(encoding="utf-8").split(f"\n{source}\n", 1)[1].split("\n5.2 ", 1)[0]
            assert figures and all(figure in text for figure in figures), figures
    # No figure without its source: what looks like a result elsewhere in the card would be one of ours.
    elsewhere = CARDS[name].replace(section, "")
    assert not re.search(r"\d\d\.\d\d\b", elsewhere)
