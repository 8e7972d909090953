# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a user of transformers expects of any model."""

import copy
import json
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.auto.image_processing_auto import AutoImageProcessor

import transformers
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification, HyperSETModel
from modeling_hyperset.modeling_hyperset import AUTO_CLASSES
from support.builders import AUTO_OF_CASE, CASES, HEADS, main_output, make_config, make_inputs, make_model
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    Trainer,
    TrainingArguments,
    ViTImageProcessorPil,
)


def fields_of(config) -> dict:
    """What a config says, but for where it and its code came from."""
    return {name: value for name, value in config.to_dict().items() if name not in ("_name_or_path", "auto_map")}


@pytest.mark.parametrize("case", CASES)
def test_save_and_load_bit_exact(case, tmp_path):
    model, inputs = make_model(case), make_inputs(case)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file() and not list(tmp_path.glob("*.bin"))
    for loaded in (
        type(model).from_pretrained(tmp_path),
        getattr(transformers, AUTO_OF_CASE[case]).from_pretrained(tmp_path),
    ):
        assert type(loaded) is type(model) and not loaded.training
        assert fields_of(loaded.config) == fields_of(model.config)
        weights, expected = loaded.state_dict(), model.state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
        with torch.no_grad():
            assert torch.equal(main_output(loaded(**inputs)), main_output(model(**inputs)))


@pytest.mark.parametrize("case", CASES)
def test_from_config(case):
    model = make_model(case)
    made = getattr(transformers, AUTO_OF_CASE[case]).from_config(model.config)
    assert type(made) is type(model)


def test_base_model_of_a_head(tmp_path):
    """A head's checkpoint loads into the base model, and a base model's into a head (which is new)."""
    head, inputs = make_model("image-classification"), make_inputs("images")
    head.save_pretrained(tmp_path / "head")
    base = AutoModel.from_pretrained(tmp_path / "head")
    assert torch.equal(base(**inputs).pooler_output, head.hyperset(**inputs).pooler_output)
    base.save_pretrained(tmp_path / "base")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "base")
    assert torch.equal(again.hyperset(**inputs).pooler_output, base(**inputs).pooler_output)


def test_fine_tuning_for_another_class_count(tmp_path):
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    model.save_pretrained(tmp_path)
    other = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True)
    assert other(**inputs).logits.shape == (2, 3)
    assert torch.equal(other.hyperset(**inputs).pooler_output, model.hyperset(**inputs).pooler_output)


def test_config_round_trip(tmp_path):
    labels = ["no", "yes", "maybe", "often", "never"]
    maps = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    config = make_config(vocab_size=7, rms_norm_eps=1e-6, **maps)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is HyperSETConfig and loaded.id2label == maps["id2label"] and loaded.num_labels == 5
    assert fields_of(loaded) == fields_of(config)


@pytest.mark.parametrize("case", CASES)
def test_return_dict_false(case):
    model, inputs = make_model(case), make_inputs(case)
    with torch.no_grad():
        outputs, values = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(values, tuple) and torch.equal(values[0], main_output(outputs))
    torch.testing.assert_close(
        model(**inputs, output_hidden_states=True)[0], values[0]
    )  # nothing recorded comes before it
    model.config.return_dict = False
    assert torch.equal(model(**inputs)[0], values[0])
    assert torch.equal(main_output(model(**inputs, return_dict=True)), values[0])


def test_outputs_asked_for_in_the_config():
    model, inputs = make_model("image-classification", output_energies=True), make_inputs("images")
    model.config.output_hidden_states = True
    outputs = model(**inputs)
    assert len(outputs.energies) == 3 and len(outputs.hidden_states) == 4 and outputs.attentions is None
    assert model(**inputs, output_energies=False).energies is None


@pytest.mark.parametrize("case", ["images", "sequence-classification"])
def test_hidden_states_of_chosen_iterations(case):
    model, inputs = make_model(case), make_inputs(case)
    everything = model(**inputs, num_iterations=5, output_hidden_states=True).hidden_states
    for asked, kept in (([0, -1], {0, 5}), (-2, {4}), ((3,), {3})):
        outputs = model(**inputs, num_iterations=5, output_hidden_states=asked)
        values = model(**inputs, num_iterations=5, output_hidden_states=asked, return_dict=False)
        assert type(outputs) is type(model(**inputs)) and isinstance(values, tuple)
        for states in (outputs.hidden_states, values[-1]):
            assert len(states) == 6 and {index for index, state in enumerate(states) if state is not None} == kept
            assert all(torch.equal(states[index], everything[index]) for index in kept)


