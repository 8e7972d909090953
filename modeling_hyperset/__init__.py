# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Hyper-SET for transformers. Importing this package registers the family with the Auto classes."""

from transformers.utils import is_torchvision_available, is_vision_available

import transformers
from transformers import AutoConfig

from .configuration_hyperset import HyperSETConfig
from .modeling_hyperset import (
    AUTO_CLASSES,
    HyperSETBackbone,
    HyperSETForCausalLM,
    HyperSETForImageClassification,
    HyperSETForMaskedImageModeling,
    HyperSETForMaskedLM,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETModel,
    HyperSETPreTrainedModel,
)


__version__ = "0.1.0"

AutoConfig.register(HyperSETConfig.model_type, HyperSETConfig)
for _auto_class, _model_class in AUTO_CLASSES.items():
    getattr(transformers, _auto_class).register(HyperSETConfig, _model_class)
# transformers resizes and scales the images. Tokenizers need no registration: their files name their class.
if is_vision_available():
    # Imported from its own module: in transformers 5.17 the top-level name asks for torchvision without a need.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    _image_processors: dict[str, type] = {"pil": transformers.ViTImageProcessorPil}
    if is_torchvision_available():
        _image_processors["torchvision"] = transformers.ViTImageProcessor
    AutoImageProcessor.register(HyperSETConfig, image_processor_classes=_image_processors)

__all__ = [
    "HyperSETBackbone",
    "HyperSETConfig",
    "HyperSETForCausalLM",
    "HyperSETForImageClassification",
    "HyperSETForMaskedImageModeling",
    "HyperSETForMaskedLM",
    "HyperSETForSequenceClassification",
    "HyperSETForTokenClassification",
    "HyperSETModel",
    "HyperSETPreTrainedModel",
]
