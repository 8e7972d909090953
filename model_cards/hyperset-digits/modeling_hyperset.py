# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""PyTorch Hyper-SET model: embeddings → iterated layer (attention step, feedforward step) → heads."""

import copy
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import nn
from transformers.backbone_utils import BackboneMixin, filter_output_hidden_states
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
    ImageClassifierOutput,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import ModelOutput, can_return_tuple
from transformers.utils.output_capturing import OutputRecorder, capture_outputs, maybe_install_capturing_hooks

from transformers import PreTrainedModel
from transformers import initialization as init

from .baselines_hyperset import EnergyLayerNorm
from .cem_hyperset import Diagonals, Preconditioner
from .checks_hyperset import (
    check_can_stop,
    check_energy_tolerance,
    check_exporter,
    check_ids,
    check_inputs,
    check_num_iterations,
    check_one_input,
    check_pixel_values,
    check_position_ids,
    check_range,
    check_sample_labels,
    check_shape,
    check_shards,
    check_tensors,
    check_token_labels,
    flatten_grid,
)
from .configuration_hyperset import HyperSETConfig
from .embeddings_hyperset import HyperSETEmbeddings, patchify, unpatchify
from .energies_hyperset import ATTENTION_ENERGIES
from .iteration_hyperset import iterate
from .layers_hyperset import LAYERS, IteratedAttention, IteratedLayer, make_norm
from .nrgpt_hyperset import Scale
from .order_hyperset import (
    HyperSETRotaryEmbedding,
    Order,
    check_cache_size,
    is_filled,
    lengths_of_past,
    order_of_call,
    prepare_cache,
)
from .projection_hyperset import HyperSETDepthwiseLoRA, HyperSETProjection, check_adapters
from .steps_hyperset import STEP_SIZES, HyperSETTimeEmbedding, ZeroLinear
from .yuriiformer_hyperset import VelocityStep


@dataclass
class EnergyOutputs:
    """What every output has after the fields of transformers, see [`HyperSETModelOutput`]."""

    energies: tuple[torch.Tensor, ...] | None = None
    num_iterations_used: torch.LongTensor | None = None


@dataclass
class HyperSETModelOutput(EnergyOutputs, BaseModelOutputWithPooling):
    """
    Output of [`HyperSETModel`].

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`):
            The tokens after the last iteration and the final norm.
        pooler_output (`torch.Tensor` of shape `(batch_size, hidden_size)`):
            The pooled tokens (the first token, in a causal model the last one, or the mean of all) after the final norm.
        hidden_states (`tuple` of `torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`, *optional*):
            With `output_hidden_states=True`: X_0, then the tokens after every iteration, layer by layer. They are taken
            before the final norm.
        attentions (`tuple` of `torch.Tensor` of shape `(batch_size, num_heads, seq_len, seq_len)`, *optional*):
            With `output_attentions=True`: the weights of every iteration. A row of bi-softmax weights does not sum to one,
            because they are the sum of two softmaxes. Empty if the attention energy has no weights.
        energies (`tuple` of `torch.Tensor` of shape `(batch_size, 2)`, *optional*):
            With `output_energies=True`: attention and feedforward energy of the tokens after every iteration. They are
            measured with the W and D of that iteration's layer.
        num_iterations_used (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            With an `energy_tolerance`: how many iterations each sample took, summed over all layers. In a causal model each
            token, of shape `(batch_size, seq_len)`; 0 for padding.
        past_key_values (`Cache`, *optional*):
            With `use_cache=True`: what a causal model needs of these tokens to go on after them. A slot for each iteration of
            each layer.
    """

    past_key_values: Cache | None = None


@dataclass
class HyperSETImageClassifierOutput(EnergyOutputs, ImageClassifierOutput):
    """`ImageClassifierOutput` and the energies and depth of [`HyperSETModelOutput`]."""


@dataclass
class HyperSETSequenceClassifierOutput(EnergyOutputs, SequenceClassifierOutput):
    """`SequenceClassifierOutput` and the energies and depth of [`HyperSETModelOutput`]."""


@dataclass
class HyperSETTokenClassifierOutput(EnergyOutputs, TokenClassifierOutput):
    """`TokenClassifierOutput` and the energies and depth of [`HyperSETModelOutput`]."""


@dataclass
class HyperSETMaskedLMOutput(EnergyOutputs, MaskedLMOutput):
    """`MaskedLMOutput` and the energies and depth of [`HyperSETModelOutput`]."""


@dataclass
class HyperSETCausalLMOutput(EnergyOutputs, CausalLMOutputWithPast):
    """`CausalLMOutputWithPast` and the energies and depth of [`HyperSETModelOutput`]."""


