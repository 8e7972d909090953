# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Hyper-SET for transformers. Importing this package registers the family with the Auto classes."""

import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, BertTokenizer, ViTImageProcessorPil
from transformers.utils import is_torchvision_available

from .configuration_hyperset import HyperSETConfig
from .modeling_hyperset import (
    AUTO_CLASSES,
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
# Resizing and scaling images, and splitting text into BERT's word pieces (the paper's text model), are transformers' own.
_image_processors = {"pil": ViTImageProcessorPil}
if is_torchvision_available():
    _image_processors["torchvision"] = transformers.ViTImageProcessor
AutoImageProcessor.register(HyperSETConfig, image_processor_classes=_image_processors)
AutoTokenizer.register(HyperSETConfig, BertTokenizer)

__all__ = [
    "HyperSETConfig",
    "HyperSETForImageClassification",
    "HyperSETForMaskedImageModeling",
    "HyperSETForMaskedLM",
    "HyperSETForSequenceClassification",
    "HyperSETForTokenClassification",
    "HyperSETModel",
    "HyperSETPreTrainedModel",
]
