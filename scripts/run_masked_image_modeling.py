# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train a model to fill in masked images, and measure what it fills in.

    python scripts/train_vq_model.py scripts/recipes/vq_digits.yaml
    python scripts/run_masked_image_modeling.py scripts/recipes/mim_digits.yaml
    python scripts/run_masked_image_modeling.py --config_name mim-base --vq_model_name_or_path vqgan/ --train_dir images/ \
        --do_train --do_eval --output_dir outputs/mim

With a config that has a `vocab_size`, it is the paper's task on VQ codes (Section 5.3, Appendix D.4). Images become codes once,
and the codes are kept. The model predicts masked codes. At the end iterative decoding fills them in, and the images are
measured and drawn. With another config it is masked image modeling of pixels, as in transformers' `run_mim.py`.
"""

from hyperset_lab.masked_images.task import TASK
from hyperset_lab.run import leave_processes


if __name__ == "__main__":
    TASK.main()
    leave_processes()
