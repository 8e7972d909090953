# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' checkpoints: their options become a [`HyperSETConfig`], their tensors the weights of a model."""

from .convert import convert_original_checkpoint
from .weights import load_original_state_dict


__all__ = ["convert_original_checkpoint", "load_original_state_dict"]
