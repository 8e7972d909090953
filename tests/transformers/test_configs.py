# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What is set on a config and saved loads again, or is refused; and a saved folder names only code that it has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.trainer_utils import align_special_tokens

from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification, HyperSETForMaskedLM, HyperSETModel
from support.builders import make_config, make_inputs, make_model
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, BertTokenizer


SET = {
    "whole numbers as names": {"label2id": {3: 0, 7: 1}, "id2label": {0: 3, 1: 7}},
    "fractions as names": {"label2id": {0.5: 0, 1.5: 1}, "id2label": {0: 0.5, 1: 1.5}},
    "names of numpy": {"id2label": {0: np.int64(3), 1: np.float32(0.5)}},
    "numbers as text": {"id2label": {"0": "a", "1": "b", "2": "c"}},
    # as transformers' `run_glue.py` leaves them for the labels 0 and 1 of a table
    "names of two kinds": {"label2id": {0: 0, 1: 1}, "id2label": {0: "LABEL_0", 1: "LABEL_1"}},
    "special tokens": {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": [2, 3]},
    "a dtype": {"dtype": torch.bfloat16},
    "a pair": {"image_size": (28, 56)},
    "a layer": {"layer_type": "crate"},
    "a start of adapters": {"lora_init": "normal"},
    "fewer iterations than a chosen stage": {"num_iterations": 1},
    "ids after a chosen stage": {"vocab_size": 9},
}


@pytest.mark.parametrize("name", SET)
def test_what_is_set_loads_again(name, tmp_path):
    config = HyperSETConfig(out_features=["stage2"] if "stage" in name else None)
    for field, value in SET[name].items():
        setattr(config, field, value)
    before = config.to_dict()
    config.save_pretrained(tmp_path)
    assert config.to_dict() | {"auto_map": 0} == before | {"auto_map": 0}  # saving changes nothing
    loaded = HyperSETConfig.from_pretrained(tmp_path).to_dict()
    for field in SET[name]:
        assert loaded[field] == before[field], field
    if "names" in name:
        assert all(isinstance(label, str) for label in (*loaded["id2label"].values(), *loaded["label2id"]))


REFUSED = {
    "hiddn_size": (4, "Do you mean `hidden_size`"),
    "dtype": (torch.int64, "floating dtype"),
    "num_labels": (0, "num_labels"),
    "id2label": ({0: None}, "id2label"),
    "pad_token_id": ("[PAD]", "pad_token_id"),
    "eos_token_id": (-2, "eos_token_id"),
    "encoder_stride": (3, "patch_size=14"),
    "validate_layer": (None, "cannot be set"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_would_not_load_is_refused_when_it_is_set(field):
    value, match = REFUSED[field]
    with pytest.raises(ValueError, match=match):
        setattr(HyperSETConfig(), field, value)


@pytest.mark.parametrize("field", ["patch_embedding_norm", "intermediate_size", "mine"])
def test_what_would_not_load_is_not_written(field, tmp_path):
    config = HyperSETConfig()
    setattr(config, field, {1, 2} if field == "mine" else None)
    with pytest.raises(ValueError, match=r"`(patch_e|interm)|would not load"):
        config.save_pretrained(tmp_path / "config")
    assert not (tmp_path / "config").exists()


def test_names_of_classes_alone_number_them():
    config = HyperSETConfig(label2id={"cat": 1, "dog": 0, "owl": 2})
    assert config.num_labels == 3 and config.id2label == {0: "dog", 1: "cat", 2: "owl"}
    with pytest.raises(ValueError, match="without gaps"):
        HyperSETConfig(label2id={"cat": 0, "dog": 7})


def test_fields_from_a_string():
    """`--config_overrides` of transformers' scripts: fields that are `None` too, and widths that follow `hidden_size`."""
    config = HyperSETConfig()
    config.update_from_string("vocab_size=100,hidden_size=64,num_attention_heads=4,attention_beta=0.5,pooling=mean")
    assert (config.vocab_size, config.attention_beta, config.pooling) == (100, 0.5, "mean")
    assert config.intermediate_size == 64
    config.update_from_string("intermediate_size=32,layer_type=transformer")
    assert config.intermediate_size == 32 and config.patch_embedding_norm is False
    for text in ("vocab_size=many", "nothing=3", "hidden_size", "vocab_size=0"):
        with pytest.raises(ValueError, match=r"vocab_size|nothing|hidden_size|int"):
            config.update_from_string(text)


def test_the_stride_of_run_mim():
    config = HyperSETConfig()
    config.update({"image_size": 32, "patch_size": 8, "encoder_stride": 8})
    assert config.encoder_stride == config.patch_size == 8
    assert "encoder_stride" not in config.to_dict()


def test_special_tokens_of_the_config_are_kept(monkeypatch):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]", "film"]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)})
    tokenizer.add_special_tokens({"bos_token": "[BOS]", "eos_token": "[EOS]"})
    config = make_config(vocab_size=8, pad_token_id=0, bos_token_id=5, eos_token_id=6)
    model = HyperSETForMaskedLM(config)
    before = config.to_dict()
    monkeypatch.setattr("transformers.trainer_utils.logger.warning", lambda *words: pytest.fail(words[0]))
    align_special_tokens(model, tokenizer)
    assert model.config.to_dict() == before


def test_a_config_of_a_saved_model_names_only_its_own_code(tmp_path):
    make_model("image-classification").save_pretrained(tmp_path / "model")
    AutoConfig.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "config")
    check_named_files(tmp_path / "config", {"AutoConfig"})
    AutoConfig.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "model")
    assert "AutoModel" in named(tmp_path / "model")


