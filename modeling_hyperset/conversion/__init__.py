# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' checkpoints: their options become a [`HyperSETConfig`], their tensors the weights of a model."""

from .convert import convert_original_checkpoint, read_options
from .given import Source
from .vqgan import convert_vqgan
from .weights import load_original_state_dict


__all__ = ["Source", "convert_original_checkpoint", "convert_vqgan", "load_original_state_dict", "read_options"]
