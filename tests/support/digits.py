# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The README's first command, run once for all tests that need what it trains."""

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock


ROOT = Path(__file__).parents[2]


def train_digits(shared: Path) -> Path:
    """
    The folder `digits` in `shared`, with what the README's first command trains. The first process that asks trains it, on one
    thread, so that it is the same model every time; the others wait.
    """
    folder = shared / "digits"
    with FileLock(shared / "digits.lock"):
        if not (folder / "energy.png").is_file():  # the last file that is written
            recipe = ROOT / "scripts" / "recipes" / "digits.yaml"
            command = [sys.executable, ROOT / "scripts" / "run_image_classification.py", recipe]
            command += ["--output_dir", folder, "--report_to", "none", "--disable_tqdm", "true"]
            environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
            finished = subprocess.run(
                [*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            assert finished.returncode == 0, finished.stderr
    return folder