@dataclass
class HyperSETMaskedImageModelingOutput(ModelOutput):
    """
    Like transformers' `MaskedImageModelingOutput`, with the energies and depth of [`HyperSETModelOutput`]. A model of pixels
    returns `reconstruction` of shape `(batch_size, num_channels, height, width)`. A model of VQ codes returns `logits` of
    shape `(batch_size, num_codes, codebook_size)`.
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    energies: tuple[torch.Tensor, ...] | None = None
    num_iterations_used: torch.LongTensor | None = None


def class_of(model: nn.Module) -> Any:
    """The class of a model as it was before FSDP2 replaced it."""
    return next(cls for cls in type(model).__mro__ if not cls.__module__.startswith("torch.distributed."))


# Whether a checkpoint is being loaded. What is initialised then is new to it.
LOADING: ContextVar[bool] = ContextVar("LOADING", default=False)


class HyperSETPreTrainedModel(PreTrainedModel):
    """The base of all models of the family: it initialises, saves and adapts them."""

    config: HyperSETConfig
    config_class = HyperSETConfig
    base_model_prefix = "hyperset"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _no_split_modules = ["HyperSETEmbeddings", *(cls.__name__ for cls in LAYERS.values())]
    _supports_sdpa = True
    is_causal = False  # set by the attention energy
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": IteratedLayer,
        "attentions": IteratedAttention,
        "energies": OutputRecorder(IteratedLayer, index=1),
    }

    def __init__(self, config: HyperSETConfig, *args, **kwargs):
        config.validate()
        super().__init__(config, *args, **kwargs)
        self.main_input_name = "input_ids" if config.takes_token_ids else "pixel_values"
        self._supports_sdpa = "sdpa" in LAYERS[config.layer_type].attn_implementations(config)
        self.is_causal = ATTENTION_ENERGIES[config.attention_energy].is_causal
        if self.is_causal and config.has_cls_token:
            raise ValueError(
                "`pooling` must be 'mean' for images and a causal attention_energy: [CLS] comes first and sees no patch."
            )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, HyperSETEmbeddings):
            if module.cls_token is not None:
                init.normal_(module.cls_token)
            if module.mask_token is not None:
                init.normal_(module.mask_token, std=std)
            if self.config.position_embedding_type == "learned":
                init.normal_(module.position_embeddings, std=std)
            elif self.config.position_embedding_type != "rotary":
                init.copy_(module.position_embeddings, module.fixed_positions())
        elif isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
        elif isinstance(module, HyperSETDepthwiseLoRA):
            zero_init = self.config.lora_init == "zeros" or (self.config.lora_init is None and LOADING.get())
            for name, parameter in module.named_parameters():
                if zero_init and name.endswith("_b"):
                    init.zeros_(parameter)
                else:
                    init.normal_(parameter, std=0.02)  # Appendix G.2
        elif isinstance(module, EnergyLayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, Scale):
            init.ones_(module.weight)
        elif isinstance(module, Diagonals | VelocityStep):
            for parameter in module.parameters(recurse=False):
                init.zeros_(parameter)
        elif isinstance(module, Preconditioner):
            for name, value in module.start().items():
                init.copy_(module.get_parameter(name), value)

    def get_correct_attn_implementation(self, requested_attention: str | None, is_init_check: bool = False) -> str:
        config = self.config
        known = LAYERS[config.layer_type].attn_implementations(config)
        name = requested_attention or known[0]
        if requested_attention is None and config.output_attentions:
            name = "eager"  # the only one that returns weights
        if name not in known:
            raise ValueError(
                f'Specified `attn_implementation="{name}"` is not supported for layer_type={config.layer_type!r} and '
                f"attention_energy={config.attention_energy!r}: it must be one of {', '.join(known)}."
            )
        return name

    def compile_repeated_blocks(self, **options: Any) -> None:
        """
        Compile each layer in place, with the options of `torch.compile`. All iterations run the same compiled code, so there
        are at most two graphs for any depth from two on: the last iteration may compute fewer tokens. Update rules with a state
        and depth-wise LoRA have more. Training, evaluation and each size of batch have graphs of their own, and all layers in a
        process share torch's limit (`torch._dynamo.config.recompile_limit`). Beyond it torch runs them uncompiled, with a
        warning. `model.compile()` compiles the whole model instead, with all iterations one after the other, and again for
        another depth. The name is diffusers'.
        """
        for module in self.modules():
            if isinstance(module, IteratedLayer):
                module.compile(**options)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        As in transformers. Depth-wise adapters that the checkpoint does not have start as `config.lora_init` says, by default
        without an effect.

        Raises:
            `ValueError`: the index of the weights names a file outside their folder. (transformers would read that file.)
        """
        check_shards(pretrained_model_name_or_path, kwargs.get("subfolder"))
        before = LOADING.set(kwargs.get("state_dict") != {})  # no weights at all are no checkpoint
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        finally:
            LOADING.reset(before)

    def save_pretrained(self, *args, **kwargs):
        """
        As in transformers. The folder also gets the code, so that every Auto class loads it without the package. A subclass
        in a module of its own brings that module, and its Auto class alone loads it so.
        """
        before, sharded_class = getattr(self.config, "auto_map", None), type(self)
        self.__class__ = class_of(self)  # transformers saves the code of this class
        is_ours = type(self).__module__.split(".")[-1] == __name__.split(".")[-1]
        self.config.auto_map = {
            auto_class: f"{cls.__module__.split('.')[-1]}.{cls.__name__}"
            for auto_class, cls in AUTO_CLASSES.items()
            if is_ours
        }
        try:
            return super().save_pretrained(*args, **kwargs)
        finally:
            self.__class__ = sharded_class
            # A config that is saved alone only carries its own code.
            if before is None:
                del self.config.auto_map
            else:
                self.config.auto_map = before

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding, or the patch embedding of an image model."""
        embeddings: Any = self.base_model.embeddings
        return embeddings.token_embeddings if self.config.takes_token_ids else embeddings.patch_embeddings

    def set_input_embeddings(self, value: nn.Module):
        if not self.config.takes_token_ids:
            raise ValueError(f"{type(self).__name__} with vocab_size=None has no token embedding to set.")
        self.base_model.get_submodule("embeddings").token_embeddings = value

    def resize_token_embeddings(self, *args, **kwargs):
        if not self.config.takes_token_ids:
            raise ValueError(f"{type(self).__name__} with vocab_size=None has no token embeddings to resize.")
        resized = super().resize_token_embeddings(*args, **kwargs)
        base: Any = self.base_model
        if base.velocity_embeddings is not None:
            base.velocity_embeddings.resize(resized.num_embeddings, self.config.initializer_range)
        return resized

    def train_adapters_only(self) -> None:
        """
        Freeze the base model, except its depth-wise LoRA. A head stays trainable. To undo this, call `requires_grad_(True)`.

        Raises:
            `ValueError`: the model has no adapters.
        """
        if self.base_model.lora is None:
            raise ValueError(f"{type(self).__name__} has no adapters to train: its config has lora_rank=0.")
        self.base_model.requires_grad_(False)
        self.base_model.lora.requires_grad_(True)
        self.enable_input_require_grads()  # a reentrant checkpoint of frozen embeddings has no gradient without it

    @torch.no_grad()
    def merge_adapters(self) -> None:
        """
        Add the depth-wise LoRA to W and D, and remove it. The config then has `lora_rank=0`.

        Raises:
            `ValueError`: the model has no adapters; or each layer has more than one iteration, so that one weight cannot
                replace those of all iterations; or PEFT adapts W or D too; or the weights are on the meta device, where
                accelerate's offloading leaves them.
        """
        base: Any = self.base_model
        if base.lora is None:
            raise ValueError(f"{type(self).__name__} has no adapters to merge: its config has lora_rank=0.")
        if base.lora.num_iterations != 1:
            raise ValueError(f"LoRA can only be merged with one iteration per layer, got {base.lora.num_iterations}.")
        if not all(isinstance(projection, HyperSETProjection) for projection in base.projections()):
            raise ValueError("Merge or unload PEFT's adapters (`merge_and_unload()`) before the depth-wise LoRA.")
        if any(parameter.is_meta for parameter in base.parameters()):
            raise ValueError("Depth-wise LoRA cannot be merged on the meta device: load the model without offloading.")
        bases_delta, directions_delta = base.lora(1)
        for layer in base.layers:
            layer.attention.bases.weight += bases_delta
            layer.feedforward.directions.weight += directions_delta
        base.lora = None
        base.config.lora_rank, base.config.lora_alpha = 0, None


# The keywords that a forward pass takes besides its named arguments. Any other keyword is an error.
FORWARD_KWARGS = {
    "output_hidden_states",
    "output_attentions",
    "output_energies",
    "num_items_in_batch",
    "shift_labels",  # the labels of a causal model, shifted already: for text that is split over devices
    "pooled_token_only",  # for a head that reads one token: the last iteration computes only that token
    "token_type_ids",  # ignored: BERT's tokenizers return them, but this family has no segment embedding
}


class FirstToken:
    """Selects the first token that is not padding: `(batch_size, …, seq_len, width)` → `(batch_size, …, 1, width)`."""

    without_padding = slice(0, 1)

    def __init__(self, mask: torch.Tensor | None):
        self.index = None if mask is None else self.index_in(mask.int())

    def index_in(self, mask: torch.Tensor) -> torch.Tensor:
        return mask.argmax(dim=-1)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.index is None:
            return tokens[..., self.without_padding, :]
        index = self.index.view(-1, *[1] * (tokens.ndim - 1)).expand(*tokens.shape[:-2], 1, tokens.shape[-1])
        return tokens.gather(-2, index)


class LastToken(FirstToken):
    """Selects the last token that is not padding."""

    without_padding = slice(-1, None)

    def index_in(self, mask):
        return mask.shape[1] - 1 - mask.flip(-1).argmax(dim=-1)


def select_hidden_states(forward):
    """
    Let `output_hidden_states` also be one or more indices of iterations. Negative ones count from the end. The states of all
    other iterations are then `None`. (transformers' own indices count layers, not iterations.)
    """

    @wraps(forward)
    def wrapper(self, *args, **kwargs):
        asked = kwargs.get("output_hidden_states")
        if asked is None or isinstance(asked, bool):
            return forward(self, *args, **kwargs)
        indices = [asked] if isinstance(asked, int) else list(asked)
        return_dict = kwargs.pop("return_dict", self.config.return_dict)
        outputs = forward(self, *args, **kwargs | {"output_hidden_states": True, "return_dict": True})
        states = outputs.hidden_states
        if any(not isinstance(index, int) or not -len(states) <= index < len(states) for index in indices):
            raise ValueError(
                f"`output_hidden_states` must be a bool or indices in [-{len(states)}, {len(states)}), got {asked!r}."
            )
        kept = {index % len(states) for index in indices}
        outputs.hidden_states = tuple(state if index in kept else None for index, state in enumerate(states))
        return outputs if return_dict else outputs.to_tuple()

    return wrapper


def images_by_position(forward):
    """Let a model of images take them as its first argument, `model(images)`, where a model of token ids takes its ids."""

    @wraps(forward)
    def wrapper(self, *args, **kwargs):
        if args and not self.config.takes_token_ids:
            images, input_ids, *others = args if len(args) > 1 else (*args, None)
            if isinstance(images, torch.Tensor) and images.is_floating_point():
                args = (input_ids, images, *others)
                if input_ids is None and not others and "pixel_values" not in kwargs:
                    args, kwargs = (), kwargs | {"pixel_values": images}
        return forward(self, *args, **kwargs)

    return wrapper


class HyperSETModel(HyperSETPreTrainedModel):
    """
    The tokens after `num_iterations` iterations of each layer.

    Args:
        config ([`HyperSETConfig`]): The configuration.
        use_mask_token (`bool`): Whether an image model has a learned token for masked patches.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETModel

    >>> config = HyperSETConfig(image_size=32, patch_size=8, hidden_size=64, num_attention_heads=4)
    >>> outputs = HyperSETModel(config)(pixel_values=torch.randn(2, 3, 32, 32), output_energies=True)
    >>> outputs.last_hidden_state.shape  # [CLS] and 16 patches
    torch.Size([2, 17, 64])
    >>> len(outputs.energies), outputs.energies[0].shape
    (12, torch.Size([2, 2]))
    ```
    """

    main_input_name = "input_ids"  # the first argument, for the class; a model sets its own by its config

    def __init__(self, config: HyperSETConfig, use_mask_token: bool = False):
        super().__init__(config)
        self.embeddings = HyperSETEmbeddings(config, use_mask_token=use_mask_token)
        self.velocity_embeddings = None
        if config.velocity_start == "embeddings":
            self.velocity_embeddings = HyperSETEmbeddings(config, use_mask_token=use_mask_token)
        self.layers = nn.ModuleList(LAYERS[config.layer_type](config) for _ in range(config.num_hidden_layers))
        self.time_embedding = self.lora = None
        num_step_sizes = 0
        if config.has_step_sizes:
            # One for all layers, or one for each. All layers always share e_t and the adapters.
            num_step_sizes = config.num_hidden_layers if config.step_size_per_layer else 1
            if config.step_size_type == "learned":
                self.time_embedding = HyperSETTimeEmbedding(config)
            if config.lora_rank:
                self.lora = HyperSETDepthwiseLoRA(config)
        self.step_sizes = nn.ModuleList(STEP_SIZES[config.step_size_type](config) for _ in range(num_step_sizes))
        # transformers' tests of rotary positions look for this name.
        self.rotary_emb = HyperSETRotaryEmbedding(config) if config.position_embedding_type == "rotary" else None
        self.norm = make_norm(config)
        self.adapters_are_checked = False
        self.post_init()

    @images_by_position
    @select_hidden_states
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        bool_masked_pos: torch.BoolTensor | None = None,
        interpolate_pos_encoding: bool = False,
        num_iterations: int | None = None,
        energy_tolerance: float | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> HyperSETModelOutput:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, seq_len)`): Token ids of a model with a `vocab_size`.
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`): Images, without `vocab_size`.
            attention_mask (`torch.Tensor` of shape `(batch_size, seq_len)`, *optional*): 1 for tokens, 0 for padding, on either
                side. `seq_len` counts [CLS]. Padding is left out, and takes no position except in a grid (`"sinusoidal_2d"`).
                So each row gives the same result as alone.
            inputs_embeds (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): Instead of `input_ids`. Positions are
                added to them.
            bool_masked_pos (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*): Patches to mask.
            interpolate_pos_encoding (`bool`): Whether to resize the positions, for images of another size than the config's.
            num_iterations (`int`, *optional*): Iterations of each layer in this call. Default: the config's.
            energy_tolerance (`float` or `False`, *optional*): Adaptive depth, see `iteration_hyperset.py`: a sample stops when
                its energy falls by no more than this, or after `num_iterations`. Default: the config's. In a causal model each
                token stops by its own energy.
            position_ids (`torch.LongTensor` of shape `(batch_size, seq_len)`, *optional*): Positions of token ids. Default:
                0, 1, 2, … without padding, and after those of the cache.
            past_key_values (`Cache`, *optional*): The cache of a causal model, with the tokens before `input_ids`. It was
                filled with the same `num_iterations`. `attention_mask` then covers those tokens too.
            use_cache (`bool`, *optional*): Whether to return the cache. Default: the config's, or `False` in training.
            output_hidden_states, output_attentions, output_energies, return_dict (`bool`, *optional*): What to return, see
                [`HyperSETModelOutput`]. `output_hidden_states` can also be indices of iterations; 0 is X_0.

        Raises:
            `ValueError`: no input, several inputs, or an argument that does not fit the config. The message names it.
            `TypeError`: an argument that does not exist.
        """
        check_exporter(self)
        self.check_adapters()
        num_iterations, tolerance = self.depth_of_call(num_iterations, energy_tolerance)
        outputs = self.outputs_of_call(kwargs)
        cache = self.cache_of_call(past_key_values, use_cache, num_iterations, tolerance, outputs)
        inputs = (input_ids, pixel_values, inputs_embeds)
        images_only = (bool_masked_pos, interpolate_pos_encoding)
        past = lengths_of_past(cache, input_ids if inputs_embeds is None else inputs_embeds, attention_mask)
        mask = check_inputs(self.config, self.embeddings.num_embeddings, *inputs, attention_mask, *images_only, *past)
        check_cache_size(cache, input_ids if inputs_embeds is None else inputs_embeds)
        is_grid = self.config.position_embedding_type == "sinusoidal_2d" and not self.is_causal
        if position_ids is not None and (pixel_values is not None or is_grid):
            raise ValueError("`position_ids` must be None for images and for a grid: their positions are fixed.")
        order = None
        if pixel_values is None:
            order, mask, position_ids = self.order_of_call(inputs, mask, position_ids, cache)
        elif self.is_causal:
            order = Order(is_causal=True, key_mask=mask)
        hidden_states = self.embeddings(*inputs, position_ids, *images_only)
        state: tuple[torch.Tensor, ...] = ()
        if self.velocity_embeddings is not None:
            if inputs_embeds is not None:
                raise ValueError(
                    "`inputs_embeds` must be None with velocity_start='embeddings': the velocity has embeddings of its own, of "
                    "`input_ids`."
                )
            state = (self.velocity_embeddings(*inputs, position_ids, *images_only),)
        is_pruned = kwargs.get("pooled_token_only", False) and self.reads_one_token and not any(outputs.values())
        is_pruned = is_pruned and cache is None and not (self.is_causal and tolerance is not None)
        hidden_states, num_iterations_used = self.descend(
            hidden_states,
            mask,
            num_iterations,
            tolerance,
            self.token_to_read if is_pruned else None,
            outputs,
            order,
            state,
        )
        last_hidden_state = self.norm(hidden_states)
        pooled = last_hidden_state[:, 0] if is_pruned else self.norm(self.pool(hidden_states, mask))
        return HyperSETModelOutput(
            last_hidden_state,
            pooled,
            num_iterations_used=num_iterations_used,  # type: ignore[arg-type]
            past_key_values=cache,
        )

    def order_of_call(
        self, inputs: tuple, mask: torch.Tensor | None, position_ids: torch.Tensor | None, cache: Cache | None
    ) -> tuple[Order | None, torch.Tensor | None, torch.Tensor | None]:
        """See [`order_of_call`] in `order_hyperset.py`."""
        input_ids, _, inputs_embeds = inputs
        tokens = input_ids if inputs_embeds is None else inputs_embeds
        batch_size, length = tokens.shape[:2]
        if self.config.position_embedding_type == "sinusoidal_2d" and not self.is_causal:
            return None, mask, None  # a grid: padding has a place in it
        if position_ids is not None:
            check_tensors(position_ids=position_ids)
            check_position_ids(position_ids, (batch_size, length), self.config)
        weight: Any = self.norm.weight
        like = weight.new_empty(0, device=tokens.device)
        return order_of_call((batch_size, length), self.is_causal, self.rotary_emb, like, mask, position_ids, cache)

    def cache_of_call(
        self,
        past_key_values: Cache | None,
        use_cache: bool | None,
        num_iterations: int,
        tolerance: float | None,
        outputs: dict[str, bool],
    ) -> Cache | None:
        """The cache to read and to fill in a call with these arguments, or `None`."""
        if not (self.is_causal and self.config.takes_token_ids):
            if past_key_values is not None or use_cache:
                raise ValueError(
                    "`use_cache` and `past_key_values` need a causal model of token ids: set attention_energy to "
                    f"'causal_softmax' or 'causal_linear' and a `vocab_size`, got {self.config.attention_energy!r} and "
                    f"{self.config.vocab_size}."
                )
            return None
        is_asked_for = past_key_values is not None or bool(use_cache)
        if tolerance is not None and self.lora is not None:
            if is_asked_for:
                raise ValueError("`use_cache` must be False with `energy_tolerance` and depth-wise LoRA.")
            return None
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if past_key_values is None and not use_cache:
            return None
        if self.training and self.layers[0].gradient_checkpointing:
            if is_asked_for:
                raise ValueError("`use_cache` must be False in training with gradient checkpointing.")
            return None
        cache = DynamicCache() if past_key_values is None else past_key_values
        prepare_cache(cache, len(self.layers) * num_iterations, self.layers[0].keeps)  # type: ignore[arg-type]
        if tolerance is not None and cache.layers and hasattr(cache.layers[0], "max_cache_len"):
            raise ValueError(
                "`energy_tolerance` cannot be used with a static cache: its tokens stop at different iterations."
            )
        if tolerance is not None and getattr(cache, "offloading", False):
            raise ValueError("`energy_tolerance` cannot be used with an offloaded cache: its slots are elsewhere.")
        if outputs["output_energies"] and is_filled(cache):
            raise ValueError(
                "`output_energies` cannot be used with a filled `past_key_values`: pass `use_cache=False`."
            )
        return cache

    def descend(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        num_iterations: int,
        energy_tolerance: float | None,
        rows_of: Callable | None,
        outputs: dict[str, bool],
        order: Order | None = None,
        initial_state: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """X_0 → the tokens after the last iteration of the last layer, see [`iterate`]."""
        run = iterate
        if energy_tolerance is not None:
            check_can_stop(hidden_states, **({} if self.is_causal else outputs))
            run = torch.compiler.disable(iterate)  # the batch shrinks, and torch would compile again for every size
        time_embeddings = self.time_embeddings(num_iterations, hidden_states.device)
        # One entry for each layer, even if the layers share a step size or have none.
        step_sizes: list[nn.Module | None] = list(self.step_sizes) or [None]
        step_sizes = step_sizes * (len(self.layers) // len(step_sizes))
        return run(
            list(self.layers),  # type: ignore[arg-type]
            step_sizes,
            hidden_states,
            attention_mask,
            time_embeddings,
            energy_tolerance,
            rows_of,
            self.lora,
            order,
            initial_state,
            output_attentions=outputs["output_attentions"],
            output_energies=outputs["output_energies"],
        )

    def time_embeddings(self, num_iterations: int, device: torch.device) -> Any:
        """e_t (or `None`) of every iteration."""
        if self.time_embedding is None:
            return [None] * num_iterations
        first: Any = self.step_sizes[0]
        return self.time_embedding(num_iterations, device, first.projection.weight.dtype)

    def depth_of_call(self, num_iterations: int | None, energy_tolerance: float | None) -> tuple[int, float | None]:
        """The iterations of each layer in a call with these arguments, and its tolerance (`None`: no adaptive depth)."""
        if num_iterations is None:
            num_iterations = self.config.num_iterations
        check_num_iterations(num_iterations, None if self.lora is None else self.lora.num_iterations)
        if energy_tolerance is None:
            energy_tolerance = self.config.energy_tolerance
        if energy_tolerance is None or energy_tolerance is False:
            return num_iterations, None
        check_energy_tolerance(energy_tolerance, self.config)
        return num_iterations, energy_tolerance

    def outputs_of_call(self, kwargs: dict) -> dict[str, bool]:
        """Which outputs the `kwargs` of a call ask for, or else the config. A keyword that does not exist is an error."""
        if unknown := [name for name in kwargs if name not in FORWARD_KWARGS]:
            raise TypeError(f"{type(self).__name__}.forward() got unexpected arguments: {', '.join(unknown)}.")
        names = ("output_hidden_states", "output_attentions", "output_energies")
        return {name: kwargs.get(name, getattr(self.config, name)) for name in names}

    def check_adapters(self) -> None:
        """Look once at adapters of PEFT, in the first call that has them: see [`check_adapters`]."""
        if self.adapters_are_checked or torch.compiler.is_compiling() or not self.training:
            return
        step_sizes = [step_size.projection for step_size in self.step_sizes if hasattr(step_size, "projection")]
        if not all(type(module) in (HyperSETProjection, ZeroLinear) for module in (*self.projections(), *step_sizes)):
            check_adapters(self, step_sizes)  # type: ignore[arg-type]
            self.adapters_are_checked = True

    def projections(self) -> list[nn.Module]:
        """W and D of every layer, where the layer has them."""
        if not self.config.has_step_sizes:
            return []
        return [part for layer in self.layers for part in (layer.attention.bases, layer.feedforward.directions)]  # type: ignore

    @property
    def reads_one_token(self) -> bool:
        """Whether the last iteration can compute only the pooled token."""
        return self.config.pooling == "cls" and self.layers[-1].takes_rows  # type: ignore[return-value]

    def token_to_read(self, attention_mask: torch.Tensor | None) -> FirstToken:
        """The selection of the token that `pooling="cls"` reads."""
        if self.is_causal:
            return LastToken(attention_mask)  # only the last token sees all
        return FirstToken(None if self.config.has_cls_token else attention_mask)

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """`(batch_size, seq_len, hidden_size)` → `(batch_size, hidden_size)`: one token, or the mean of tokens."""
        if self.config.pooling == "cls":
            return self.token_to_read(attention_mask)(hidden_states)[:, 0]
        if attention_mask is None:
            return hidden_states.mean(dim=1)
        mask = attention_mask.unsqueeze(-1)
        return hidden_states.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


class HyperSETHead(HyperSETPreTrainedModel):
    """The base of all heads: the model below, the loss and the outputs."""

    takes_token_ids: bool | None = None  # the input of the head: token ids, images, or (`None`) either
    needs_causal: bool | None = None  # whether its model must be causal, must not be, or (`None`) either
    output_class: type

    def __init__(self, config: HyperSETConfig, use_mask_token: bool = False):
        super().__init__(config)
        if self.takes_token_ids not in (None, config.takes_token_ids):
            wanted = "an integer" if self.takes_token_ids else "None"
            raise ValueError(f"{type(self).__name__} needs `vocab_size` to be {wanted}, got {config.vocab_size}.")
        if self.needs_causal not in (None, self.is_causal):
            wanted = "'causal_softmax' or 'causal_linear'" if self.needs_causal else "one that is not causal"
            raise ValueError(
                f"{type(self).__name__} needs `attention_energy` to be {wanted}, got {config.attention_energy!r}."
            )
        self.num_labels = config.num_labels
        self.hyperset = HyperSETModel(config, use_mask_token=use_mask_token)

    def sample_loss(self, logits: torch.Tensor, labels: torch.Tensor, kwargs: dict) -> torch.Tensor:
        """The loss for `problem_type`, with one label (or one vector of labels) per sample."""
        num_items = kwargs.get("num_items_in_batch")
        loss = self.loss_function(labels, logits, self.config, num_items_in_batch=num_items)
        if num_items is not None and labels.is_floating_point():
            # With `num_items_in_batch`, Trainer sums over the batches that it accumulates. But transformers' losses for
            # regression and for several labels are means even then.
            loss = loss * (labels.numel() / num_items)
        return loss

    def token_loss(self, logits: torch.Tensor, labels: torch.Tensor, kwargs: dict) -> torch.Tensor:
        """Mean cross-entropy over the labels that are not -100. If all are -100 it is zero, not NaN."""
        labels, num_items, shifted = labels.long(), kwargs.get("num_items_in_batch"), kwargs.get("shift_labels")
        if num_items is None:
            counted = labels[:, 1:] if self.needs_causal else labels  # the first token of a text is predicted by none
            num_items = ((counted if shifted is None else shifted) != -100).sum().clamp(min=1)
        sizes: dict[str, Any] = {"config": self.config, "vocab_size": logits.shape[-1]}
        sizes |= {"shift_labels": shifted} if self.needs_causal else {}
        return self.loss_function(logits=logits, labels=labels, num_items_in_batch=num_items, **sizes)

    def outputs(self, base: HyperSETModelOutput, **fields):
        """The head's own `fields`, and the recorded outputs of the model below."""
        names = ("hidden_states", "attentions", "energies", "num_iterations_used")
        return self.output_class(**fields, **{name: getattr(base, name) for name in names})


class HyperSETClassifier(HyperSETHead):
    """A head whose Linear gives a logit for each class."""

    def __init__(self, config: HyperSETConfig):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels, bias=config.classifier_bias)  # type: ignore[arg-type]
        self.post_init()


class HyperSETForImageClassification(HyperSETClassifier):
    """
    A norm and a Linear on the pooled tokens of an image.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification

    >>> config = HyperSETConfig(image_size=32, patch_size=8, hidden_size=64, num_attention_heads=4, num_labels=10)
    >>> model = HyperSETForImageClassification(config)
    >>> model(torch.randn(2, 3, 32, 32), num_iterations=24).logits.shape
    torch.Size([2, 10])
    ```
    """

    takes_token_ids = False
    output_class = HyperSETImageClassifierOutput

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        num_iterations: int | None = None,
        **kwargs,
    ) -> HyperSETImageClassifierOutput:
        r"""
        Args:
            pixel_values, interpolate_pos_encoding, num_iterations, energy_tolerance, output_…: as in [`HyperSETModel.forward`].
            labels (`torch.Tensor`, *optional*):
                Single-label classification: `torch.LongTensor` of shape `(batch_size,)`, in [0, num_labels). Multi-label:
                floats of shape `(batch_size, num_labels)`. Regression (`num_labels=1`): floats of shape `(batch_size,)`.

        Raises:
            `ValueError`: labels that do not fit, or as in [`HyperSETModel.forward`].
        """
        check_tensors(pixel_values=pixel_values, labels=labels)
        if labels is not None and pixel_values is not None:
            check_sample_labels(labels, len(pixel_values), self.config)
        base = self.hyperset(
            return_dict=True,
            pixel_values=pixel_values,
            interpolate_pos_encoding=interpolate_pos_encoding,
            num_iterations=num_iterations,
            pooled_token_only=self.config.prune_last_iteration,
            **kwargs,
        )
        logits = self.classifier(base.pooler_output)
        loss = self.sample_loss(logits, labels, kwargs) if labels is not None else None
        return self.outputs(base, loss=loss, logits=logits)


class HyperSETTextHead(HyperSETHead):
    """A head for token ids. A subclass computes the logits and checks the labels."""

    main_input_name = "input_ids"
    takes_token_ids = True
    reads_pooled = False  # whether it reads only the pooled token
    loss: Callable[..., torch.Tensor]  # takes the logits, the labels and the keywords of the call

    def logits_of(self, base: HyperSETModelOutput) -> torch.Tensor:
        """The logits."""
        raise NotImplementedError

    def check_labels(self, labels: torch.Tensor, shape: Sequence[int]) -> None:
        """Raise a `ValueError` if labels do not fit inputs of `shape` (batch_size, seq_len)."""
        raise NotImplementedError

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_iterations: int | None = None,
        **kwargs,
    ):
        r"""
        Args:
            input_ids, attention_mask, inputs_embeds, num_iterations, energy_tolerance, output_…:
                As in [`HyperSETModel.forward`].
            labels (`torch.Tensor`, *optional*): For sequence classification as in [`HyperSETForImageClassification.forward`].
                For tokens a `torch.LongTensor` of shape `(batch_size, seq_len)`, in [0, num_labels) or [0, vocab_size). -100
                marks tokens without a label: padding, the given cells of a Sudoku, tokens that are not masked.

        Raises:
            `ValueError`: labels that do not fit, or as in [`HyperSETModel.forward`].
        """
        check_tensors(input_ids=input_ids, inputs_embeds=inputs_embeds, labels=labels)
        tokens = input_ids if input_ids is not None else inputs_embeds
        if labels is not None and tokens is not None:
            self.check_labels(labels, tokens.shape[:2])
        base = self.hyperset(
            return_dict=True,
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            num_iterations=num_iterations,
            pooled_token_only=self.reads_pooled and self.config.prune_last_iteration,
            **{"use_cache": False, **kwargs},
        )
        logits = self.logits_of(base)
        loss = self.loss(logits, labels, kwargs) if labels is not None else None
        return self.outputs(base, loss=loss, logits=logits)


class HyperSETForSequenceClassification(HyperSETClassifier, HyperSETTextHead):
    """
    A norm and a Linear on the pooled tokens of a text.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETForSequenceClassification

    >>> config = HyperSETConfig(vocab_size=100, hidden_size=64, num_attention_heads=4, num_labels=5)
    >>> model = HyperSETForSequenceClassification(config)
    >>> input_ids, attention_mask = torch.tensor([[7, 8, 9], [7, 8, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    >>> model(input_ids, attention_mask=attention_mask).logits.shape
    torch.Size([2, 5])
    ```
    """

    output_class = HyperSETSequenceClassifierOutput
    reads_pooled = True
    loss = HyperSETHead.sample_loss

    def logits_of(self, base: HyperSETModelOutput) -> torch.Tensor:
        return self.classifier(base.pooler_output)

    def check_labels(self, labels: torch.Tensor, shape: Sequence[int]) -> None:
        check_sample_labels(labels, shape[0], self.config)


class HyperSETForTokenClassification(HyperSETClassifier, HyperSETTextHead):
    """
    A norm and a Linear on every token: the digit of every Sudoku cell, the tag of every word.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETForTokenClassification

    >>> config = HyperSETConfig(vocab_size=10, max_position_embeddings=81, hidden_size=64, num_attention_heads=4, num_labels=9)
    >>> model = HyperSETForTokenClassification(config)
    >>> model(torch.randint(0, 10, (2, 81))).logits.shape
    torch.Size([2, 81, 9])
    ```
    """

    output_class = HyperSETTokenClassifierOutput
    loss = HyperSETHead.token_loss

    def logits_of(self, base: HyperSETModelOutput) -> torch.Tensor:
        return self.classifier(base.last_hidden_state)

    def check_labels(self, labels: torch.Tensor, shape: Sequence[int]) -> None:
        check_token_labels(labels, shape, self.num_labels, "num_labels")  # type: ignore[arg-type]


class HyperSETForMaskedLM(HyperSETTextHead):
    """
    A norm and a Linear to the vocabulary on every token. By default the Linear shares the weight of the token embedding.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETForMaskedLM

    >>> config = HyperSETConfig(vocab_size=100, hidden_size=64, num_attention_heads=4)
    >>> model = HyperSETForMaskedLM(config)
    >>> model(torch.tensor([[7, 8, 9]])).logits.shape
    torch.Size([1, 3, 100])
    ```
    """

    output_class = HyperSETMaskedLMOutput
    needs_causal = False
    loss = HyperSETHead.token_loss
    _tied_weights_keys = {"decoder.weight": "hyperset.embeddings.token_embeddings.weight"}

    def __init__(self, config: HyperSETConfig):
        super().__init__(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)  # type: ignore[arg-type]
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.decoder

    def set_output_embeddings(self, value: nn.Linear):
        self.decoder = value

    def logits_of(self, base: HyperSETModelOutput) -> torch.Tensor:
        return self.decoder(base.last_hidden_state)

    def check_labels(self, labels: torch.Tensor, shape: Sequence[int]) -> None:
        check_token_labels(labels, shape, self.decoder.out_features, "vocab_size")


class HyperSETForCausalLM(HyperSETHead, GenerationMixin):
    """
    A norm and a Linear to the vocabulary on every token, to predict the next one. By default the Linear shares the weight of
    the token embedding. `generate()` works as everywhere in transformers, and also takes `num_iterations` and
    `energy_tolerance`.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETForCausalLM

    >>> config = HyperSETConfig(vocab_size=100, hidden_size=64, num_attention_heads=4, attention_energy="causal_softmax")
    >>> model = HyperSETForCausalLM(config)
    >>> model.generate(torch.tensor([[7, 8, 9]]), max_new_tokens=5, num_iterations=4, do_sample=False).shape
    torch.Size([1, 8])
    ```
    """

    main_input_name = "input_ids"
    takes_token_ids = True
    needs_causal = True
    output_class = HyperSETCausalLMOutput
    _tied_weights_keys = {"lm_head.weight": "hyperset.embeddings.token_embeddings.weight"}

    def __init__(self, config: HyperSETConfig):
        super().__init__(config)
        if config.position_embedding_type == "sinusoidal_2d":
            raise ValueError("`position_embedding_type` must not be 'sinusoidal_2d' for text, which is no grid.")
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)  # type: ignore[arg-type]
        # A state cannot go back to fewer tokens, as assisted generation needs.
        self._is_stateful = self.hyperset.layers[0].keeps == "state"
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear):
        self.lm_head = value

    def at_depth(self, num_iterations: int) -> "HyperSETForCausalLM":
        """
        This model with another number of iterations as its default, on the same weights: for example a fast draft,
        `model.generate(…, assistant_model=model.at_depth(2))`.

        Raises:
            `ValueError`: `num_iterations` is not an integer of at least 1, or there are fewer depth-wise adapters.
        """
        check_num_iterations(num_iterations, None if self.hyperset.lora is None else self.hyperset.lora.num_iterations)
        config = copy.deepcopy(self.config)
        config.num_iterations = num_iterations
        maybe_install_capturing_hooks(self.hyperset)  # the layers are shared: each is hooked once
        model, base = copy.copy(self), copy.copy(self.hyperset)
        for copied in (model, base):  # what is bound to the original
            for name in ("forward", "_old_forward", "_hf_hook", "_compiled_call", "_last_compile_config"):
                vars(copied).pop(name, None)
        model.config = base.config = config
        model.generation_config = copy.deepcopy(self.generation_config)
        model._modules = self._modules | {"hyperset": base}
        return model

    def create_masks_for_generate(self, config, inputs_embeds, attention_mask, past_key_values, **kwargs):
        """The mask of one call of `generate` with a compilable cache: of one size in all calls, so that it is compiled once."""
        if attention_mask is None:
            return None
        if self._is_stateful:
            return attention_mask[:, -inputs_embeds.shape[1] :]
        room = past_key_values.layers[0].max_cache_len
        return nn.functional.pad(attention_mask, (0, room - attention_mask.shape[1]))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_iterations: int | None = None,
        energy_tolerance: float | None = None,
        **kwargs,
    ) -> HyperSETCausalLMOutput:
        r"""
        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, num_iterations,
            energy_tolerance, output_…: As in [`HyperSETModel.forward`].
            labels (`torch.LongTensor` of shape `(batch_size, seq_len)`, *optional*): Usually the `input_ids`. They are shifted
                inside: token i predicts label i + 1. -100 marks tokens without a label, padding for example.
            logits_to_keep (`int` or `torch.LongTensor`, *optional*): Compute only the logits of the last so many tokens, or of
                the tokens with these indices. 0: of all.

        Raises:
            `ValueError`: an argument that does not fit the config or the other arguments. The message names it.
        """
        if "pooled_token_only" in kwargs:
            raise TypeError(f"{type(self).__name__}.forward() got an unexpected argument: pooled_token_only.")
        check_tensors(input_ids=input_ids, inputs_embeds=inputs_embeds, labels=labels)
        tokens = input_ids if input_ids is not None else inputs_embeds
        keeps_all = isinstance(logits_to_keep, int) and logits_to_keep == 0
        if labels is not None and tokens is not None:
            if not keeps_all:
                raise ValueError("`logits_to_keep` must be 0 with `labels`: the loss needs all logits.")
            check_token_labels(labels, tokens.shape[:2], self.lm_head.out_features, "vocab_size")
        base = self.hyperset(
            return_dict=True,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            num_iterations=num_iterations,
            energy_tolerance=energy_tolerance,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) and not keeps_all else logits_to_keep
        logits = self.lm_head(base.last_hidden_state if keeps_all else base.last_hidden_state[:, kept])
        loss = None if labels is None else self.token_loss(logits, labels, kwargs)
        return self.outputs(base, loss=loss, logits=logits, past_key_values=base.past_key_values)


class HyperSETForMaskedImageModeling(HyperSETHead):
    """
    Reconstruction of masked images. Without a `vocab_size` in the config it predicts pixels: a Linear from every token to its
    patch. With one it predicts VQ codes (the paper's task): a Linear to the `vocab_size - 1` codes of the codebook. The last
    id is the mask.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETConfig, HyperSETForMaskedImageModeling

    >>> config = HyperSETConfig(image_size=32, patch_size=8, hidden_size=64, num_attention_heads=4)
    >>> model = HyperSETForMaskedImageModeling(config)
    >>> outputs = model(torch.randn(2, 3, 32, 32), bool_masked_pos=torch.rand(2, 16) < 0.5)
    >>> outputs.reconstruction.shape, outputs.loss.shape
    (torch.Size([2, 3, 32, 32]), torch.Size([]))
    ```
    """

    output_class = HyperSETMaskedImageModelingOutput
    needs_causal = False

    def __init__(self, config: HyperSETConfig):
        super().__init__(config, use_mask_token=not config.takes_token_ids)
        self.loss_type = "ForMaskedLM"  # transformers has no loss with this head's name
        if config.vocab_size is not None:
            if config.vocab_size < 2:
                raise ValueError(f"`vocab_size` must be at least 2 (a code and the mask), got {config.vocab_size}.")
            outputs = config.vocab_size - 1
        else:
            outputs = config.num_channels * config.patch_size**2
        self.decoder = nn.Linear(config.hidden_size, outputs)
        self.post_init()

    @property
    def mask_token_id(self) -> int:
        """The id that stands for a masked code: the one after the codebook."""
        if not self.config.takes_token_ids:
            raise AttributeError("A model of pixels has no `mask_token_id`: pass `bool_masked_pos`.")
        return self.decoder.out_features

    def resize_token_embeddings(self, *args, **kwargs):
        raise ValueError("HyperSETForMaskedImageModeling cannot resize its vocabulary, the codebook and the mask.")

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        bool_masked_pos: torch.BoolTensor | None = None,
        input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        num_iterations: int | None = None,
        **kwargs,
    ) -> HyperSETMaskedImageModelingOutput:
        r"""
        Args:
            pixel_values, interpolate_pos_encoding, num_iterations, energy_tolerance, output_…: as in [`HyperSETModel.forward`].
            bool_masked_pos (`torch.BoolTensor` of shape `(batch_size, num_patches)`, or `(batch_size, rows, columns)`):
                The patches or codes to mask. If given, the loss is returned: the mean absolute error of the masked pixels, or
                the cross-entropy of the masked codes.
            input_ids (`torch.LongTensor` of shape `(batch_size, rows, columns)` or `(batch_size, num_codes)`):
                VQ codes. Codes that are already masked are `mask_token_id`.
            labels (`torch.LongTensor` shaped like `input_ids`, *optional*):
                The codes to predict, and -100 for the others. Default: the codes that `bool_masked_pos` masks.

        Raises:
            `ValueError`: an argument that does not fit the config or the other arguments. The message names it.
        """
        if "pooled_token_only" in kwargs:
            raise TypeError(f"{type(self).__name__}.forward() got an unexpected argument: pooled_token_only.")
        check_tensors(input_ids=input_ids, pixel_values=pixel_values, bool_masked_pos=bool_masked_pos, labels=labels)
        check_one_input(self.config, input_ids, pixel_values, None)
        kwargs["num_iterations"] = num_iterations
        if not self.config.takes_token_ids:
            if labels is not None:
                raise ValueError("`labels` must be None with vocab_size=None: the images are their own labels.")
            return self.forward_pixels(pixel_values, bool_masked_pos, interpolate_pos_encoding, kwargs)  # type: ignore[arg-type]
        if interpolate_pos_encoding:
            raise ValueError("`interpolate_pos_encoding` is for images; this model takes VQ codes.")
        return self.forward_codes(input_ids, bool_masked_pos, labels, kwargs)  # type: ignore[arg-type]

    def forward_codes(
        self, codes: torch.Tensor, bool_masked_pos: torch.Tensor | None, labels: torch.Tensor | None, kwargs: dict
    ) -> HyperSETMaskedImageModelingOutput:
        """Codes of shape `(batch_size, rows, columns)` or `(batch_size, num_codes)` → logits over the codebook."""
        is_grid = self.config.position_embedding_type == "sinusoidal_2d"
        grid: Sequence[int] | None = self.config.grid_size if is_grid else None
        if codes.ndim == 3:
            grid = tuple(codes.shape[1:]) if grid is None else grid
        codes = flatten_grid("input_ids", codes, grid)
        check_ids(codes, self.mask_token_id + 1)
        if bool_masked_pos is not None:
            masked = flatten_grid("bool_masked_pos", bool_masked_pos, grid).bool()
            check_shape("bool_masked_pos", masked, codes.shape, "(batch_size, num_patches)")
            if labels is None:
                check_range("input_ids", codes.masked_fill(~masked, 0), self.mask_token_id, "codebook size")
                labels = codes.masked_fill(~masked, -100)
            codes = codes.masked_fill(masked, self.mask_token_id)
        if labels is not None:
            labels = flatten_grid("labels", labels, grid)
            check_token_labels(labels, codes.shape, self.mask_token_id, "codebook size")
        base = self.hyperset(return_dict=True, input_ids=codes, **kwargs)
        logits = self.decoder(base.last_hidden_state)
        loss = self.token_loss(logits, labels, kwargs) if labels is not None else None
        return self.outputs(base, loss=loss, logits=logits)

    def forward_pixels(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.Tensor | None,
        interpolate_pos_encoding: bool,
        kwargs: dict,
    ) -> HyperSETMaskedImageModelingOutput:
        """Images of shape `(batch_size, num_channels, height, width)` → their reconstruction."""
        check_pixel_values(pixel_values, self.config, any_size=interpolate_pos_encoding)
        size = self.config.patch_size
        rows, columns = pixel_values.shape[-2] // size, pixel_values.shape[-1] // size
        if bool_masked_pos is not None:
            bool_masked_pos = flatten_grid("bool_masked_pos", bool_masked_pos, (rows, columns)).bool()
        base = self.hyperset(
            return_dict=True,
            pixel_values=pixel_values,
            bool_masked_pos=bool_masked_pos,
            interpolate_pos_encoding=interpolate_pos_encoding,
            **kwargs,
        )
        patches = self.decoder(base.last_hidden_state[:, int(self.config.has_cls_token) :])
        loss = None
        if bool_masked_pos is not None:
            error = (patches.float() - patchify(pixel_values, size).float()).abs().mean(dim=-1)
            loss = (error * bool_masked_pos).sum() / bool_masked_pos.sum().clamp(min=1)
        return self.outputs(base, loss=loss, reconstruction=unpatchify(patches, rows, columns, size))


class HyperSETBackbone(BackboneMixin, HyperSETPreTrainedModel):
    """
    Feature maps of an image after chosen iterations, for detection, segmentation and depth models that take a backbone.
    The embedded image is the stage `"stem"`. Iteration i, counted through all layers, is the stage `f"stage{i}"`.
    `config.out_features` or `config.out_indices` choose the stages; the default is the last one. Images may have any size
    that is a multiple of `patch_size`.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hyperset import HyperSETBackbone, HyperSETConfig

    >>> config = HyperSETConfig(image_size=32, patch_size=8, hidden_size=64, num_attention_heads=4)
    >>> [maps] = HyperSETBackbone(config)(torch.randn(2, 3, 32, 32)).feature_maps
    >>> maps.shape
    torch.Size([2, 64, 4, 4])
    ```
    """

    def __init__(self, config: HyperSETConfig):
        if config.takes_token_ids:
            raise ValueError(f"HyperSETBackbone takes images: `vocab_size` must be None, got {config.vocab_size}.")
        super().__init__(config)
        self.num_features = [config.hidden_size] * len(config.stage_names)
        self.hyperset = HyperSETModel(config)
        self.post_init()

    @BackboneMixin.out_features.getter  # type: ignore[attr-defined]
    def out_features(self) -> list[str]:
        return self.config.out_features  # type: ignore[return-value]

    @BackboneMixin.out_indices.getter  # type: ignore[attr-defined]
    def out_indices(self) -> list[int]:
        return self.config.out_indices  # type: ignore[return-value]

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: torch.Tensor, **kwargs) -> BackboneOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`): Images.
            output_hidden_states, output_attentions, return_dict (`bool`, *optional*): As in [`HyperSETModel.forward`].

        Returns:
            [`BackboneOutput`] with `feature_maps`: for each chosen stage its tokens, without [CLS], after the final norm, of
            shape `(batch_size, hidden_size, height / patch_size, width / patch_size)`.

        Raises:
            `ValueError`: as in [`HyperSETModel.forward`].
        """
        kwargs |= {"energy_tolerance": False, "return_dict": True}  # every stage needs its map
        base = self.hyperset(pixel_values=pixel_values, interpolate_pos_encoding=True, **kwargs)
        rows, columns = (side // self.config.patch_size for side in pixel_values.shape[-2:])
        feature_maps = tuple(
            self.hyperset.norm(tokens[:, int(self.config.has_cls_token) :]).mT.unflatten(-1, (rows, columns))
            for stage, tokens in zip(self.stage_names, base.hidden_states, strict=True)
            if stage in self.out_features
        )
        return BackboneOutput(feature_maps, hidden_states=base.hidden_states, attentions=base.attentions)


AUTO_CLASSES = {
    "AutoModel": HyperSETModel,
    "AutoBackbone": HyperSETBackbone,
    "AutoModelForCausalLM": HyperSETForCausalLM,
    "AutoModelForImageClassification": HyperSETForImageClassification,
    "AutoModelForMaskedImageModeling": HyperSETForMaskedImageModeling,
    "AutoModelForMaskedLM": HyperSETForMaskedLM,
    "AutoModelForSequenceClassification": HyperSETForSequenceClassification,
    "AutoModelForTokenClassification": HyperSETForTokenClassification,
}
for _auto_class, _model_class in AUTO_CLASSES.items():
    # Because of this, `save_pretrained` writes the code of these classes.
    _model_class.register_for_auto_class(_auto_class)  # type: ignore[attr-defined]

__all__ = ["HyperSETPreTrainedModel", *(cls.__name__ for cls in AUTO_CLASSES.values())]
