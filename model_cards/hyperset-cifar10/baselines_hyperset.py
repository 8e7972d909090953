# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The paper's baselines as iterated layers: Transformer, Transformer with one matrix for queries, keys and values, CRATE, CRATE-T
and Energy Transformer. They differ from Hyper-SET only in the layer (`layer_type`).
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .attention_hyperset import implementation_of
from .causal_attention_hyperset import causal_scores, causal_softmax
from .configuration_hyperset import HyperSETConfig
from .energies_hyperset import sum_over_tokens
from .layers_hyperset import LAYERS, IteratedAttention, IteratedLayer, make_norm
from .order_hyperset import Order
from .projection_hyperset import HyperSETProjection, symmetric


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Softmax attention that forms its weights. `query`, `key` and `value` are (batch_size, num_heads, seq_len, head_dim)."""
    weights = masked_scores(query, key, attention_mask, scaling).softmax(dim=-1).to(value.dtype)
    return (weights @ value).transpose(1, 2), weights


def masked_scores(query, key, mask, scaling) -> torch.Tensor:
    """Scores in float32 at least. Keys that `mask` (from [`keys_to_see`]) hides get the lowest number."""
    scores = scaling * (query @ key.transpose(-1, -2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores if mask is None else scores.masked_fill(~mask, torch.finfo(scores.dtype).min)


def keys_to_see(mask: torch.Tensor | None) -> torch.Tensor | None:
    """`(batch_size, seq_len)` → `(batch_size, 1, 1, seq_len)`. A sample of only padding sees all keys, so it stays finite."""
    return None if mask is None else (mask | ~mask.any(dim=-1, keepdim=True))[:, None, None, :]


class SoftmaxAttention(IteratedAttention):
    """
    Softmax attention with scores scaled by 1/√p. It has no biases, but a subclass may add one.

    Args:
        config ([`HyperSETConfig`]): The configuration.
        shared_qkv (`bool`): Whether queries, keys and values share one matrix.
    """

    def __init__(self, config: HyperSETConfig, shared_qkv: bool):
        super().__init__()
        self.config = config
        self.is_causal = False
        self.scaling = config.head_dim**-0.5
        d = config.hidden_size
        self.qkv_projs = nn.ModuleList(nn.Linear(d, d, bias=False) for _ in range(1 if shared_qkv else 3))
        self.output_proj = self.make_output_proj(d)

    def make_output_proj(self, d: int) -> nn.Linear | None:
        return nn.Linear(d, d, bias=False)

    def project_output(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.output_proj(tensor)  # type: ignore[misc]

    def forward(self, hidden_states, attention_mask=None, output_attentions=False, order=None):
        """`(batch_size, seq_len, hidden_size)` → the same, and the weights if asked for. `attention_mask` is boolean."""
        roles = [
            projection(hidden_states).unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)
            for projection in self.qkv_projs
        ]
        query, key, value = roles if len(roles) == 3 else roles * 3
        name = implementation_of(self.config, query, output_attentions)
        if order is not None:
            query, key = order.rotate(query), order.rotate(key)
        if order is not None and order.is_causal:
            key, value = order.remember(key, value)
            output, weights = causal_softmax(query, key, value, self.scaling, order, name)
            return self.project_output(output.transpose(1, 2).flatten(2)), weights
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        output, weights = attention(self, query, key, value, keys_to_see(attention_mask), scaling=self.scaling)
        return self.project_output(output.flatten(2)), weights


class CRATEAttention(SoftmaxAttention):
    """Multi-head subspace self-attention: one projection U, and a separate output matrix with a bias."""

    def __init__(self, config: HyperSETConfig):
        super().__init__(config, shared_qkv=True)

    def make_output_proj(self, d):
        return nn.Linear(d, d)


class CRATETAttention(CRATEAttention):
    """CRATE-T: the projection is also the output matrix, applied as linear(·, U)."""

    def make_output_proj(self, d):
        return None

    def project_output(self, tensor):
        return self.qkv_projs[0](tensor)


class BaselineLayer(IteratedLayer):
    """A layer without step sizes."""

    @classmethod
    def attn_implementations(cls, config):
        return ("sdpa", "eager")

    def move(self, hidden_states, attention_mask, output_attentions, order: Order | None) -> torch.Tensor:
        """X_{t−1} → X_t, both of shape `(batch_size, seq_len, hidden_size)`."""
        raise NotImplementedError

    def forward(
        self,
        hidden_states,
        *unused,
        attention_mask=None,
        output_attentions=False,
        output_energies=False,
        order=None,
        **also_unused,
    ):
        hidden_states = self.move(hidden_states, attention_mask, output_attentions, order)
        energies = None
        if output_energies:
            energies = self.energies(hidden_states, attention_mask, None if order is None else order.alone())
        return hidden_states, energies


@LAYERS.register("transformer")
class TransformerLayer(BaselineLayer):
    """Pre-norm Transformer: separate Q, K, V and O, a ReLU MLP, no biases."""

    shared_qkv = False

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.attention_norm = make_norm(config, config.sublayer_norm_type)
        self.attention = SoftmaxAttention(config, shared_qkv=self.shared_qkv)
        self.mlp_norm = make_norm(config, config.sublayer_norm_type)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)  # type: ignore[arg-type]
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)  # type: ignore[arg-type]

    def move(self, hidden_states, attention_mask, output_attentions, order):
        attended, _ = self.attention(self.attention_norm(hidden_states), attention_mask, output_attentions, order)
        hidden_states = hidden_states + attended
        return hidden_states + self.down_proj(F.relu(self.up_proj(self.mlp_norm(hidden_states))))


@LAYERS.register("shared_qkv_transformer")
class SharedQKVTransformerLayer(TransformerLayer):
    """The Transformer with one matrix for queries, keys and values (Appendix F.3)."""

    shared_qkv = True


@LAYERS.register("crate")
class CRATELayer(BaselineLayer):
    """
    CRATE (Yu et al., 2023): u = attention(norm(x)) + x and y = norm(u), then one step of sparse coding with the dictionary C:
    relu(y + η (y C − (y Cᵀ) C) − η λ), with η = λ = 0.1.
    """

    attention_class = CRATEAttention
    step, sparsity = 0.1, 0.1

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.attention_norm = make_norm(config, config.sublayer_norm_type)
        self.attention = self.attention_class(config)
        self.coding_norm = make_norm(config, config.sublayer_norm_type)
        self.dictionary = HyperSETProjection(config.hidden_size, config.hidden_size)

    def move(self, hidden_states, attention_mask, output_attentions, order):
        attended, _ = self.attention(self.attention_norm(hidden_states), attention_mask, output_attentions, order)
        tokens = self.coding_norm(hidden_states + attended)
        dictionary = symmetric(self.dictionary)
        gradient = dictionary.back(tokens - dictionary(tokens))
        return F.relu(tokens + self.step * gradient - self.step * self.sparsity)


@LAYERS.register("crate_t")
class CRATETLayer(CRATELayer):
    """CRATE-T (Hu et al., 2024): CRATE without a separate output matrix in the attention."""

    attention_class = CRATETAttention


class EnergyLayerNorm(nn.Module):
    """LayerNorm with one gain for all channels and a bias for each."""

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.eps = config.layer_norm_eps
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, hidden_states):
        return F.layer_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps) * self.weight + self.bias


class EnergyAttention(IteratedAttention):
    """
    The attention energy of the Energy Transformer: −√p Σ_h Σ_q log Σ_k exp(A_qk/√p), with A = (W_q g)(W_k g)ᵀ. Its negative
    gradient with respect to g is P K W_q + Pᵀ Q W_k, where P is the softmax of A/√p over keys.

    In a causal model k ≤ q, and each token descends its own part of the sum while the keys are held fixed. P K W_q is left.
    """

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.head_dim, self.scaling = config.head_dim, config.head_dim**-0.5
        self.q_proj = HyperSETProjection(config.hidden_size, config.hidden_size)
        self.k_proj = HyperSETProjection(config.hidden_size, config.hidden_size)

    def heads(self, tensor):
        """`(batch_size, seq_len, hidden_size)` → `(batch_size, num_heads, seq_len, head_dim)`."""
        return tensor.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def queries_and_keys(self, tokens, order):
        """W_q g and W_k g, turned by rotary positions."""
        parts = (self.heads(symmetric(projection)(tokens)) for projection in (self.q_proj, self.k_proj))
        return parts if order is None else map(order.rotate, parts)

    def forward(self, tokens, attention_mask=None, output_attentions=False, order=None):
        """The direction, shaped like the normalised tokens, and P if asked for."""
        q_proj, k_proj = symmetric(self.q_proj), symmetric(self.k_proj)
        query, key = self.queries_and_keys(tokens, order)
        if order is not None and order.is_causal:
            keys, _ = order.remember(key)
            output, weights = causal_softmax(query, keys, keys, self.scaling, order, "eager", mask=attention_mask)
            to_queries = q_proj.back(order.turn_back(output).transpose(1, 2).flatten(2))
            return to_queries, weights if output_attentions else None
        scores = masked_scores(query, key, keys_to_see(attention_mask), self.scaling)
        weights = scores.softmax(dim=-1).to(tokens.dtype)
        if attention_mask is not None:
            weights = weights.masked_fill(~attention_mask[:, None, :, None], 0.0)
        turn_back = order.turn_back if order is not None else (lambda tokens: tokens)
        to_queries = q_proj.back(turn_back(weights @ key).transpose(1, 2).flatten(2))
        to_keys = k_proj.back(turn_back(weights.transpose(-1, -2) @ query).transpose(1, 2).flatten(2))
        return to_queries + to_keys, weights if output_attentions else None

    def token_values(self, tokens, order):
        """The causal energy of each token, of shape `(batch_size, seq_len)`."""
        query, key = self.queries_and_keys(tokens, order)
        past = order.past()
        keys = key if past is None else torch.cat((past.to(key.dtype), key), dim=-2)
        scores = causal_scores(query, keys, self.scaling, order)
        return -scores.logsumexp(dim=-1).sum(dim=1) / self.scaling

    def value(self, tokens, attention_mask=None, order=None):
        """The energy of each sample, of shape `(batch_size,)`."""
        query, key = self.queries_and_keys(tokens, order)
        per_token = masked_scores(query, key, keys_to_see(attention_mask), self.scaling).logsumexp(dim=-1)
        if attention_mask is not None:
            per_token = per_token.masked_fill(~attention_mask[:, None, :], 0.0)
        return -per_token.sum(dim=(1, 2)) / self.scaling


@LAYERS.register("energy_transformer")
class EnergyTransformerLayer(BaselineLayer):
    """Energy Transformer (Hoover et al., 2024): x ← x − ∇_g E(g), g = norm(x). Both energies in parallel, step size 1."""

    keeps = "tokens"

    @classmethod
    def attn_implementations(cls, config):
        return ("eager",)

    def __init__(self, config: HyperSETConfig):
        super().__init__()
        self.norm = EnergyLayerNorm(config)
        self.attention = EnergyAttention(config)
        self.memories = HyperSETProjection(config.hidden_size, config.intermediate_size)  # type: ignore[arg-type]

    def move(self, hidden_states, attention_mask, output_attentions, order):
        tokens = self.norm(hidden_states)
        direction, _ = self.attention(tokens, attention_mask, output_attentions, order)
        memories = symmetric(self.memories)
        return hidden_states + direction + memories.back(F.relu(memories(tokens)))

    def values(self, hidden_states, attention_mask, order=None):
        """The attention energy and −½ Σ ReLU(Ξ g)²."""
        tokens = self.norm(hidden_states)
        per_token = self.memory_values(tokens)
        return self.attention.value(tokens, attention_mask, order), sum_over_tokens(per_token, attention_mask)

    def memory_values(self, tokens):
        return -0.5 * F.relu(symmetric(self.memories)(tokens)).square().sum(dim=-1)

    def token_values(self, hidden_states, attention_mask, order):
        tokens = self.norm(hidden_states)
        return self.attention.token_values(tokens, order), self.memory_values(tokens)

    def remember(self, hidden_states, attention_mask, order):
        _, keys = self.attention.queries_and_keys(self.norm(hidden_states), order)
        order.remember(keys)