def test_output_attentions_under_sdpa():
    """The weights are formed for the call that asks for them."""
    model, inputs = make_model("images"), make_inputs("images")
    expected = model(**inputs, output_attentions=True)
    model.set_attn_implementation("sdpa")
    outputs = model(**inputs, output_attentions=True)
    assert torch.equal(outputs.attentions[-1], expected.attentions[-1])


def test_attn_implementation(tmp_path):
    config = make_config()
    assert HyperSETModel(config).config._attn_implementation == "fused"
    assert AutoModel.from_config(make_config(), attn_implementation="sdpa").config._attn_implementation == "sdpa"
    for name in ("flash_attention_2", "flex_attention", "nonsense"):
        with pytest.raises((ValueError, ImportError), match=r"attn_implementation|flash|Flash"):
            AutoModel.from_config(make_config(), attn_implementation=name)
    HyperSETModel(config).save_pretrained(tmp_path)
    with_weights = AutoModel.from_pretrained(tmp_path, output_attentions=True)
    assert with_weights.config._attn_implementation == "eager"
    assert len(with_weights(**make_inputs("images")).attentions) == 3
    model = AutoModel.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    expected = AutoModel.from_pretrained(tmp_path)(**(inputs := make_inputs("images"))).last_hidden_state
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected)


def test_resize_token_embeddings():
    model, inputs = make_model("masked-lm"), make_inputs("masked-lm")
    logits = model(**inputs).logits
    model.resize_token_embeddings(25)
    assert model.config.vocab_size == 25
    resized = model(**inputs).logits
    assert resized.shape == (2, 16, 25)
    torch.testing.assert_close(resized[..., :20], logits)
    assert model(input_ids=torch.full((1, 4), 24)).logits.shape == (1, 4, 25)
    assert model.decoder.weight is model.get_input_embeddings().weight
    with pytest.raises(ValueError, match="codebook"):
        make_model("masked-codes").resize_token_embeddings(25)


def test_untied_decoder(tmp_path):
    model = make_model("masked-lm", tie_word_embeddings=False)
    assert model.decoder.weight is not model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.decoder.weight, model.decoder.weight)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")  # the newest name is not in 5.17
@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_per_iteration(case, use_reentrant):
    model, inputs = make_model(case, num_hidden_layers=2).train(), make_inputs(case, labels=True)
    calls = []
    for layer in model.hyperset.layers:
        layer.attention.register_forward_hook(lambda *_: calls.append(None))
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        model.zero_grad()
        calls.clear()
        model(**inputs).loss.backward()
        # Every one of 2 × 3 iterations is computed once more in the backward pass.
        assert len(calls) == (12 if checkpointing else 6)
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_dtype_of_from_pretrained(dtype, tmp_path):
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    model.save_pretrained(tmp_path)
    for argument in ("dtype", "torch_dtype"):
        loaded = AutoModelForImageClassification.from_pretrained(tmp_path, **{argument: dtype})
        assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
        outputs = loaded(**inputs, output_energies=True)  # float32 images are cast, as ViT does
        assert outputs.logits.dtype == dtype
        torch.testing.assert_close(outputs.logits.float(), model(**inputs).logits, rtol=0.1, atol=0.1)


