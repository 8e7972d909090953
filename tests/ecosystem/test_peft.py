# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""PEFT's adapters on W and D act in both directions: they compute what the merged weight computes, value and gradient."""

import copy

import peft
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from sklearn.datasets import load_digits
from torch.func import functional_call
from torch.nn import functional as F
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.integrations import peft as transformers_peft
from transformers.utils import check_peft_version

from accelerate import cpu_offload, disk_offload
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification, projection_hyperset
from modeling_hyperset.projection_hyperset import LINEAR_TUNERS
from support.builders import HEADS, make_inputs, make_model
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments


W_AND_D = ["bases", "directions"]
pytestmark = [
    # PEFT compares the vocabulary with the config of the base model on the Hub, which a model of the tests does not have.
    pytest.mark.filterwarnings("ignore:Could not find a config file"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing_.*able` is deprecated"),
]


def lora(**fields) -> LoraConfig:
    return LoraConfig(**({"r": 4, "lora_alpha": 6, "target_modules": W_AND_D} | fields))


def plain(case: str = "image-classification", **fields):
    """A small model; the same one every time."""
    torch.manual_seed(0)
    return make_model(case, **fields)


def adapted(case: str = "image-classification", config: peft.PeftConfig | None = None, **fields) -> PeftModel:
    """A small model with an adapter whose weights are all random, in evaluation mode."""
    return wake_adapters(get_peft_model(plain(case, **fields), config or lora())).eval()


def wake_adapters(model: PeftModel, seed: int = 2) -> PeftModel:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return model


def first(outputs) -> torch.Tensor:
    """The logits, or the reconstruction."""
    return outputs.reconstruction if outputs.get("logits") is None else outputs.logits


def merged(model: PeftModel):
    """The plain model that PEFT's own merging makes of `model`, which stays as it is."""
    return copy.deepcopy(model).merge_and_unload()


@pytest.mark.parametrize("case", HEADS)
def test_value_and_gradient_are_those_of_the_merged_weight(case):
    """In double precision: gradients of hundreds differ by rounding otherwise, by how much is the processor's affair."""
    model = adapted(case).double()
    inputs = {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in make_inputs(case).items()
    }
    outputs = model(**inputs, output_energies=True)
    first(outputs).square().sum().backward()
    expected = merged(model)(**inputs, output_energies=True)
    torch.testing.assert_close(first(outputs), first(expected))
    for energies, wanted in zip(outputs.energies, expected.energies, strict=True):
        torch.testing.assert_close(energies, wanted)

    # The gradient of W + 6/4 B A, W and D being tensors of a plain model.
    model_of_weights = plain(case).double()
    factors, weights = {}, {}
    for name, parameter in model.base_model.model.named_parameters():
        if ".lora_" in name:
            factors[name] = parameter.detach().clone().requires_grad_()
    for name, parameter in model_of_weights.named_parameters():
        prefix = name.removesuffix("weight")
        if f"{prefix}lora_A.default.weight" in factors:
            b, a = (factors[f"{prefix}lora_{side}.default.weight"] for side in "BA")
            weights[name] = parameter.detach() + 6 / 4 * b @ a
    assert len(weights) == 2
    first(functional_call(model_of_weights, weights, kwargs=inputs)).square().sum().backward()
    for name, parameter in model.base_model.model.named_parameters():
        assert parameter.requires_grad == (name in factors)
        if name in factors:
            assert parameter.grad.abs().max() > 0
            torch.testing.assert_close(parameter.grad, factors[name].grad, msg=name)


ADAPTERS = {
    "rslora": lora(use_rslora=True),
    "dora": lora(use_dora=True),
    "pissa": lora(init_lora_weights="pissa"),
    "olora": lora(init_lora_weights="olora"),
    "parameters": lora(target_modules=[], target_parameters=["bases.weight", "directions.weight"]),
    "all-linear": lora(target_modules="all-linear"),
    "adalora": peft.AdaLoraConfig(total_step=10, target_modules=W_AND_D),
    "boft": peft.BOFTConfig(boft_block_size=4, target_modules=W_AND_D),
    "hra": peft.HRAConfig(target_modules=W_AND_D),
    "ia3": peft.IA3Config(feedforward_modules=["directions"], target_modules=W_AND_D),
    "loha": peft.LoHaConfig(target_modules=W_AND_D),
    "lokr": peft.LoKrConfig(target_modules=W_AND_D),
    "oft": peft.OFTConfig(oft_block_size=8, target_modules=W_AND_D),
    "vera": peft.VeraConfig(r=16, target_modules=W_AND_D),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_other_adapters_act_in_both_directions(name, tmp_path):
    model, inputs = adapted(config=copy.deepcopy(ADAPTERS[name])), make_inputs("image-classification")
    base = plain()(**inputs).logits
    logits = model(**inputs).logits
    assert (logits - base).abs().max() > 1e-3
    torch.testing.assert_close(merged(model)(**inputs).logits, logits, rtol=1e-4, atol=1e-4)
    logits.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(plain(), tmp_path)
    torch.testing.assert_close(loaded(**inputs).logits, logits)


def test_every_linear_tuner_is_tried():
    kinds = {copy.deepcopy(config).peft_type.value.lower() for config in ADAPTERS.values()}
    assert kinds == LINEAR_TUNERS


@pytest.mark.parametrize(
    "fields", [{"layer_type": "crate"}, {"layer_type": "energy_transformer"}], ids=lambda fields: fields["layer_type"]
)
def test_baselines_that_use_a_weight_in_both_directions(fields):
    target = {"crate": ["dictionary"], "energy_transformer": ["q_proj", "k_proj", "memories"]}[fields["layer_type"]]
    model = adapted(config=lora(target_modules=target), **fields)
    inputs = make_inputs("image-classification")
    torch.testing.assert_close(merged(model)(**inputs).logits, model(**inputs).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        lora(lora_bias=True),  # an offset, which is no weight
        lora(init_lora_weights="mica"),
        peft.LilyConfig(target_modules=W_AND_D),
        peft.BeftConfig(target_modules=W_AND_D),
        peft.LNTuningConfig(target_modules=["qkv_norms.0"]),  # its gain would be left out
    ],
    ids=["lora_bias", "variant", "lily", "beft", "ln_tuning"],
)
@pytest.mark.filterwarnings("ignore:.*lora_bias")
def test_what_is_no_weight_is_refused(config):
    with pytest.raises(TypeError, match=r"both directions|RMSNorm"):
        adapted(config=config)(**make_inputs("image-classification"))


# Life with adapters


def test_merge_unmerge_and_disable():
    model, inputs = adapted(), make_inputs("image-classification")
    base, logits = plain()(**inputs).logits, model(**inputs).logits
    model.merge_adapter()
    torch.testing.assert_close(model(**inputs).logits, logits)
    model.unmerge_adapter()
    torch.testing.assert_close(model(**inputs).logits, logits)
    with model.disable_adapter():
        torch.testing.assert_close(model(**inputs).logits, base)
    torch.testing.assert_close(model.unload()(**inputs).logits, base)


def test_several_adapters():
    model, inputs = adapted(), make_inputs("image-classification")
    logits = {"default": model(**inputs).logits}
    model.add_adapter("second", lora(r=2, lora_alpha=3))
    model.set_adapter("second")
    logits["second"] = wake_adapters(model, seed=3)(**inputs).logits
    assert (logits["second"] - logits["default"]).abs().max() > 1e-2
    model.set_adapter("default")
    torch.testing.assert_close(model(**inputs).logits, logits["default"])

    model.add_weighted_adapter(["default", "second"], [0.7, 0.4], "both", combination_type="cat")
    model.set_adapter("both")
    projection = model.base_model.model.hyperset.layers[0].attention.bases
    delta = 0.7 * projection.get_delta_weight("default") + 0.4 * projection.get_delta_weight("second")
    torch.testing.assert_close(projection.get_delta_weight("both"), delta)
    torch.testing.assert_close(merged(model)(**inputs).logits, model(**inputs).logits)

    model.base_model.set_adapter(["default", "second"])
    torch.testing.assert_close(merged(model)(**inputs).logits, model(**inputs).logits)
    assert (model(**inputs).logits - logits["default"]).abs().max() > 1e-2

    # A row of its own adapter each is PEFT's for layers of one direction; alone it works, together it is an error.
    one = {"pixel_values": inputs["pixel_values"][:1]}
    torch.testing.assert_close(
        model(**one, adapter_names=["second"]).logits, logits["second"][:1], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="adapter_names"):
        copy.deepcopy(model)(**inputs, adapter_names=["default", "second"])
    model.delete_adapter("second")
    model.set_adapter("default")
    torch.testing.assert_close(model(**inputs).logits, logits["default"])


def test_dropout_takes_one_mask_for_all_tokens_and_both_directions():
    model = adapted(config=lora(lora_dropout=0.5))
    inputs = make_inputs("image-classification")
    logits = model(**inputs).logits
    torch.testing.assert_close(merged(model)(**inputs).logits, logits)
    model.train()
    assert (model(**inputs).logits - logits).abs().max() > 1e-3
    feedforward = model.base_model.model.hyperset.layers[0].feedforward
    hidden = torch.randn(2, 9, 32)
    torch.manual_seed(1)
    direction = feedforward(hidden)
    torch.manual_seed(1)
    mask = F.dropout(torch.eye(32)[None], 0.5)[0]
    layer, a, b = (
        feedforward.directions,
        *(getattr(feedforward.directions, f"lora_{side}")["default"].weight for side in "AB"),
    )
    weight = layer.base_layer.weight + 6 / 4 * b @ a @ mask
    expected = feedforward.energy.direction(feedforward.norm(hidden @ weight.T)) @ weight
    torch.testing.assert_close(direction, expected)


def test_beside_depthwise_lora():
    model = adapted(lora_rank=2)
    inputs = make_inputs("image-classification")
    torch.testing.assert_close(merged(model)(**inputs).logits, model(**inputs).logits)
    model = adapted(lora_rank=2, num_iterations=1)
    logits = model(**inputs).logits
    with pytest.raises(ValueError, match="merge_and_unload"):
        model.base_model.model.merge_adapters()
    model = merged(model)
    model.merge_adapters()
    torch.testing.assert_close(model(**inputs).logits, logits)


class TestOfAnUntrainedModel:
    """Its step sizes are zero, so W and D have no effect."""

    def train(self, monkeypatch, **fields) -> tuple[PeftModel, list[str]]:
        warnings: list[str] = []
        monkeypatch.setattr(projection_hyperset.logger, "warning", warnings.append)
        model = get_peft_model(HyperSETForImageClassification(plain().config), lora(**fields)).train()
        optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1.0)
        for _ in range(2):
            model(**make_inputs("image-classification", labels=True)).loss.backward()
            optimizer.step()
        return model, warnings

    def test_adapters_that_train_nothing_are_reported(self, monkeypatch):
        model, warnings = self.train(monkeypatch)
        assert len(warnings) == 1 and "step_sizes.0" in warnings[0]
        assert not any(parameter.any() for name, parameter in model.named_parameters() if ".lora_B." in name)

    def test_with_step_sizes_they_train(self, monkeypatch):
        model, warnings = self.train(monkeypatch, modules_to_save=["step_sizes.0"])
        assert not warnings
        assert all(parameter.any() for name, parameter in model.named_parameters() if ".lora_B." in name)

    def test_dora_of_zeros_is_refused(self, monkeypatch):
        with pytest.raises(ValueError, match=r"DoRA.*'step_sizes.0.projection' has rows of zeros"):
            self.train(monkeypatch, target_modules="all-linear", use_dora=True)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    inputs = make_inputs("image-classification", labels=True)
    gradients = []
    for checkpointing in (False, True):
        model = plain()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        model = wake_adapters(get_peft_model(model, lora(lora_dropout=0.2))).train()
        torch.manual_seed(0)
        model(**inputs).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.requires_grad})
    assert len(gradients[0]) == 4
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("autocast", [False, True], ids=["weights", "autocast"])
def test_bfloat16(autocast):
    """As exact as the merged model: the weight is rounded once, after the adapter, whose own weights stay in float32."""
    model = wake_adapters(get_peft_model(plain() if autocast else plain().bfloat16(), lora())).eval()
    inputs = {"pixel_values": make_inputs("image-classification")["pixel_values"].to(model.dtype)}
    layer = model.base_model.model.hyperset.layers[0].attention.bases
    assert layer.lora_A["default"].weight.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(**inputs).logits
        torch.testing.assert_close(merged(model)(**inputs).logits, logits, rtol=2e-2, atol=2e-2)
    logits.sum().backward()
    assert layer.lora_A["default"].weight.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 traces no model of transformers 5 whole")
def test_compiles_whole():
    torch.compiler.reset()
    model, inputs = adapted(), make_inputs("image-classification")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**inputs).logits, model(**inputs).logits)


def test_modules_to_save(tmp_path):
    """The head, the step sizes, and W itself trained whole beside an adapter of D."""
    saved = ["classifier", "step_sizes.0", "bases", "qkv_norms.0"]
    model = adapted(config=lora(target_modules=["directions"], modules_to_save=saved))
    inputs = make_inputs("image-classification")
    logits = model(**inputs).logits
    assert (plain()(**inputs).logits - logits).abs().max() > 1e-2
    logits.sum().backward()
    trained = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    assert {name for name in saved if not any(f"{name}.modules_to_save" in key for key in trained)} == set()
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in trained.values())
    torch.testing.assert_close(merged(model)(**inputs).logits, logits)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(plain(), tmp_path)
    torch.testing.assert_close(loaded(**inputs).logits, logits)


@pytest.mark.parametrize(
    "fields",
    [{"target_modules": [*W_AND_D, "token_embeddings"]}, {"trainable_token_indices": {"token_embeddings": [3, 5]}}],
)
def test_embeddings_of_tokens(fields):
    model = adapted("masked-lm", lora(**fields), tie_word_embeddings=False)
    inputs = make_inputs("masked-lm")
    logits = model(**inputs).logits
    assert (plain("masked-lm", tie_word_embeddings=False)(**inputs).logits - logits).abs().max() > 1e-2
    torch.testing.assert_close(merged(model)(**inputs).logits, logits, rtol=1e-4, atol=1e-4)
    logits.square().sum().backward()
    trained = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    assert any(".token_embeddings." in name for name in trained)
    assert all(gradient.abs().max() > 0 for gradient in trained.values())
    with pytest.raises(ValueError, match=r"input_ids.*vocab_size=20"):
        model(input_ids=torch.full((1, 3), 20))


def test_offloaded_weights(tmp_path):
    """Base and adapter come from the processor, or the disk, when they are used."""
    inputs = make_inputs("image-classification")
    for offload in (cpu_offload, lambda model: disk_offload(model, tmp_path)):
        model = adapted()
        with torch.no_grad():
            outputs = model(**inputs, output_energies=True)
            offload(model)
            assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
            again = model(**inputs, output_energies=True)
        torch.testing.assert_close(again.logits, outputs.logits)
        torch.testing.assert_close(again.energies, outputs.energies)


@pytest.mark.parametrize(
    ("case", "task"),
    [
        ("sequence-classification", "SEQ_CLS"),
        ("token-classification", "TOKEN_CLS"),
        ("tokens", "FEATURE_EXTRACTION"),
    ],
)
def test_task_types(case, task):
    model = adapted(case, lora(task_type=task))
    inputs = make_inputs(case, labels=case != "tokens")
    inputs.pop("bool_masked_pos", None)
    inputs["attention_mask"] = torch.ones(2, 16, dtype=torch.long)
    outputs = model(**inputs)
    torch.testing.assert_close(merged(model)(**inputs)[1], outputs[1], rtol=1e-4, atol=1e-5)
    trainable = {name.split(".")[-3] for name, value in model.named_parameters() if value.requires_grad}
    assert ("modules_to_save" in trainable) == (task != "FEATURE_EXTRACTION")


def takes_this_peft() -> bool:
    """Whether transformers' own methods work with the PEFT that is installed: 5.24 asks for one that is not published yet."""
    try:
        check_peft_version(min_version=transformers_peft.MIN_PEFT_VERSION)
    except ValueError:
        return False
    return True


@pytest.mark.skipif(not takes_this_peft(), reason="this transformers asks for a newer PEFT than the one installed")
def test_adapters_of_transformers_own_methods(tmp_path):
    """`add_adapter` and `load_adapter` of the model itself, and an adapter's folder where a model's is expected."""
    inputs = make_inputs("image-classification")
    plain().save_pretrained(tmp_path / "base")
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "base")
    base = model(**inputs).logits
    model.add_adapter(lora())
    logits = wake_adapters(model).eval()(**inputs).logits
    assert (logits - base).abs().max() > 1e-2
    model.disable_adapters()
    torch.testing.assert_close(model(**inputs).logits, base)
    model.enable_adapters()
    model.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "base")
    again.load_adapter(str(tmp_path / "adapter"))
    torch.testing.assert_close(again(**inputs).logits, logits)
    whole = AutoModelForImageClassification.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(whole(**inputs).logits, logits)


def test_remote_code(tmp_path):
    """An adapter on a checkpoint that brings its code."""
    inputs, model = make_inputs("image-classification"), adapted()
    logits = model(**inputs).logits
    plain().save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    name = "modeling_hyperset.HyperSETForImageClassification"
    remote = get_class_from_dynamic_module(name, str(tmp_path / "base")).from_pretrained(tmp_path / "base")
    assert type(remote).__module__.startswith("transformers_modules")
    loaded = PeftModel.from_pretrained(remote, tmp_path / "adapter")
    torch.testing.assert_close(loaded(**inputs).logits, logits)
    torch.testing.assert_close(loaded.merge_and_unload()(**inputs).logits, logits)


class Digits:
    """A classifier of the digits 0 to 4 that learns 5 to 9 through LoRA and a head of its own, with Trainer."""

    def __init__(self, folder, steps: int):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
        self.images, self.labels = F.interpolate(images, size=16), torch.tensor(digits.target)
        self.folder, self.steps = folder, steps

    def train(self, model, chosen, name) -> Trainer:
        data = {"pixel_values": self.images[chosen].numpy(), "labels": self.labels[chosen].numpy() % 5}
        arguments = TrainingArguments(
            output_dir=str(self.folder / name),
            max_steps=self.steps,
            per_device_train_batch_size=64,
            learning_rate=5e-3,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict(data).with_format("torch"))
        trainer.train()
        return trainer

    @torch.no_grad()
    def accuracy(self, model, chosen) -> float:
        guesses = model.eval()(pixel_values=self.images[chosen]).logits.argmax(-1)
        return (guesses == self.labels[chosen] % 5).float().mean().item()

    def run(self) -> tuple[float, float]:
        """The accuracy on 5 to 9 before and after; the adapter that was saved is the one that was trained."""
        low, high = self.labels < 5, self.labels >= 5
        sizes = {"image_size": 16, "patch_size": 4, "num_channels": 1, "hidden_size": 48, "num_attention_heads": 4}
        config = HyperSETConfig(**sizes, num_iterations=4, initializer_range=0.1, num_labels=5)
        base = HyperSETForImageClassification(config)
        self.train(base, low, "base")
        before = self.accuracy(base, high)
        base.save_pretrained(self.folder / "base")
        base = AutoModelForImageClassification.from_pretrained(self.folder / "base")
        model = get_peft_model(base, lora(modules_to_save=["classifier"], lora_dropout=0.05))
        self.train(model, high, "adapter").save_model(str(self.folder / "adapter"))
        files = {path.name for path in (self.folder / "adapter").iterdir()}
        assert "adapter_model.safetensors" in files and "model.safetensors" not in files

        base = AutoModelForImageClassification.from_pretrained(self.folder / "base")
        loaded = PeftModel.from_pretrained(base, self.folder / "adapter")
        after = self.accuracy(model, high)
        with torch.no_grad():
            logits = model(pixel_values=self.images[:32]).logits
            assert torch.equal(loaded(pixel_values=self.images[:32]).logits, logits)
            merged = loaded.merge_and_unload()(pixel_values=self.images[:32]).logits
        torch.testing.assert_close(merged, logits, rtol=1e-3, atol=1e-3)
        return before, after


def test_trainer(tmp_path):
    Digits(tmp_path, steps=4).run()


@pytest.mark.slow
def test_fine_tuning_learns(tmp_path):
    before, after = Digits(tmp_path, steps=60).run()
    assert after > before + 0.05  # 18 % and 31 %, far from converged
