# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Hyper-SET configuration: its fields and their checks. It imports nothing from the model."""

import difflib
import functools
import inspect
import json
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.dataclasses import strict, validated_field
from huggingface_hub.errors import StrictDataclassError
from transformers.backbone_utils import BackboneConfigMixin

from transformers import PreTrainedConfig


# Larger sizes are mistakes: a square matrix this wide would take 10¹⁵ bytes.
LARGEST_SIZE = 2**24
LARGEST_STEP = 65504.0  # the largest number in float16

BaselineType = Literal["transformer", "shared_qkv_transformer", "crate", "crate_t", "energy_transformer"]
SiblingType = Literal["yuriiformer", "cem", "nrgpt"]
LayerType = Literal["hyperset", BaselineType, SiblingType]
# Default ratio of `intermediate_size` to `hidden_size`. It is 1 for all other layers.
EXPANSION = dict.fromkeys(
    ("transformer", "shared_qkv_transformer", "energy_transformer", "yuriiformer", "cem", "nrgpt"), 4
)
HAVE_ENERGIES = ("hyperset", "energy_transformer", "cem", "nrgpt")
# Fields that only one layer reads. With another layer they keep their defaults.
OWN_FIELDS = {
    "yuriiformer": ("velocity_method", "velocity_splitting", "velocity_norm", "velocity_start"),
    "cem": ("inner_steps", "interaction_diagonal", "preconditioner_rank"),
}

PhiName = Literal["sigmoid", "relu", "tanh", "softplus", "silu", "gelu", "elu", "elu_plus_one"]


def within(low: float, high: float, default: Any, ends: str = "[]") -> Any:
    """A field with a value from `low` to `high`, or `None` if its type allows it. `ends` "[" or "]" allow the bound itself."""

    def check(value: float | None) -> None:
        if value is None:
            return
        above = low <= value if ends[0] == "[" else low < value
        below = value <= high if ends[1] == "]" else value < high
        if not (above and below):
            raise ValueError(f"must lie in {ends[0]}{low}, {high}{ends[1]}, got {value}.")

    return validated_field(check, default=default)


def count(default: int | None) -> Any:
    """A field that counts something, at least 1."""
    return within(1, LARGEST_SIZE, default)


def epsilon(default: float | None) -> Any:
    """A field for the epsilon of a norm, at least about that of float64. Without it, the norm of a zero token is NaN."""
    return within(1e-16, 1.0, default)


def check_dtype(value: Any) -> None:
    """The `dtype` of a config: a floating dtype of torch, or the name of one."""
    given = getattr(torch, value, None) if isinstance(value, str) else value
    if value is not None and not (isinstance(given, torch.dtype) and given.is_floating_point):
        raise ValueError(f"must be a floating dtype of torch or the name of one, got {value!r}.")


def check_token_ids(value: int | list[int] | None) -> None:
    """A special token's id, or several. (Configs of other libraries have -1 for a token that does not exist.)"""
    ids = value if isinstance(value, list) else [value]
    if value == [] or any(token is not None and token < -1 for token in ids):
        raise ValueError(f"must be a token id or None, got {value}.")


def check_names(value: Mapping | None) -> None:
    """`id2label` or `label2id`: class numbers and names. Scripts that read labels from a table have numbers as names."""
    for item in () if value is None else (*value.keys(), *value.values()):
        if not isinstance(item, str | numbers.Real):
            raise ValueError(f"must map class numbers and names (text or numbers), got {item!r} in it.")


def is_beside(folder: str | os.PathLike, names: Any) -> bool:
    """Whether the files of the classes `names` (`"module.Class"`, or several) lie in `folder`."""
    names = names if isinstance(names, list | tuple) else [names]
    return all(name is None or Path(folder, f"{name.split('.')[0]}.py").is_file() for name in names)


def as_number(label: Any) -> Any:
    """The number of a class, which is text in JSON. Anything else stays as it is, and is refused later."""
    is_number = isinstance(label, numbers.Integral) or (isinstance(label, str) and label.isdecimal())
    return int(label) if is_number else label


class HyperSETConfigError(StrictDataclassError, ValueError):
    """A field has a wrong type or value, or fields do not fit together. (transformers' own error is not a `ValueError`.)"""


def raises_value_errors(config_class: type) -> type:
    """Decorator of a strict dataclass: all its checks, of new configs and of changed fields, raise a `ValueError`."""

    def converted(method):
        @functools.wraps(method)
        def wrapper(self, *args, **kwargs):
            try:
                return method(self, *args, **kwargs)
            except StrictDataclassError as error:
                if isinstance(error, ValueError):
                    raise
                cause = str(error.__cause__ or error)
                if method.__name__.endswith("setattr__"):  # name the field; other checks name theirs themselves
                    cause = f"`{args[0]}`{': ' if cause.startswith('Field') else ' '}{cause}"
                raise HyperSETConfigError(cause) from error

        return wrapper

    for name in ("__init__", "__setattr__", "validate"):
        setattr(config_class, name, converted(getattr(config_class, name)))
    return config_class


