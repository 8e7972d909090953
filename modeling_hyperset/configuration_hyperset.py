# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Hyper-SET configuration."""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from transformers.backbone_utils import BackboneConfigMixin

from transformers import PreTrainedConfig

from .adaptive_depth_hyperset import check_energy_tolerance
from .baselines_hyperset import LAYERS
from .energies_hyperset import ATTENTION_ENERGIES, FEEDFORWARD_ENERGIES
from .phi_hyperset import PHI
from .update_rules_hyperset import UPDATE_RULES
from .validation_hyperset import (
    EPS_RANGE,
    LARGEST_SIZE,
    LARGEST_STEP,
    check_count,
    check_dtype,
    check_extras,
    check_label_names,
    check_number,
    raises_value_errors,
)


@raises_value_errors
@strict
class HyperSETConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    Configuration of a Hyper-SET model. `HyperSETConfig()` is the paper's base image classifier (Table 13: d = 768,
    H = 12; one layer iterated 12 times; 224-pixel images in 14-pixel patches). Setting `vocab_size` turns it into a
    model of token ids: text, Sudoku cells or VQ codes.

    Args:
        vocab_size (`int`, *optional*):
            Number of token ids. `None`: the model takes images. An `int`: the model takes `input_ids`. For masked image
            modeling over VQ codes it is the codebook size plus one, and the last id is the mask.
        image_size (`int` or pair of `int`, defaults to 224):
            Height and width of the images in pixels (image models only).
        patch_size (`int`, defaults to 14):
            Side of the square patches in pixels. (The authors' option `patch` is patches per side: 16 there is 14
            pixels here.)
        num_channels (`int`, defaults to 3):
            Channels of the images.
        patch_embedding_norm (`bool`, *optional*):
            LayerNorm(patch) → Linear → LayerNorm, as in the authors' image models; `False` is the Linear alone. If not given,
            it is `True` for Hyper-SET and `False` for the baselines, as in the paper's program.
        max_position_embeddings (`int`, defaults to 512):
            Longest sequence of token ids. With `"learned"` positions it is the size of the table; with
            `"sinusoidal_2d"` the tokens are a square grid of that many cells.
        position_embedding_type (`str`, defaults to `"sinusoidal"`):
            `"sinusoidal"` (one-dimensional, fixed), `"sinusoidal_2d"` (column then row, fixed) or `"learned"`.
        embedding_dropout (`float`, defaults to 0.0):
            Dropout on the sum of embeddings and positions.
        pooling (`str`, defaults to `"cls"`):
            `"cls"` reads the first token: image models get a learned [CLS] there, token models take the first id.
            `"mean"` averages the tokens that are not padding; image models then have no [CLS].
        norm_type (`str`, defaults to `"layernorm"`):
            Norm between the last iteration and the heads, and before the sublayers of the baselines: `"layernorm"` or
            `"rmsnorm"`.
        sublayer_norm_type (`str`, *optional*):
            Norm before the sublayers of the Transformers and of CRATE, where it differs from `norm_type`.
        prune_last_iteration (`bool`, defaults to `True`):
            Whether image and sequence classifiers with `pooling="cls"` compute only the token they read in the last iteration.
            The logits and gradients are the same. Whatever returns more of that iteration (hidden states, attentions,
            energies) switches it off for the call. Hyper-SET's layer alone does so.
        classifier_bias (`bool`, defaults to `True`):
            Whether the classification heads have a bias.
        layer_type (`str`, defaults to `"hyperset"`):
            The layer that is iterated: `"hyperset"`, or a baseline of the paper: `"transformer"`,
            `"shared_qkv_transformer"`, `"crate"`, `"crate_t"` or `"energy_transformer"`. Baselines have no step sizes and read
            none of the fields about energies, step sizes, update rules and LoRA.
        hidden_size (`int`, defaults to 768):
            Width d of the tokens.
        num_hidden_layers (`int`, defaults to 1):
            Number of distinct layers, applied one after the other.
        num_iterations (`int`, defaults to 12):
            Iterations of each distinct layer. Any call may ask for another number with `num_iterations=`.
        num_attention_heads (`int`, defaults to 12):
            Number of subspaces H; each has width p = d / H.
        intermediate_size (`int`, *optional*):
            Number of directions M of the feedforward energy; `hidden_size` if not given. For the Transformers the width of
            the MLP and for the Energy Transformer the number of memories, four times `hidden_size` if not given. CRATE has
            none.
        attention_energy (`str`, defaults to `"bi_softmax"`):
            The attention energy (Table 19): `"bi_softmax"`, `"sigmoid"`, `"linear"`, or one of your own that is registered.
        attention_phi (`str`, defaults to `"sigmoid"`):
            Φ of the `"linear"` attention energy: `"sigmoid"`, `"relu"`, `"tanh"`, `"softplus"`, `"silu"`, `"gelu"`, `"elu"` or
            `"elu_plus_one"`.
        attention_beta (`float`, *optional*):
            Inverse temperature β of the attention energy; 1/√p if not given (Eq. 7).
        feedforward_energy (`str`, defaults to `"relu"`):
            The feedforward energy (Table 20): `"relu"`, `"softmax"`, `"gated"`, or one of your own that is registered.
        feedforward_phi (`str`, defaults to `"sigmoid"`):
            Φ of the `"gated"` feedforward energy.
        hidden_act (`str`, defaults to `"gelu"`):
            Activation of the `"relu"` feedforward energy's step. `"relu"` is the gradient of that energy (Eq. 10);
            `"gelu"` is what the authors' image models apply in its place.
        shared_qkv_norm (`bool`, defaults to `False`):
            One RMSNorm gain for queries, keys and values (the authors' Sudoku and masked image models) in place of
            three (their image classifiers).
        update_rule (`str`, defaults to `"gradient_descent"`):
            How descent directions become moves: `"gradient_descent"`, `"momentum"`, `"nesterov"`, `"rmsprop"`,
            `"rmsprop_momentum"` or `"adam"`.
        lora_rank (`int`, defaults to 0):
            Rank of the depth-wise LoRA of W and D, one for each of the `num_iterations` (Table 5); 0 is none.
        lora_alpha (`float`, *optional*):
            The adapters are scaled by `lora_alpha / lora_rank`; if not given, by 4 as in the paper.
        lora_init (`str`, defaults to `"normal"`):
            `"normal"`: both factors start from a normal distribution of standard deviation 0.02, as in the paper, which trains
            them together with the base. `"zeros"`: B starts at zero, so that a base model that gets adapters computes what it
            did before.
        step_size_type (`str`, defaults to `"learned"`):
            `"learned"` (Eq. 12) or `"fixed"`.
        step_size_attention (`float`, defaults to 0.1):
            α of every iteration when `step_size_type="fixed"`.
        step_size_feedforward (`float`, defaults to 0.1):
            γ of every iteration when `step_size_type="fixed"`.
        step_size_condition (`str`, defaults to `"current"`):
            Learned step sizes depend on the iteration and on the tokens: on `"current"` X_t or on `"initial"` X_0.
        step_size_time_dim (`int`, defaults to 512):
            Width of the sinusoidal code of the iteration index. Must equal `hidden_size` when
            `step_size_time_network="none"`.
        step_size_time_network (`str`, defaults to `"normed_mlp"`):
            What turns the code of t into e_t: `"normed_mlp"` (Linear, RMSNorm, GELU, RMSNorm, Linear, RMSNorm),
            `"mlp"` (Linear, GELU, Linear) or `"none"` (the code itself).
        step_size_time_init (`str`, defaults to `"normal"`):
            How the Linears of that network start: `"normal"`, or `"zeros"` as in the authors' program. With zeros all
            of them but the last bias stay at zero gradient for ever, so that step sizes cannot come to depend on t: a model
            that is to run deeper than it was trained may gain by that, as the Sudoku presets do. The model starts as the
            identity on its tokens either way, because the last Linear of the step size starts at zero.
        step_size_token_norm (`bool`, defaults to `True`):
            RMSNorm on the conditioning tokens before e_t is added.
        step_size_sum_norm (`bool`, defaults to `False`):
            RMSNorm on that sum.
        step_size_per_layer (`bool`, defaults to `False`):
            Whether each distinct layer has its own norms and last Linear for its step sizes; e_t is always shared.
        initializer_range (`float`, defaults to 0.02):
            Standard deviation, at most 1, of the normal distribution that Linears, Embeddings and learned positions start from.
        layer_norm_eps (`float`, defaults to 1e-5):
            Epsilon of the LayerNorms.
        rms_norm_eps (`float`, *optional*):
            Epsilon of the RMSNorms; `None` is the machine epsilon of the working dtype.
        tie_word_embeddings (`bool`, defaults to `True`):
            Whether the decoder of [`HyperSETForMaskedLM`] shares the token embedding's weight.
        energy_tolerance (`float`, *optional*):
            Adaptive depth: each sample is iterated until its energy falls by no more than this share of itself, at least twice
            and at most `num_iterations` times; see `adaptive_depth_hyperset.py`. `None`: always `num_iterations` times.
        output_energies (`bool`, defaults to `False`):
            Whether every forward pass returns the energies after every iteration.
        out_features (`list[str]`, *optional*), out_indices (`list[int]`, *optional*):
            The feature maps of [`HyperSETBackbone`] (images only): names or indices of `stage_names`, in their order. The last,
            if neither is given.

    Raises:
        `ValueError`: a value of another type or outside its range, an unknown option, or a field misspelt; the message names
            the field.

    Example:

    ```python
    >>> from modeling_hyperset import HyperSETConfig, HyperSETModel

    >>> config = HyperSETConfig()  # images
    >>> config = HyperSETConfig(vocab_size=30522, hidden_size=384, num_attention_heads=6, num_iterations=6)  # text
    >>> model = HyperSETModel(config)
    ```"""

    model_type = "hyperset"
    keys_to_ignore_at_inference = ["hidden_states", "attentions", "energies", "num_iterations_used"]

    # What goes in
    vocab_size: int | None = None
    image_size: int | list[int] | tuple[int, int] = 224
    patch_size: int = 14
    num_channels: int = 3
    patch_embedding_norm: bool | None = None
    max_position_embeddings: int = 512
    position_embedding_type: str = "sinusoidal"
    embedding_dropout: float | int = 0.0

    # What comes out
    pooling: str = "cls"
    norm_type: str = "layernorm"
    sublayer_norm_type: str | None = None
    prune_last_iteration: bool = True
    classifier_bias: bool = True
    tie_word_embeddings: bool = True
    output_energies: bool = False

    # The layer and its iteration
    layer_type: str = "hyperset"
    hidden_size: int = 768
    num_hidden_layers: int = 1
    num_iterations: int = 12
    energy_tolerance: float | int | None = None
    num_attention_heads: int = 12
    intermediate_size: int | None = None
    attention_energy: str = "bi_softmax"
    attention_phi: str = "sigmoid"
    attention_beta: float | int | None = None
    feedforward_energy: str = "relu"
    feedforward_phi: str = "sigmoid"
    hidden_act: str = "gelu"
    shared_qkv_norm: bool = False
    update_rule: str = "gradient_descent"
    lora_rank: int = 0
    lora_alpha: float | int | None = None
    lora_init: str = "normal"

    # Step sizes
    step_size_type: str = "learned"
    step_size_attention: float | int = 0.1
    step_size_feedforward: float | int = 0.1
    step_size_condition: str = "current"
    step_size_time_dim: int = 512
    step_size_time_network: str = "normed_mlp"
    step_size_time_init: str = "normal"
    step_size_token_norm: bool = True
    step_size_sum_norm: bool = False
    step_size_per_layer: bool = False

    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    rms_norm_eps: float | None = None

    # transformers' own, whose types it writes as text, which its check of types passes over
    transformers_version: str | None = None
    architectures: list[str] | None = None
    output_hidden_states: bool | None = False
    return_dict: bool | None = True
    dtype: str | torch.dtype | None = None
    chunk_size_feed_forward: int = 0
    is_encoder_decoder: bool = False
    id2label: dict[int, str] | dict[str, str] | None = None
    label2id: dict[str, int] | dict[str, str] | None = None
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None

    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        check_extras(type(self), kwargs)
        check_dtype(self.dtype)
        check_dtype(kwargs.get("torch_dtype"))
        check_label_names(self.id2label)
        self._check_option("layer_type", LAYERS)
        if self.intermediate_size is None:
            self.intermediate_size = self.hidden_size * LAYERS[self.layer_type].default_expansion
        if self.patch_embedding_norm is None:
            self.patch_embedding_norm = self.layer_type == "hyperset"
        features = {name: kwargs.pop(name, None) for name in ("out_features", "out_indices")}
        super().__post_init__(**kwargs)
        self.check()
        self.set_output_features_output_indices(**features)

    @property
    def stage_names(self) -> list[str]:
        """Names of the feature maps of [`HyperSETBackbone`]: the embedded image, then each iteration of each layer."""
        return ["stem", *(f"stage{index}" for index in range(1, self.num_hidden_layers * self.num_iterations + 1))]

    def set_output_features_output_indices(
        self, out_features: list[str] | None, out_indices: list[int] | None
    ) -> None:
        """
        As in transformers, but that neither says the last stage of whatever number of iterations the config has by then.

        Raises:
            `ValueError`: no list, stages that do not exist or out of order, or a model of token ids.
        """
        for name, value in (("out_features", out_features), ("out_indices", out_indices)):
            if not isinstance(value, list | tuple | None):
                raise ValueError(f"`{name}` must be a list, got {value!r}.")
        if out_features is None and out_indices is None:
            self._out_features = self._out_indices = None
        elif self.takes_token_ids:
            raise ValueError(
                "`out_features` and `out_indices` choose feature maps of images; they must be None for a config with a "
                f"`vocab_size`, got {out_features} and {out_indices}."
            )
        else:
            super().set_output_features_output_indices(out_features, out_indices)

    @property
    def out_features(self) -> list[str] | None:
        """Names of the feature maps that [`HyperSETBackbone`] returns; `None` for a model of token ids."""
        if self._out_features is None and not self.takes_token_ids:
            return self.stage_names[-1:]
        return self._out_features

    @out_features.setter
    def out_features(self, out_features: list[str] | None) -> None:
        self.set_output_features_output_indices(out_features, None)

    @property
    def out_indices(self) -> list[int] | None:
        """Their indices among `stage_names`."""
        if self._out_indices is None and not self.takes_token_ids:
            return [len(self.stage_names) - 1]
        return self._out_indices

    @out_indices.setter
    def out_indices(self, out_indices: list[int] | tuple[int, ...] | None) -> None:
        self.set_output_features_output_indices(None, out_indices)  # type: ignore[arg-type]

    @property
    def head_dim(self) -> int:
        """Width p of each subspace."""
        return self.hidden_size // self.num_attention_heads

    @property
    def lora_scaling(self) -> float:
        """What the depth-wise LoRA is scaled by."""
        return 4.0 if self.lora_alpha is None else self.lora_alpha / self.lora_rank

    @property
    def takes_token_ids(self) -> bool:
        """Whether the model takes `input_ids` (`vocab_size` is given) rather than `pixel_values`."""
        return self.vocab_size is not None

    @property
    def has_cls_token(self) -> bool:
        """Whether a learned [CLS] precedes the patches."""
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
        """Positions of the position table: `max_position_embeddings` tokens, or the patches and [CLS]."""
        if self.takes_token_ids:
            return self.max_position_embeddings
        rows, columns = self.grid_size
        return rows * columns + int(self.has_cls_token)

    def check(self) -> None:
        """Check ranges, options and how the fields fit together. Models call it once more when they are built, because
        a config may be changed after it was made.

        Raises:
            `ValueError`: naming the field, what it holds and what is expected.
        """
        for name in ("hidden_size", "num_hidden_layers", "num_iterations", "num_attention_heads", "intermediate_size"):
            self._check_positive(name)
        for name in ("patch_size", "num_channels", "max_position_embeddings", "step_size_time_dim"):
            self._check_positive(name)
        self._check_option("layer_type", LAYERS)
        self._check_option("position_embedding_type", ("sinusoidal", "sinusoidal_2d", "learned"))
        self._check_option("pooling", ("cls", "mean"))
        self._check_option("norm_type", ("layernorm", "rmsnorm"))
        self._check_option("sublayer_norm_type", (None, "layernorm", "rmsnorm"))
        self._check_option("attention_energy", ATTENTION_ENERGIES)
        self._check_option("feedforward_energy", FEEDFORWARD_ENERGIES)
        self._check_option("attention_phi", PHI)
        self._check_option("feedforward_phi", PHI)
        self._check_option("hidden_act", ("relu", "gelu"))
        self._check_option("lora_init", ("normal", "zeros"))
        if self.attention_beta is not None and not 0 < self.attention_beta <= LARGEST_STEP:
            raise ValueError(f"`attention_beta` must lie in (0, {LARGEST_STEP:g}], got {self.attention_beta}.")
        if self.lora_alpha is not None and not 0 < self.lora_alpha <= LARGEST_STEP:
            raise ValueError(f"`lora_alpha` must lie in (0, {LARGEST_STEP:g}], got {self.lora_alpha}.")
        if not 0 <= self.lora_rank <= LARGEST_SIZE or (self.lora_rank and self.layer_type != "hyperset"):
            raise ValueError(
                f"`lora_rank` must lie in [0, {LARGEST_SIZE}], and be 0 for a baseline, got lora_rank="
                f"{self.lora_rank} and layer_type={self.layer_type!r}."
            )
        if self.energy_tolerance is not None:
            check_energy_tolerance(self.energy_tolerance, LAYERS[self.layer_type])
        self._check_option("update_rule", UPDATE_RULES)
        self._check_option("step_size_type", ("learned", "fixed"))
        self._check_option("step_size_condition", ("current", "initial"))
        self._check_option("step_size_time_network", ("normed_mlp", "mlp", "none"))
        self._check_option("step_size_time_init", ("normal", "zeros"))
        self._check_option(
            "problem_type",
            (None, "regression", "single_label_classification", "multi_label_classification"),
        )
        self._check_positive("num_labels")
        for name in ("output_attentions", "output_energies"):
            self._check_option(name, (None, False, True))
        if self.output_energies and not LAYERS[self.layer_type].has_energies:
            raise ValueError(
                f"`output_energies` must be False for layer_type={self.layer_type!r}, which has no energy."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`num_attention_heads` must divide `hidden_size`, got num_attention_heads={self.num_attention_heads} "
                f"and hidden_size={self.hidden_size}."
            )
        if not 0.0 <= self.embedding_dropout < 1.0:
            raise ValueError(f"`embedding_dropout` must lie in [0, 1), got {self.embedding_dropout}.")
        check_number("initializer_range", self.initializer_range, 0.0, 1.0)
        check_number("layer_norm_eps", self.layer_norm_eps, *EPS_RANGE)
        if self.rms_norm_eps is not None:
            check_number("rms_norm_eps", self.rms_norm_eps, *EPS_RANGE)
        for name in ("step_size_attention", "step_size_feedforward"):
            check_number(name, getattr(self, name), -LARGEST_STEP, LARGEST_STEP)
        self._check_input()
        self._check_positions()
        self._check_time_code()

    def _check_positive(self, name: str) -> None:
        check_count(name, getattr(self, name))

    def _check_option(self, name: str, options) -> None:
        value = getattr(self, name)
        if value not in options:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, options))}, got {value!r}.")

    def _check_input(self) -> None:
        if self.takes_token_ids:
            self._check_positive("vocab_size")
            return
        size = self.image_size
        if not isinstance(size, int) and len(size) != 2:
            raise ValueError(f"`image_size` must be an integer or (height, width), got {size}.")
        if any(side < 1 or side % self.patch_size for side in self.image_height_width):
            raise ValueError(
                f"`image_size` must be a positive multiple of `patch_size`, got image_size={size} and "
                f"patch_size={self.patch_size}."
            )
        if self.num_channels * self.patch_size**2 > LARGEST_SIZE or self.num_positions > LARGEST_SIZE:
            raise ValueError(
                f"`image_size`, `patch_size` and `num_channels` must not make more than {LARGEST_SIZE} patches, nor values of "
                f"a patch, got {size}, {self.patch_size} and {self.num_channels}."
            )

    def _check_positions(self) -> None:
        kind = self.position_embedding_type
        divisor = {"sinusoidal": 2, "sinusoidal_2d": 4, "learned": 1}[kind]
        if self.hidden_size % divisor:
            raise ValueError(
                f"`hidden_size` must be a multiple of {divisor} for position_embedding_type={kind!r}, got "
                f"{self.hidden_size}."
            )
        rows, columns = self.grid_size
        if kind == "sinusoidal_2d" and self.takes_token_ids and rows * columns != self.max_position_embeddings:
            raise ValueError(
                "`max_position_embeddings` must be a square number for position_embedding_type='sinusoidal_2d', got "
                f"{self.max_position_embeddings}."
            )

    def _check_time_code(self) -> None:
        if self.step_size_type == "fixed" or not LAYERS[self.layer_type].has_step_sizes:
            return
        if self.step_size_time_dim % 2 or self.step_size_time_dim < 4:
            raise ValueError(
                f"`step_size_time_dim` must be an even number of at least 4, got {self.step_size_time_dim}."
            )
        if self.step_size_time_network == "none" and self.step_size_time_dim != self.hidden_size:
            raise ValueError(
                "`step_size_time_dim` must equal `hidden_size` when step_size_time_network='none', got "
                f"step_size_time_dim={self.step_size_time_dim} and hidden_size={self.hidden_size}."
            )


# `save_pretrained` writes the code of a config that is registered so.
HyperSETConfig.register_for_auto_class("AutoConfig")

__all__ = ["HyperSETConfig"]
