# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train a VQ model, the tokenizer of `run_masked_image_modeling.py`, where none is at hand.

    python scripts/train_vq_model.py scripts/recipes/vq_digits.yaml

The model is a `VQModel` of diffusers, and the folder that is written is one that `VQModel.from_pretrained` loads. It minimises
the mean squared error of the pixels plus the model's own commitment loss, from a codebook of encoded images: a VQ-VAE, without
the adversarial loss of a VQGAN. Codes that no image of an epoch met start anew.
"""

from hyperset_lab.masked_images.vq_training import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()