@raises_value_errors
@strict
class HyperSETConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    Configuration of a Hyper-SET model. `HyperSETConfig()` is the paper's base image classifier (Table 13: d = 768, H = 12; one
    layer iterated 12 times; 224-pixel images in 14-pixel patches). With a `vocab_size` the model takes token ids instead: text,
    Sudoku cells or VQ codes.

    Args:
        vocab_size (`int`, *optional*): Number of token ids. `None`: the model takes images. An `int`: the model takes
            `input_ids`. For masked image modeling of VQ codes it is the codebook size plus one, and the last id is the mask.
        image_size (`int` or pair of `int`, defaults to 224): Height and width of the images in pixels (image models only).
        patch_size (`int`, defaults to 14): Side of the square patches in pixels. (The authors' option `patch` counts patches
            per side: their 16 is 14 here.)
        num_channels (`int`, defaults to 3): Channels of the images.
        patch_embedding_norm (`bool`, *optional*): `True`: LayerNorm(patch) → Linear → LayerNorm, as in the authors' image
            models. `False`: the Linear alone. Default: `True` for Hyper-SET and `False` for the baselines, as in the paper's
            program.
        max_position_embeddings (`int`, defaults to 512): Longest sequence of token ids. With `"learned"` positions it is the
            size of their table. With `"sinusoidal_2d"` the tokens are a square grid of that many cells.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*): The special tokens of the tokenizer; `eos_token_id` can be
            a list. Trainer keeps them equal to those of its tokenizer. The models go by the `attention_mask`.
        position_embedding_type (`str`, defaults to `"sinusoidal"`): `"sinusoidal"` (one-dimensional, fixed), `"sinusoidal_2d"`
            (column then row, fixed), `"learned"`, or `"rotary"` (token models only): nothing is added to the tokens, and the
            attention energy sees R_i z_i. Its direction is the exact gradient: what the tokens attend to is turned by R_j, and
            the sum back by R_iᵀ.
        rope_parameters (`dict`, *optional*): The kind of rotary positions and its base, as everywhere in transformers. Default:
            `{"rope_type": "default", "rope_theta": 10000.0}`. `rope_theta=` alone sets the base.
        embedding_dropout (`float`, defaults to 0.0): Dropout on the sum of embeddings and positions.
        pooling (`str`, defaults to `"cls"`): `"cls"` reads the first token: a learned [CLS] in image models, the first id in
            token models. With a causal energy it reads the last token that is not padding. `"mean"` averages the tokens that
            are not padding. Image models then have no [CLS].
        norm_type (`str`, defaults to `"layernorm"`): Norm after the last iteration, and before the sublayers of the baselines:
            `"layernorm"` or `"rmsnorm"`.
        sublayer_norm_type (`str`, *optional*): Norm before the sublayers of the Transformers and of CRATE, where it differs
            from `norm_type`. For Hyper-SET it is the norm of the projections: `"rmsnorm"`, the default, or `"layernorm"`
            (Table 17).
        pre_norm (`bool`, defaults to `False`): `True`: Hyper-SET's norms act on the tokens before W and D, not on their
            projections (Table 17). A step then follows the gradient with respect to the normalised tokens, and no sphere holds
            the projections. The baselines have norms of their own there.
        prune_last_iteration (`bool`, defaults to `True`): Whether image and sequence classifiers with `pooling="cls"` compute
            only the token they read in the last iteration. The logits and gradients stay the same. It is off for calls that
            return hidden states, attentions or energies, and for the baselines.
        classifier_bias (`bool`, defaults to `True`): Whether the classification heads have a bias.
        layer_type (`str`, defaults to `"hyperset"`): The layer that is iterated: `"hyperset"`, or a baseline of the paper:
            `"transformer"`, `"shared_qkv_transformer"`, `"crate"`, `"crate_t"` or `"energy_transformer"`, or a sibling:
            `"yuriiformer"`, `"cem"` or `"nrgpt"`. Both ignore the fields about energies, step sizes, update rules and LoRA. But
            with a causal `attention_energy` their attention is causal too, and the siblings read `hidden_act`.
        hidden_size (`int`, defaults to 768): Width d of the tokens.
        num_hidden_layers (`int`, defaults to 1): Number of distinct layers, applied one after the other.
        num_iterations (`int`, defaults to 12): Iterations of each distinct layer. A call can ask for another number with
            `num_iterations=`.
        num_attention_heads (`int`, defaults to 12): Number of subspaces H; each has width p = d / H.
        intermediate_size (`int`, *optional*): Number of directions M of the feedforward energy, by default `hidden_size`. For
            the Transformers it is the width of the MLP, for the Energy Transformer the number of memories, by default four
            times `hidden_size`. CRATE ignores it.
        attention_energy (`str`, defaults to `"bi_softmax"`): The attention energy (Table 19): `"bi_softmax"`, `"sigmoid"`,
            `"linear"`, or your own that you registered. For models that write text: `"causal_softmax"` or `"causal_linear"`.
        attention_phi (`str`, defaults to `"sigmoid"`): Φ of the `"linear"` and `"causal_linear"` attention energies:
            `"sigmoid"`, `"relu"`, `"tanh"`, `"softplus"`, `"silu"`, `"gelu"`, `"elu"` or `"elu_plus_one"`.
        attention_beta (`float`, *optional*): Inverse temperature β of the attention energy; 1/√p if not given (Eq. 7). CEM and
            NRGPT read it too; for NRGPT, whose heads are as wide as the tokens, it is 1/√d if not given.
        feedforward_energy (`str`, defaults to `"relu"`): The feedforward energy (Table 20): `"relu"`, `"softmax"`, `"gated"`,
            or your own that you registered.
        feedforward_phi (`str`, defaults to `"sigmoid"`): Φ of the `"gated"` feedforward energy.
        hidden_act (`str`, defaults to `"gelu"`): Activation in the step of the `"relu"` feedforward energy. `"relu"` is the
            gradient of that energy (Eq. 10). The authors' image models use `"gelu"` instead. It is also the activation of the
            siblings. (The baselines have their own.)
        velocity_method (`str`, defaults to `"nesterov"`): How a YuriiFormer moves: `"nesterov"`, `"polyak"` (heavy ball) or
            `"gradient_descent"`, which has no velocity.
        velocity_splitting (`str`, defaults to `"lie_trotter"`): `"lie_trotter"`: a YuriiFormer takes a step of attention, then
            one of the MLP. `"euler"`: one step of both.
        velocity_norm (`bool`, defaults to `True`): Whether a YuriiFormer's velocity has a norm after each change.
        velocity_start (`str`, defaults to `"zeros"`): A YuriiFormer's velocity before the first layer: `"zeros"`, or
            `"embeddings"` of its own, as many parameters as the model's embeddings.
        inner_steps (`int`, defaults to 1): Steps T of a CEM on each of its two energies, with keys and gate held fixed.
        interaction_diagonal (`str`, defaults to `"none"`): The diagonal of a CEM's interaction: `"none"`, `"full"` (a diagonal
            matrix of width d beside each head's product of projections) or `"head"` (one of width p between them).
        preconditioner_rank (`int`, *optional*): Rank of the preconditioners of a CEM, beside their diagonal. 0: the diagonal
            alone. `None`: no preconditioners.
        shared_qkv_norm (`bool`, defaults to `False`): `True`: one RMSNorm gain for queries, keys and values, as in the authors'
            Sudoku and masked image models. `False`: one for each, as in their image classifiers.
        update_rule (`str`, defaults to `"gradient_descent"`): How descent directions become moves: `"gradient_descent"`,
            `"momentum"`, `"nesterov"`, `"rmsprop"`, `"rmsprop_momentum"`, `"adam"`, `"newton"` (attention energies that have
            weights), or your own that you registered.
        lora_rank (`int`, defaults to 0): Rank of the depth-wise LoRA of W and D, with adapters for each of the `num_iterations`
            (Table 5). 0: no adapters.
        lora_alpha (`float`, *optional*): The adapters are scaled by `lora_alpha / lora_rank`. Default: by 4, as in the paper.
        lora_init (`str`, *optional*): `"normal"`: both factors start from a normal distribution with standard deviation 0.02,
            as in the paper, which trains them together with the base. `"zeros"`: B starts at zero, so new adapters do not
            change the model. Default: `"normal"` in a new model, and `"zeros"` for adapters that `from_pretrained` adds to a
            checkpoint without them.
        step_size_type (`str`, defaults to `"learned"`): `"learned"` (Eq. 12) or `"fixed"`.
        step_size_attention (`float`, defaults to 0.1): α of every iteration when `step_size_type="fixed"`.
        step_size_feedforward (`float`, defaults to 0.1): γ of every iteration when `step_size_type="fixed"`.
        step_size_condition (`str`, defaults to `"current"`): Learned step sizes depend on the iteration and on the tokens:
            `"current"` X_t or `"initial"` X_0.
        step_size_time_dim (`int`, defaults to 512): Width of the sinusoidal code of the iteration index. Must equal
            `hidden_size` if `step_size_time_network="none"`.
        step_size_time_network (`str`, defaults to `"normed_mlp"`): Turns the code of t into e_t: `"normed_mlp"` (Linear,
            RMSNorm, GELU, RMSNorm, Linear, RMSNorm), `"mlp"` (Linear, GELU, Linear) or `"none"` (the code itself).
        step_size_time_init (`str`, defaults to `"normal"`): Start of the Linears of that network: `"normal"`, or `"zeros"` as
            in the authors' program. With zeros only the last bias ever gets a gradient, so step sizes never depend on t. This
            can help a model that runs deeper than it was trained, and the Sudoku presets use it. Both start as the identity on
            the tokens, because the last Linear of the step size starts at zero.
        step_size_token_norm (`bool`, defaults to `True`): Whether an RMSNorm is applied to the tokens before e_t is added.
        step_size_sum_norm (`bool`, defaults to `False`): Whether an RMSNorm is applied to that sum.
        step_size_per_layer (`bool`, defaults to `False`): Whether each distinct layer has its own norms and last Linear for its
            step sizes. All layers always share e_t.
        initializer_range (`float`, defaults to 0.02): Linears, Embeddings and learned positions start from a normal
            distribution with this standard deviation, at most 1.
        layer_norm_eps (`float`, defaults to 1e-5): Epsilon of the LayerNorms.
        rms_norm_eps (`float`, *optional*): Epsilon of the RMSNorms. `None`: the machine epsilon of the working
            dtype, but of float32 for half precision.
        tie_word_embeddings (`bool`, defaults to `True`): Whether the output layer of [`HyperSETForMaskedLM`] and of
            [`HyperSETForCausalLM`] shares the weight of the token embedding.
        use_cache (`bool`, defaults to `True`): Whether a causal model returns its cache (`past_key_values`). It does not while
            it is trained.
        energy_tolerance (`float`, *optional*): Adaptive depth: each sample (in a causal model each token) is iterated until its
            energy falls by no more than this share of itself, at least twice and at most `num_iterations` times. See
            `iteration_hyperset.py`. `None`: always `num_iterations` times.
        output_energies (`bool`, defaults to `False`): Whether every forward pass returns the energies after every iteration.
        out_features (`list[str]`, *optional*), out_indices (`list[int]`, *optional*): The feature maps of [`HyperSETBackbone`]
            (images only): names or indices of `stage_names`, in their order. Default: the last one.

    Raises:
        `ValueError`: a value has a wrong type or range, an option is unknown, or a field is misspelt. The message names it.

    Example:

    ```python
    >>> from modeling_hyperset import HyperSETConfig, HyperSETModel

    >>> config = HyperSETConfig()  # images
    >>> config = HyperSETConfig(vocab_size=30522, hidden_size=384, num_attention_heads=6, num_iterations=6)  # text
    >>> model = HyperSETModel(config)
    ```"""

    model_type = "hyperset"
    keys_to_ignore_at_inference = ["past_key_values", "hidden_states", "attentions", "energies", "num_iterations_used"]

    # Inputs
    vocab_size: int | None = count(None)
    image_size: int | list[int] | tuple[int, int] = 224
    patch_size: int = count(14)
    num_channels: int = count(3)
    patch_embedding_norm: bool | None = None
    max_position_embeddings: int = count(512)
    pad_token_id: int | None = validated_field(check_token_ids, default=None)
    bos_token_id: int | None = validated_field(check_token_ids, default=None)
    eos_token_id: int | list[int] | None = validated_field(check_token_ids, default=None)
    position_embedding_type: Literal["sinusoidal", "sinusoidal_2d", "learned", "rotary"] = "sinusoidal"
    rope_parameters: dict | None = None
    embedding_dropout: float | int = within(0, 1, 0.0, "[)")

    # Outputs
    pooling: Literal["cls", "mean"] = "cls"
    norm_type: Literal["layernorm", "rmsnorm"] = "layernorm"
    sublayer_norm_type: Literal["layernorm", "rmsnorm"] | None = None
    pre_norm: bool = False
    prune_last_iteration: bool = True
    classifier_bias: bool = True
    tie_word_embeddings: bool = True
    output_energies: bool = False
    use_cache: bool = True

    # The layer and its iteration
    layer_type: LayerType = "hyperset"
    hidden_size: int = count(768)
    num_hidden_layers: int = count(1)
    num_iterations: int = count(12)
    energy_tolerance: float | int | None = within(0, math.inf, None, "[)")
    num_attention_heads: int = count(12)
    intermediate_size: int | None = count(None)
    attention_energy: str = "bi_softmax"
    attention_phi: PhiName = "sigmoid"
    attention_beta: float | int | None = within(0, LARGEST_STEP, None, "(]")
    feedforward_energy: str = "relu"
    feedforward_phi: PhiName = "sigmoid"
    hidden_act: Literal["relu", "gelu"] = "gelu"
    shared_qkv_norm: bool = False
    update_rule: str = "gradient_descent"
    velocity_method: Literal["nesterov", "polyak", "gradient_descent"] = "nesterov"
    velocity_splitting: Literal["lie_trotter", "euler"] = "lie_trotter"
    velocity_norm: bool = True
    velocity_start: Literal["zeros", "embeddings"] = "zeros"
    inner_steps: int = count(1)
    interaction_diagonal: Literal["none", "head", "full"] = "none"
    preconditioner_rank: int | None = within(0, LARGEST_SIZE, None)
    lora_rank: int = within(0, LARGEST_SIZE, 0)
    lora_alpha: float | int | None = within(0, LARGEST_STEP, None, "(]")
    lora_init: Literal["normal", "zeros"] | None = None

    # Step sizes
    step_size_type: Literal["learned", "fixed"] = "learned"
    step_size_attention: float | int = within(-LARGEST_STEP, LARGEST_STEP, 0.1)
    step_size_feedforward: float | int = within(-LARGEST_STEP, LARGEST_STEP, 0.1)
    step_size_condition: Literal["current", "initial"] = "current"
    step_size_time_dim: int = count(512)
    step_size_time_network: Literal["normed_mlp", "mlp", "none"] = "normed_mlp"
    step_size_time_init: Literal["normal", "zeros"] = "normal"
    step_size_token_norm: bool = True
    step_size_sum_norm: bool = False
    step_size_per_layer: bool = False

    initializer_range: float = within(0, 1, 0.02)
    layer_norm_eps: float = epsilon(1e-5)
    rms_norm_eps: float | None = epsilon(None)

    # Fields of transformers, again. It writes their types as text, and its type checks ignore such types.
    transformers_version: str | None = None
    architectures: list[str] | None = None
    output_hidden_states: bool | None = False
    return_dict: bool | None = True
    dtype: str | torch.dtype | None = validated_field(check_dtype, default=None)
    chunk_size_feed_forward: int = 0
    is_encoder_decoder: bool = False
    id2label: dict | None = validated_field(check_names, default=None)
    label2id: dict | None = validated_field(check_names, default=None)
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None

    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        self.check_extras(kwargs)
        if kwargs.get("torch_dtype") is not None:
            self.dtype = kwargs["torch_dtype"] if self.dtype is None else self.dtype
        if self.id2label is None and self.label2id and "num_labels" not in kwargs:
            if sorted(map(str, self.label2id.values())) != sorted(map(str, range(len(self.label2id)))):
                raise ValueError(f"`label2id` must number the classes 0, 1, 2, … without gaps, got {self.label2id}.")
            self.id2label = {number: name for name, number in self.label2id.items()}
        self.validate_label_names()  # before transformers reads them
        for name in ("intermediate_size", "patch_embedding_norm"):
            if getattr(self, name) is None:
                setattr(self, name, self.default_of(name))
        features = {name: kwargs.pop(name, None) for name in ("out_features", "out_indices")}
        self.check_rope(kwargs)
        super().__post_init__(**kwargs)
        if self.position_embedding_type != "rotary":
            self.rope_parameters = None  # transformers sets its defaults
        self.validate_image()  # before the stages, so that its errors come first
        self.set_output_features_output_indices(**features)

    def check_extras(self, extras: Mapping[str, Any]) -> None:
        """
        Check the arguments that are not fields. transformers keeps them as attributes, so that it can read the config of a
        newer version.

        Raises:
            `ValueError`: an argument would change an attribute of the class, or is a misspelt field. The message names it.
        """
        names = {field.name for field in fields(self)}
        for name in extras:
            own = inspect.getattr_static(type(self), name, None)
            settable = isinstance(own, property) and own.fset is not None
            if own is not None and not settable and name != "model_type":
                raise ValueError(f"`{name}` is not a field of {type(self).__name__} and cannot be set.")
            # The cutoff lets `layer_norm_epsilon` pass. Other models have it, and transformers' tests set it.
            if own is None and (close := difflib.get_close_matches(name, names, n=1, cutoff=0.9)):
                raise ValueError(f"`{name}` is not a field of {type(self).__name__}. Do you mean `{close[0]}`?")
        if extras.get("per_layer_config") is not None:
            raise ValueError("`per_layer_config` must be None: the layers of a Hyper-SET share one config.")
        if "num_labels" in extras:
            self.check_num_labels(extras["num_labels"])
        for name in ("attn_implementation", "_attn_implementation"):
            if not isinstance(extras.get(name), str | dict | None):
                raise ValueError(f"`{name}` must be a string, got {extras[name]!r}.")
        # transformers reads these from any config and does not check their types.
        for name in ("quantization_config", "rope_parameters", "rope_scaling", "base_model_tp_plan"):
            if not isinstance(extras.get(name), Mapping | None) and not hasattr(extras[name], "to_dict"):
                raise ValueError(f"`{name}` must be a dictionary, got {extras[name]!r}.")

    def check_rope(self, extras: Mapping[str, Any]) -> None:
        """Fields of rotary positions need rotary positions, and all channels of a head turn."""
        given = {"rope_parameters": self.rope_parameters}
        given |= {name: extras.get(name) for name in ("rope_theta", "rope_scaling", "partial_rotary_factor")}
        if self.position_embedding_type == "rotary":
            for parameters in (given, given["rope_parameters"] or {}, given["rope_scaling"] or {}):
                if parameters.get("partial_rotary_factor") not in (None, 1):
                    raise ValueError(
                        "`partial_rotary_factor` must be 1: rotary positions turn all channels of a head."
                    )
        elif names := [name for name, value in given.items() if value]:
            raise ValueError(
                f"`{names[0]}` needs position_embedding_type='rotary', got {self.position_embedding_type!r}."
            )

    @staticmethod
    def check_num_labels(num_labels: Any) -> None:
        if isinstance(num_labels, bool) or not isinstance(num_labels, int) or not 1 <= num_labels <= LARGEST_SIZE:
            raise ValueError(f"`num_labels` must be an integer from 1 to {LARGEST_SIZE}, got {num_labels!r}.")

    # transformers calls the `validate_…` methods when a config is made and when it is saved. Models call them again when they
    # are built, because a config may have changed by then.

    def validate_label_names(self) -> None:
        """`id2label` names the classes 0, 1, 2, … without gaps. Its keys are strings (as in JSON) or integers."""
        names = self.id2label
        if names is not None and (not names or {str(key) for key in names} != set(map(str, range(len(names))))):
            raise ValueError(
                f"`id2label` (or `label2id`) must name the classes 0, 1, 2, … without gaps, got {[*names][:8]}."
            )
        for name, number in (self.label2id or {}).items():
            if isinstance(number, bool) or not isinstance(number, int):
                raise ValueError(f"`label2id` must map names to class numbers, got {number!r} for {name!r}.")

    def validate_outputs(self) -> None:
        self.check_num_labels(self.num_labels)
        if self.output_attentions not in (None, False, True):
            raise ValueError(f"`output_attentions` must be a bool, got {self.output_attentions!r}.")
        for name in ("output_energies", "energy_tolerance"):
            if getattr(self, name) not in (None, False) and not self.has_energies:
                unset = {"output_energies": False, "energy_tolerance": None}[name]
                raise ValueError(f"`{name}` must be {unset}: layer_type={self.layer_type!r} has no energy.")

    def validate_layer(self) -> None:
        if self.hidden_size % (heads := self.num_attention_heads):
            raise ValueError(f"`num_attention_heads` must divide hidden_size={self.hidden_size}, got {heads}.")
        # Both have a default only when a config is made: a model of `None` would be another one after it is loaded.
        if self.intermediate_size is None:
            raise ValueError("`intermediate_size` must be an integer, got None.")
        if self.pre_norm and not self.has_step_sizes:
            raise ValueError(
                f"`pre_norm` must be False for layer_type={self.layer_type!r}: it is for Hyper-SET alone."
            )
        if self.patch_embedding_norm is None:
            raise ValueError("`patch_embedding_norm` must be a bool, got None.")
        if self.lora_rank and not self.has_step_sizes:
            raise ValueError(f"`lora_rank` must be 0 for layer_type={self.layer_type!r}, got {self.lora_rank}.")

    def validate_own_fields(self) -> None:
        for layer_type, names in OWN_FIELDS.items():
            for name in names if self.layer_type != layer_type else ():
                default = type(self).__dataclass_fields__[name].default
                if (value := getattr(self, name)) != default:
                    raise ValueError(
                        f"`{name}` must be {default!r} for layer_type={self.layer_type!r}, because only {layer_type!r} reads "
                        f"it; got {value!r}."
                    )
        if (self.preconditioner_rank or 0) > self.hidden_size:
            raise ValueError(
                f"`preconditioner_rank` must be at most hidden_size={self.hidden_size}, got {self.preconditioner_rank}."
            )
        if self.velocity_method == "gradient_descent" and not self.velocity_norm:
            raise ValueError(
                "`velocity_norm` must be True with velocity_method='gradient_descent', which has no velocity."
            )
        if self.velocity_method == "gradient_descent" and self.velocity_start != "zeros":
            raise ValueError(
                "`velocity_start` must be 'zeros' with velocity_method='gradient_descent', which has no velocity; got "
                f"{self.velocity_start!r}."
            )

    def validate_image(self) -> None:
        if self.takes_token_ids:
            return
        size = self.image_size
        if not isinstance(size, int) and len(size) != 2:
            raise ValueError(f"`image_size` must be an integer or (height, width), got {size}.")
        if any(side < 1 or side % self.patch_size for side in self.image_height_width):
            raise ValueError(f"`image_size` must be a positive multiple of patch_size={self.patch_size}, got {size}.")
        if self.num_channels * self.patch_size**2 > LARGEST_SIZE or self.num_positions > LARGEST_SIZE:
            raise ValueError(
                f"`image_size`, `patch_size` and `num_channels` must make at most {LARGEST_SIZE} patches, and at most as many "
                f"values in a patch, got {size}, {self.patch_size} and {self.num_channels}."
            )

    def validate_positions(self) -> None:
        kind = self.position_embedding_type
        if kind == "rotary":
            if not self.takes_token_ids:
                raise ValueError("`position_embedding_type` must not be 'rotary' for images (vocab_size=None).")
            if self.head_dim % 2:
                raise ValueError(
                    f"`hidden_size` / `num_attention_heads` must be even for 'rotary' positions, got {self.head_dim}."
                )
            if not self.rope_parameters:
                raise ValueError(
                    f"`rope_parameters` must name a `rope_type` and `rope_theta`, got {self.rope_parameters}."
                )
            return
        divisor = {"sinusoidal": 2, "sinusoidal_2d": 4, "learned": 1}[kind]
        if (width := self.hidden_size) % divisor:
            raise ValueError(f"`hidden_size` must be a multiple of {divisor} for {kind!r} positions, got {width}.")
        rows, columns = self.grid_size
        if kind == "sinusoidal_2d" and self.takes_token_ids and rows * columns != self.max_position_embeddings:
            raise ValueError(
                f"`max_position_embeddings` must be a square for {kind!r} positions, got {self.max_position_embeddings}."
            )

    def validate_time_code(self) -> None:
        if self.step_size_type == "fixed" or not self.has_step_sizes:
            return
        if self.step_size_time_dim % 2 or self.step_size_time_dim < 4:
            raise ValueError(f"`step_size_time_dim` must be even and at least 4, got {self.step_size_time_dim}.")
        if self.step_size_time_network == "none" and self.step_size_time_dim != self.hidden_size:
            raise ValueError(
                f"`step_size_time_dim` must equal hidden_size={self.hidden_size} with step_size_time_network='none', got "
                f"{self.step_size_time_dim}."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "id2label" and value is not None:
            value = {as_number(number): str(label) for number, label in value.items()}
        elif name == "label2id" and value is not None:
            value = {str(label): as_number(number) for label, number in value.items()}
        elif name[0] != "_" and name not in self.__dict__ and name not in self.__dataclass_fields__:
            self.check_extras({name: value})
        super().__setattr__(name, value)

    def update_from_string(self, update_str: str) -> None:
        """
        As in transformers: `"hidden_size=64,pooling=mean"` sets fields. Fields that are `None` can be set too, and a width that
        the config derived from `hidden_size` and `layer_type` follows them.

        Raises:
            `ValueError`: a field that does not exist, or a value that does not fit it.
        """
        derived = self.derived_fields()
        given = {name: text for name, _, text in (pair.partition("=") for pair in update_str.split(","))}
        for name, text in given.items():
            if not hasattr(self, name):
                raise ValueError(
                    f"{name!r} is not a field of {type(self).__name__}: expected `field=value,field=value`."
                )
            if getattr(self, name) is not None:
                super().update_from_string(f"{name}={text}")
                continue
            try:
                value = json.loads(text)
            except ValueError:
                value = text
            setattr(self, name, value)
        for name in derived - given.keys():
            setattr(self, name, self.default_of(name))
        self.validate()

    def default_of(self, name: str) -> Any:
        """The value of `intermediate_size` or `patch_embedding_norm` if it is not given."""
        if name == "intermediate_size":
            return self.hidden_size * EXPANSION.get(self.layer_type, 1)
        return self.layer_type == "hyperset"

    def derived_fields(self) -> set[str]:
        """Which fields have the value that follows from `hidden_size` and `layer_type`."""
        names = ("intermediate_size", "patch_embedding_norm")
        return {name for name in names if getattr(self, name) == self.default_of(name)}

    def to_diff_dict(self) -> dict[str, Any]:
        """As in transformers, but of `id2label` and `label2id` both are written or none."""
        values = super().to_diff_dict()
        if values.keys() & {"id2label", "label2id"}:
            values |= {name: getattr(self, name) for name in ("id2label", "label2id")}
        return values

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """As in transformers."""
        if "pad_token_id" not in config_dict and not config_dict.get("lora_rank"):
            # Version 0.1 wrote its default here. It would decide how adapters start that are added now.
            config_dict = {name: value for name, value in config_dict.items() if name != "lora_init"}
        return super().from_dict(config_dict, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """
        As in transformers. Of the code that `auto_map` names, only files in the folder are named. Stages in `out_features` that
        do not exist any more are left out.

        Raises:
            `ValueError`: the config would not load again. Nothing is written then.
        """
        named, stages = getattr(self, "auto_map", None), (self._out_features, self._out_indices)
        if self.takes_token_ids or any(stage not in self.stage_names for stage in self._out_features or ()):
            self._out_features = self._out_indices = None
        if named is not None:
            self.auto_map = {auto: name for auto, name in named.items() if is_beside(save_directory, name)}
        try:
            self.validate()
            try:
                type(self).from_dict(json.loads(self.to_json_string()))
            except (TypeError, ValueError) as error:
                raise ValueError(f"The config cannot be saved, because it would not load again: {error}") from error
            super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            self._out_features, self._out_indices = stages
            if named is not None:
                self.auto_map = named

    @property
    def encoder_stride(self) -> int:
        """Pixels that a token's reconstruction covers, `patch_size`. transformers' `run_mim.py` reads and sets it."""
        return self.patch_size

    @encoder_stride.setter
    def encoder_stride(self, encoder_stride: int) -> None:
        if encoder_stride != self.patch_size:
            raise ValueError(
                f"`encoder_stride` must equal patch_size={self.patch_size}, because every token is decoded to its own patch, "
                f"got {encoder_stride!r}. Set `patch_size` first."
            )

    @property
    def stage_names(self) -> list[str]:
        """Names of the feature maps of [`HyperSETBackbone`]: the embedded image, then each iteration of each layer."""
        return ["stem", *(f"stage{index}" for index in range(1, self.num_hidden_layers * self.num_iterations + 1))]

    def set_output_features_output_indices(
        self, out_features: list[str] | None, out_indices: list[int] | None
    ) -> None:
        """
        As in transformers, except if both are `None`: then it is always the last stage, even after `num_iterations` changes.

        Raises:
            `ValueError`: not a list, a stage that does not exist, a wrong order, or a model of token ids.
        """
        for name, value in (("out_features", out_features), ("out_indices", out_indices)):
            if not isinstance(value, list | tuple | None):
                raise ValueError(f"`{name}` must be a list, got {value!r}.")
        if out_features is None and out_indices is None:
            self._out_features = self._out_indices = None
        elif self.takes_token_ids:
            raise ValueError(
                "`out_features` and `out_indices` choose feature maps of images. They must be None in a config with a "
                f"`vocab_size`, got {out_features} and {out_indices}."
            )
        else:
            super().set_output_features_output_indices(out_features, out_indices)

    @property
    def out_features(self) -> list[str] | None:
        """Names of the feature maps that [`HyperSETBackbone`] returns. `None` for a model of token ids."""
        if self._out_features is None and not self.takes_token_ids:
            return self.stage_names[-1:]
        return self._out_features

    @out_features.setter
    def out_features(self, out_features: list[str] | None) -> None:
        self.set_output_features_output_indices(out_features, None)

    @property
    def out_indices(self) -> list[int] | None:
        """The indices of `out_features` in `stage_names`."""
        if self._out_indices is None and not self.takes_token_ids:
            return [len(self.stage_names) - 1]
        return self._out_indices

    @out_indices.setter
    def out_indices(self, out_indices: list[int] | tuple[int, ...] | None) -> None:
        self.set_output_features_output_indices(None, out_indices)  # type: ignore[arg-type]

    @property
    def has_energies(self) -> bool:
        """Whether the layer has energies. They can be returned, and adaptive depth can use them."""
        return self.layer_type in HAVE_ENERGIES

    @property
    def has_step_sizes(self) -> bool:
        """Whether the layer takes step sizes. Then it also has an update rule and can have depth-wise LoRA."""
        return self.layer_type == "hyperset"

    @property
    def head_dim(self) -> int:
        """Width p of each subspace."""
        return self.hidden_size // self.num_attention_heads

    @property
    def lora_scaling(self) -> float:
        """The factor of the depth-wise LoRA."""
        return 4.0 if self.lora_alpha is None else self.lora_alpha / self.lora_rank

    @property
    def takes_token_ids(self) -> bool:
        """Whether the model takes `input_ids` (`vocab_size` is given) rather than `pixel_values`."""
        return self.vocab_size is not None

    @property
    def has_cls_token(self) -> bool:
        """Whether there is a learned [CLS] before the patches."""
        return not self.takes_token_ids and self.pooling == "cls"

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of the patches, or of the square grid of `max_position_embeddings` tokens."""
        if self.takes_token_ids:
            side = int(self.max_position_embeddings**0.5)
            return side, side
        height, width = self.image_height_width
        return height // self.patch_size, width // self.patch_size

    @property
    def image_height_width(self) -> tuple[int, int]:
        """`image_size` as (height, width)."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def num_positions(self) -> int:
        """The length of the position table: `max_position_embeddings` tokens, or the patches and [CLS]."""
        if self.takes_token_ids:
            return self.max_position_embeddings
        rows, columns = self.grid_size
        return rows * columns + int(self.has_cls_token)


# Because of this, `save_pretrained` writes the code of the config.
HyperSETConfig.register_for_auto_class("AutoConfig")

__all__ = ["HyperSETConfig"]
