# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train a model to fill in masked images, and measure what it fills in.

    python scripts/train_vq_model.py scripts/recipes/vq_digits.yaml
    python scripts/run_masked_image_modeling.py scripts/recipes/mim_digits.yaml
    python scripts/run_masked_image_modeling.py --config_name mim-base --vq_model_name_or_path vqgan/ --train_dir images/ \
        --do_train --do_eval --output_dir outputs/mim

A config with a `vocab_size` makes it the paper's task on VQ codes (Section 5.3, Appendix D.4): images become codes once, which
are kept; masked codes are predicted; at the end they are filled in by iterative decoding, turned into images, measured and
drawn. A config without one makes it masked image modeling of pixels, as in transformers' `run_mim.py`.
"""

from hyperset_lab.masked_images.task import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()