@pytest.mark.skipif(
    torch.__version__.startswith("2.6."), reason="torch 2.6 traces no model of transformers 5 whole, ViT neither"
)
@pytest.mark.parametrize(
    ("case", "attn_implementation"),
    [
        ("image-classification", "fused"),
        *(
            pytest.param(case, name, marks=pytest.mark.slow)
            for case in ("image-classification", "sequence-classification", "masked-codes")
            for name in ("fused", "eager", "sdpa")
            if (case, name) != ("image-classification", "fused")
        ),
    ],
)
def test_compile_fullgraph(case, attn_implementation):
    """No graph break, forward and backward; `aot_eager` traces what inductor would compile."""
    torch.compiler.reset()
    model = make_model(case, num_hidden_layers=2, num_iterations=2)
    inputs = make_inputs(case, labels=True)
    model.set_attn_implementation(attn_implementation)
    if "input_ids" in inputs:
        mask = torch.ones(2, 16, dtype=torch.long)
        mask[0, 9:] = 0
        if case != "masked-codes":
            inputs["attention_mask"] = mask
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    outputs, expected = compiled(**inputs), model(**inputs)
    torch.testing.assert_close(outputs.loss, expected.loss)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for gradient, wanted in zip(
        torch.autograd.grad(outputs.loss, parameters), torch.autograd.grad(expected.loss, parameters), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compile_with_inductor():
    torch.compiler.reset()
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    with torch.no_grad():
        outputs = torch.compile(model, fullgraph=True)(**inputs, num_iterations=2)
        torch.testing.assert_close(outputs.logits, model(**inputs, num_iterations=2).logits, rtol=1e-4, atol=1e-5)


def test_threads_do_not_disturb_each_other():
    model, inputs = make_model("image-classification"), make_inputs("image-classification")
    expected = {depth: model(**inputs, num_iterations=depth, output_energies=True) for depth in range(1, 9)}
    results = {}

    def work(depth):
        results[depth] = model(**inputs, num_iterations=depth, output_energies=True)

    threads = [threading.Thread(target=work, args=(depth,)) for depth in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for depth, outputs in expected.items():
        assert torch.equal(results[depth].logits, outputs.logits) and len(results[depth].energies) == depth


def test_image_processor_is_found(tmp_path):
    """Saved beside a model it is found."""
    model = make_model("image-classification")
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    batch = processor(torch.randint(0, 255, (3, 40, 30), dtype=torch.uint8).numpy(), return_tensors="pt")
    assert model(**batch).logits.shape == (1, 5)


def test_tokenizer_is_found(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    vocabulary = {word: index for index, word in enumerate(words)}
    model = make_model("sequence-classification", vocab_size=len(words))
    model.save_pretrained(tmp_path)
    BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(["good film", "bad"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[2, 5, 7, 3], [2, 6, 3, 0]]
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    alone = loaded(**tokenizer(["bad"], return_tensors="pt")).logits
    torch.testing.assert_close(loaded(**batch).logits[1:], alone, rtol=1e-4, atol=1e-5)


REMOTE = """
import sys
import torch, transformers

try:
    import modeling_hyperset
    sys.exit("the package is installed here")
except ImportError:
    pass
for word in sys.argv[1:]:
    folder, auto = word.split("=")
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
    inputs, expected, adaptive = torch.load(f"{folder}/inputs.pt", weights_only=True)
    with torch.no_grad():
        outputs = model(**inputs, output_energies=True, return_dict=False)
        # Where weights lie in memory, and the number of threads, decide how kernels round.
        torch.testing.assert_close(outputs, expected)
        torch.testing.assert_close(model(**inputs, energy_tolerance=0.02, return_dict=False), adaptive)
    # What was loaded so can be trained, saved and loaded once more.
    model.save_pretrained(f"{folder}/again")
    again = getattr(transformers, auto).from_pretrained(f"{folder}/again", trust_remote_code=True)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
    print("same")
"""


@pytest.mark.slow
def test_remote_code(tmp_path):
    """Saved folders compute the same in a process that cannot import the package."""
    words = []
    for case in ("image-classification", "sequence-classification", "masked-codes"):
        model, inputs, folder = make_model(case), make_inputs(case), tmp_path / case
        model.save_pretrained(folder)
        auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
        assert set(auto_map) == {"AutoConfig", *AUTO_CLASSES}
        with torch.no_grad():
            outputs = model(**inputs, output_energies=True, return_dict=False)
            adaptive = model(**inputs, energy_tolerance=0.02, return_dict=False)
        torch.save((inputs, outputs, adaptive), folder / "inputs.pt")
        words.append(f"{folder}={AUTO_OF_CASE[case]}")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # An import of this name finds a module that refuses, wherever the package is installed.
    (hidden / "modeling_hyperset.py").write_text("raise ImportError('hidden for this test')\n")
    environment = {"PYTHONPATH": str(hidden), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    finished = subprocess.run(
        [sys.executable, "-c", REMOTE, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0 and finished.stdout.split() == ["same"] * 3, finished.stderr


def test_a_config_saved_by_itself_claims_no_code_of_models(tmp_path):
    model = make_model("images")
    model.save_pretrained(tmp_path / "model")
    model.config.save_pretrained(tmp_path / "config")
    assert set(json.loads((tmp_path / "config" / "config.json").read_text())["auto_map"]) == {"AutoConfig"}


class Rows(torch.utils.data.Dataset):
    """Samples of a batch, one by one."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __len__(self):
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, index):
        return {name: value[index] for name, value in self.inputs.items()}


def trainer(model, inputs, folder, **arguments):
    """A Trainer on one batch of inputs."""
    defaults = {
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
        "max_grad_norm": 1e9,
    }
    arguments = TrainingArguments(output_dir=str(folder), **(defaults | arguments))
    return Trainer(model=model, args=arguments, train_dataset=Rows(inputs), eval_dataset=Rows(inputs))


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize("problem_type", [None, "regression", "multi_label_classification", "tokens"])
def test_accumulated_gradients_are_those_of_the_whole_batch(problem_type, tmp_path):
    """Trainer on 8 samples at once, and on 4 × 2 of them."""
    case = "token-classification" if problem_type == "tokens" else "image-classification"
    fields = {"problem_type": problem_type} if problem_type not in (None, "tokens") else {}
    inputs = make_inputs(case, batch_size=8, labels=True)
    if problem_type == "tokens":
        inputs["labels"][:3, 4:] = -100  # batches with unequal numbers of labels
    elif problem_type == "regression":
        fields["num_labels"] = 1
        inputs["labels"] = torch.randn(8)
    elif problem_type is not None:
        inputs["labels"] = torch.randint(0, 2, (8, 5)).float()
    weights, losses = [], []
    start = make_model(case, **fields)
    for batch_size, steps in ((8, 1), (2, 4)):
        model = copy.deepcopy(start)
        batches = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps}
        result = trainer(model, inputs, tmp_path, max_steps=1, optim="sgd", learning_rate=0.1, **batches).train()
        weights.append(model.state_dict())
        losses.append(result.training_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.filterwarnings("ignore:'pin_memory'")
def test_trainer_predicts_logits_whatever_the_config_returns(tmp_path):
    model = make_model(
        "image-classification", output_energies=True, output_hidden_states=True, output_attentions=False
    )
    inputs = make_inputs("image-classification", batch_size=6, labels=True)
    prediction = trainer(model, inputs, tmp_path, per_device_eval_batch_size=4).predict(Rows(inputs))
    expected = model(**inputs).logits.detach().numpy()
    assert prediction.predictions.shape == (6, 5)
    assert prediction.predictions == pytest.approx(expected, abs=1e-4)


def test_saved_weights_are_only_the_parameters(tmp_path):
    """Fixed positions are computed, not stored."""
    model = make_model("image-classification")
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == {name for name, _ in model.named_parameters()}


@pytest.mark.slow
def test_import_brings_no_packages_that_transformers_does_not():
    """Importing the package loads nothing that only training or drawing needs."""
    code = """
import sys
from transformers import ViTModel
before = {name.split(".")[0] for name in sys.modules}
import modeling_hyperset
print(*{name.split(".")[0] for name in sys.modules} - before)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["modeling_hyperset"]


def test_identical_seeds_give_identical_weights():
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(HyperSETForImageClassification(make_config()).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("case", ["image-classification", "sequence-classification"])
def test_device_map(case, tmp_path):
    """Placed by accelerate, whose hooks sit on the modules' forward."""
    model, inputs = make_model(case), make_inputs(case)
    model.save_pretrained(tmp_path)
    placed = getattr(transformers, AUTO_OF_CASE[case]).from_pretrained(tmp_path, device_map={"": "cpu"})
    torch.testing.assert_close(placed(**inputs).logits, model(**inputs).logits)
    calls = []
    placed.hyperset.embeddings.register_forward_hook(lambda *_: calls.append("embeddings"))
    placed.hyperset.layers[0].register_forward_hook(lambda *_: calls.append("layer"))
    placed(**inputs)
    assert calls == ["embeddings", "layer", "layer", "layer"]


def test_models_load_on_the_meta_device():
    with torch.device("meta"):
        model = HyperSETForImageClassification(make_config())
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