def named(folder: Path) -> dict[str, str]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map", {})


def check_named_files(folder: Path, auto_classes: set[str]) -> None:
    """The config names code for these Auto classes, and the files lie beside it."""
    assert set(named(folder)) == auto_classes
    for name in named(folder).values():
        assert (folder / f"{name.split('.')[0]}.py").is_file(), name


MODULE = """
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification


class MyConfig(HyperSETConfig):
    pass


class MyModel(HyperSETForImageClassification):
    config_class = MyConfig
"""

LOAD = """
import sys
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
print(type(model).__name__, type(model.config).__name__)
"""


@pytest.mark.parametrize("own_config", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_subclass_of_a_users_module(own_config, tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_module

    fields = make_model("image-classification").config.to_dict()
    config = (my_module.MyConfig if own_config else HyperSETConfig).from_dict(fields)
    my_module.MyModel(config).save_pretrained(tmp_path / "saved")
    check_named_files(tmp_path / "saved", {"AutoConfig", "AutoModelForImageClassification"})
    assert named(tmp_path / "saved")["AutoModelForImageClassification"] == "my_module.MyModel"
    sys.modules.pop("my_module")
    if own_config:  # in a process without the module
        command = [sys.executable, "-c", LOAD, str(tmp_path / "saved")]
        environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
        output = subprocess.run(command, env=environment, cwd=tmp_path, text=True, capture_output=True, check=False)
        assert output.stdout.split() == ["MyModel", "MyConfig"], output.stderr


def test_a_subclass_of_a_session_names_no_code_of_models(tmp_path):
    class_of_session = type("Mine", (HyperSETForImageClassification,), {"__module__": "__main__"})
    class_of_session(make_model("image-classification").config).save_pretrained(tmp_path)
    check_named_files(tmp_path, {"AutoConfig"})


def test_images_by_position(tmp_path):
    make_model("image-classification").save_pretrained(tmp_path)
    model, images = AutoModel.from_pretrained(tmp_path), make_inputs("image-classification")["pixel_values"]
    expected = model(pixel_values=images).last_hidden_state
    assert torch.equal(model(images).last_hidden_state, expected)
    assert torch.equal(model(images, None, None).last_hidden_state, expected)
    for arguments, keywords in (((), {"input_ids": images}), ((images.long(),), {})):
        with pytest.raises(ValueError, match="pixel_values"):
            model(*arguments, **keywords)


def test_adapters_added_to_a_checkpoint_start_at_zero(tmp_path):
    model, images = make_model("image-classification").eval(), make_inputs("image-classification")["pixel_values"]
    model.save_pretrained(tmp_path)
    old = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    expected = model(images).logits

    def load(**fields):
        return AutoModelForImageClassification.from_pretrained(tmp_path, lora_rank=2, **fields)

    added = load()
    assert torch.equal(added(images).logits, expected)
    assert added.hyperset.lora.bases_a.std() > 0.01 and added.config.lora_init is None
    assert not torch.equal(load(lora_init="normal")(images).logits, expected)
    assert HyperSETModel(added.config).lora.bases_b.std() > 0.01  # a new model: as in the paper
    added.hyperset.lora.bases_b.data.normal_()
    added.save_pretrained(tmp_path / "trained")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "trained")
    assert torch.equal(again(images).logits, added(images).logits)
    # Version 0.1 wrote its default into every config.
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        old.pop(name)
    (tmp_path / "config.json").write_text(json.dumps(old | {"lora_init": "normal"}), encoding="utf-8")
    assert torch.equal(load()(images).logits, expected)
