# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The order of the tokens of a call: their positions, what each of them sees, and the cache of those that came before.

A cache has one slot for each iteration of each layer: slot layer · R + t − 1 for iteration t of R. A token has other subspace
tokens in every iteration, so iterations cannot share a slot. A cache is made for one number of iterations.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from .attention_hyperset import RowSelection
from .checks_hyperset import can_read_values, has_no_padding
from .configuration_hyperset import HyperSETConfig


class HyperSETRotaryEmbedding(nn.Module):
    """
    Cosines and sines of rotary positions. `config.rope_parameters` names the kind, as everywhere in transformers: `"default"`,
    or one for longer texts (`"linear"`, `"dynamic"`, `"yarn"`, `"llama3"`, …).
    """

    inv_freq: torch.Tensor

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        # transformers' update of long contexts and its initialisation read these names.
        self.config = config
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        self.rope_type = config.rope_parameters["rope_type"]  # type: ignore[index]
        compute: Callable = self.compute_default_rope_parameters
        if self.rope_type != "default":
            compute = ROPE_INIT_FUNCTIONS[self.rope_type]
        inv_freq, self.attention_scaling = compute(config)
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)

    @staticmethod
    def compute_default_rope_parameters(config: HyperSETConfig, device=None, **kwargs) -> tuple[torch.Tensor, float]:
        """The frequencies θ^(−2i/p), and the factor of cosines and sines."""
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float, device=device) / config.head_dim
        return config.rope_parameters["rope_theta"] ** -exponents, 1.0  # type: ignore[index]

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, tensor: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch_size or 1, seq_len)` → two of `(batch_size or 1, seq_len, head_dim)`, see [`Order.rotate`]."""
        angles = position_ids[:, :, None].float() * self.inv_freq.to(tensor.device)
        cosines, sines = (self.attention_scaling * function(angles) for function in (torch.cos, torch.sin))
        cosines, sines = torch.cat((cosines, cosines), dim=-1), torch.cat((-sines, sines), dim=-1)
        return cosines.to(tensor.dtype), sines.to(tensor.dtype)


class StateLayer(CacheLayerMixin):
    """
    A slot with one state per head, of a size that does not depend on the number of tokens: Σ Φ(z) Φ(z)ᵀ of all tokens so far.
    `keys` is the state, of shape `(batch_size, num_heads, head_dim, head_dim)`.
    """

    is_compileable = True
    is_sliding = False
    supports_early_init = False

    def __init__(self, **kwargs):
        super().__init__()
        # A tensor, so that torch.compile does not compile again for every token.
        self.cumulative_length: Any = torch.tensor(0)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor | None = None) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = torch.zeros_like(key_states), key_states.new_zeros(0)
        self.cumulative_length = self.cumulative_length.to(self.device)
        if not torch.compiler.is_compiling():  # CUDA graphs need an address that stays
            torch._dynamo.mark_static_address(self.keys)
            torch._dynamo.mark_static_address(self.cumulative_length)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states=None, *args, num_tokens: int = 1, **kwargs):
        """Replace the state, after `num_tokens` more tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states)
        self.keys.copy_(key_states)  # type: ignore[union-attr]
        self.cumulative_length.add_(num_tokens)
        return self.keys, self.values

    def get_seq_length(self) -> Any:
        return self.cumulative_length if self.is_initialized else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:  # the name before transformers 5.20
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        """
        Raises:
            `ValueError`: a state does not know its tokens one by one, so none can be taken out of it.
        """
        if tokens_to_remove:
            raise ValueError("The cache of a causal linear energy holds a sum over all tokens: it cannot be cropped.")

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self.select(lambda state: state.index_select(0, beam_idx.to(state.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.select(lambda state: state.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.select(lambda state: state[indices])

    def select(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if self.is_initialized:
            self.keys = function(self.keys)  # type: ignore[arg-type]


def prepare_cache(cache: Any, num_slots: int, keeps: str) -> None:
    """
    Give a new cache its slots. `keeps` says what a slot holds: `"pairs"` of keys and values, one tensor of `"tokens"`, or a
    `"state"`.

    Raises:
        `ValueError`: it is no cache of transformers; it was filled with another number of iterations; or it is quantised and
            a slot holds one tensor or a state.
    """
    if not isinstance(cache, Cache) or not isinstance(getattr(cache, "layers", None), list):
        raise ValueError(f"`past_key_values` must be a `Cache` of transformers, got {type(cache).__name__}.")
    if is_filled(cache):
        if len(cache.layers) != num_slots:
            raise ValueError(
                f"`past_key_values` was filled by {len(cache.layers)} iterations in all layers, and this call has "
                f"{num_slots}: pass the same `num_iterations`, or a new cache."
            )
        return
    kinds = [*map(type, cache.layers), getattr(cache, "layer_class_to_replicate", None)]
    if keeps != "pairs" and any("Quantized" in parent.__name__ for kind in kinds if kind for parent in kind.__mro__):
        raise ValueError(
            "`past_key_values` must not be quantised: a Hyper-SET cache holds one tensor per slot, not two."
        )
    if keeps == "state":
        cache.layers[:] = [StateLayer() for _ in range(num_slots)]
        cache.layer_class_to_replicate = None
    elif cache.layers:
        cache.layers[:] = [copy.deepcopy(cache.layers[0]) for _ in range(num_slots)]


def is_filled(cache: Any) -> bool:
    """Whether a call has put tokens into the cache."""
    return any(layer.is_initialized for layer in cache.layers)


def check_cache_size(cache: Any, tokens: torch.Tensor | None) -> None:
    """
    Raises:
        `ValueError`: the cache holds another number of texts than the call.
    """
    if cache is None or tokens is None or not is_filled(cache):
        return
    keys = cache.layers[0].keys
    if isinstance(keys, torch.Tensor) and keys.numel() and keys.shape[0] != tokens.shape[0]:
        raise ValueError(
            f"`past_key_values` holds {keys.shape[0]} texts, and this call has {tokens.shape[0]}: pass as many, or a new cache."
        )


def lengths_of_past(cache: Any, tokens: Any, attention_mask: Any) -> tuple[int, int | None]:
    """
    The number of tokens in the cache before those of a call (0 where reading it would wait for a device), and how many columns
    a mask must have: `None` if it is one for each token. The mask for a static cache may cover its whole length; that for
    states may cover only the new tokens.

    Raises:
        `ValueError`: the tokens do not fit into a static cache.
    """
    if cache is None:
        return 0, None
    length, columns = (
        tensor.shape[1] if isinstance(tensor, torch.Tensor) and tensor.ndim > 1 else 0
        for tensor in (tokens, attention_mask)
    )
    past = cache.get_seq_length()
    is_known = not isinstance(past, torch.Tensor) or can_read_values(past)
    past = int(past) if is_known else 0
    first = cache.layers[0] if cache.layers else None
    if isinstance(first, StateLayer):
        return past, columns if columns == length or (columns > length and not is_known) else None
    room = getattr(first, "max_cache_len", None)
    if room is None:
        return past, None
    if past + length > room:
        raise ValueError(
            f"`past_key_values` has room for {room} tokens, got {length} after {past}: pass a larger static cache."
        )
    return past, columns if past + length <= columns <= room else None


@dataclass(frozen=True)
class Order:
    """
    What the layers have to know about the order of the tokens of a call.

    Args:
        is_causal (`bool`): Whether a token sees only itself and what came before.
        rotary (two `torch.Tensor` of shape `(batch_size or 1, 1, seq_len, head_dim)`, *optional*): Cosines and sines.
        key_mask (`torch.BoolTensor` of shape `(batch_size, num_keys)`, *optional*):
            `False` for padding. The keys are the tokens of the call, after those of the cache.
        visible (`torch.BoolTensor` of shape `(batch_size or 1, 1, seq_len, num_keys)`, *optional*):
            Which keys a token sees, if there are keys that are not of this call. `None`: a single token that sees all.
        is_prefill (`bool`): Whether the tokens of the call are the first.
        cache (`Cache`, *optional*): Where the layers keep what later tokens need.
        slot (`int`): The slot of this layer and iteration.
    """

    is_causal: bool = False
    rotary: tuple[torch.Tensor, torch.Tensor] | None = None
    key_mask: torch.Tensor | None = None
    visible: torch.Tensor | None = None
    is_prefill: bool = True
    cache: Any = None
    slot: int = 0

    def at(self, slot: int) -> "Order":
        """The same for another slot."""
        return self if self.cache is None else replace(self, slot=slot)

    def alone(self) -> "Order":
        """The same without the cache: the tokens of a call whose cache was empty, after their iteration has filled it."""
        return replace(self, cache=None)

    def of(self, samples: torch.Tensor) -> "Order":
        """The same for some samples of the batch. (Only without a cache.)"""

        def select(tensor):
            return tensor if tensor is None or len(tensor) == 1 else tensor[samples]

        rotary = None if self.rotary is None else tuple(map(select, self.rotary))
        return replace(self, rotary=rotary, key_mask=select(self.key_mask), visible=select(self.visible))

    def rotate(self, tokens: torch.Tensor) -> torch.Tensor:
        """
        R_i z_i: `(batch_size, num_heads, seq_len, head_dim)`, each token turned by its position. The two halves of the last
        dimension, a and b, become a cos − b sin and b cos + a sin. (The sines of the first half have a minus already.)
        """
        if self.rotary is None:
            return tokens
        cosines, sines = (part.to(tokens.dtype) for part in self.rotary)
        return torch.addcmul(tokens * cosines, tokens.roll(tokens.shape[-1] // 2, -1), sines)

    def turn_back(self, tokens: torch.Tensor, rows: RowSelection | None = None) -> torch.Tensor:
        """R_iᵀ y_i, of all tokens or of the `rows` that they are."""
        if self.rotary is None:
            return tokens
        cosines, sines = (part.to(tokens.dtype) for part in self.rotary)
        if rows is not None:
            cosines, sines = (rows(part.expand(tokens.shape[0], -1, -1, -1)) for part in (cosines, sines))
        return torch.addcmul(tokens * cosines, tokens.roll(tokens.shape[-1] // 2, -1), sines, value=-1)

    def remember(self, keys: torch.Tensor, values: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Put the keys of this call into the cache, and the values if they are other tensors. All are of shape `(batch_size,
        num_heads, seq_len, head_dim)`.

        Returns:
            Keys and values of all tokens so far.
        """
        if self.cache is None:
            return keys, keys if values is None else values
        # Without values a slot holds one tensor: the other has no columns, and takes no memory.
        all_keys, all_values = self.cache.update(keys, keys[..., :0] if values is None else values, self.slot)
        if self.is_prefill:  # a static cache returns its whole length
            return keys, keys if values is None else values
        return all_keys, all_keys if values is None else all_values

    def past(self) -> torch.Tensor | None:
        """What is in the slot before this call: keys `(batch_size, num_heads, num_past, head_dim)`, or a state."""
        if (
            self.cache is None
            or self.slot >= len(self.cache.layers)
            or not self.cache.layers[self.slot].is_initialized
        ):
            return None
        return self.cache.layers[self.slot].keys

    def keep_state(self, state: torch.Tensor, num_tokens: int) -> None:
        """Put the state after this call into the cache. No gradient flows through it."""
        if self.cache is not None:
            self.cache.layers[self.slot].update(state.detach(), num_tokens=num_tokens)


def order_of_call(
    shape: tuple[int, int],
    is_causal: bool,
    rotary: nn.Module | None,
    like: torch.Tensor,
    mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    cache: Any,
) -> tuple[Order | None, torch.Tensor | None, torch.Tensor | None]:
    """
    What the layers have to know of a call whose tokens have `shape` (batch_size, seq_len).

    Args:
        rotary ([`HyperSETRotaryEmbedding`], *optional*): Makes the cosines and sines.
        like (`torch.Tensor`): A tensor of the dtype and device of the tokens.
        mask (`torch.BoolTensor` of shape `(batch_size, num_keys)`, *optional*): `False` for padding, of the cache too.
        position_ids (`torch.LongTensor` of shape `(batch_size or 1, seq_len)`, *optional*): Positions that the caller chose.
        cache (`Cache`, *optional*): The cache, prepared.

    Returns:
        The order (`None` if it does not matter), the mask of the tokens of this call, and their positions. Without padding,
        cache and `position_ids` the positions are `None`: they are 0, 1, 2, ….
    """
    length, past = shape[1], 0 if cache is None else cache.get_seq_length()
    room = None if cache is None or not cache.layers else getattr(cache.layers[0], "max_cache_len", None)
    steps = torch.arange(length, device=like.device)
    if mask is not None and is_causal and has_no_padding(mask) and mask.shape[1] == length + past:
        mask = None

    def own(columns: torch.Tensor) -> torch.Tensor:
        """The columns of this call. (A mask for a static cache may go beyond them.)"""
        return columns[:, -length:] if room is None else columns.index_select(1, steps + past)

    if position_ids is None and mask is not None:
        position_ids = own((mask.long().cumsum(dim=-1) - 1).clamp(min=0))  # padding takes no position, on either side
        keeps_states = cache is not None and cache.layers and isinstance(cache.layers[0], StateLayer)
        if keeps_states and mask.shape[1] == length:
            position_ids = position_ids + past  # the mask covers only the tokens of this call
    elif position_ids is None and cache is not None:
        position_ids = (steps + past)[None]
    own_mask = None if mask is None else own(mask)
    turns = None
    if rotary is not None:
        cosines, sines = rotary(like, steps[None] if position_ids is None else position_ids)
        turns = cosines[:, None], sines[:, None]  # one for all heads
    if not is_causal:
        return None if turns is None else Order(rotary=turns), own_mask, position_ids
    is_prefill = isinstance(past, int) and past == 0
    order = Order(True, turns, own_mask if is_prefill else mask, is_prefill=is_prefill, cache=cache)
    if is_prefill or isinstance(cache.layers[0], StateLayer):
        return order, own_mask, position_ids
    num_keys = past + length if room is None else room
    if room is None and length == 1:
        visible = None if mask is None else mask[:, None, None, :]
    else:
        visible = (torch.arange(num_keys, device=like.device) <= (steps + past)[:, None])[None, None]
        if mask is not None:
            if room is not None:
                mask = nn.functional.pad(mask, (0, room - mask.shape[1]))
            visible = visible & mask[:, None, None, :]
    if visible is not None and own_mask is not None:
        visible = visible | ~own_mask[:, None, :, None]  # padding sees all: its softmax is finite, and is dropped
    return replace(order, visible=visible), own_mask, position_ids
