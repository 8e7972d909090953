# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train a VQ model: the tokenizer of `run_masked_image_modeling.py`, for those who have none.

    python scripts/train_vq_model.py scripts/recipes/vq_digits.yaml

The model is a `VQModel` of diffusers; `VQModel.from_pretrained` loads the folder that is written. The loss is the mean squared
error of the pixels plus the model's own commitment loss. So it is a VQ-VAE: it has no adversarial loss as a VQGAN has. The
codebook starts from encoded images. After an epoch, codes that no image used start again from encoded images.
"""

from hyperset_lab.masked_images.vq_training import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()
