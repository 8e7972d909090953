# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What the tests have `accelerate launch` start in the place of a script: `launched.py [--as-gpus] SCRIPT FLAGS…` runs the script
and sees that it leaves no thread of gloo behind, which can kill a process that ends.

`--as-gpus` has accelerate take the processes for ones with a GPU each: it shards no model on CPUs, though torch does.
"""

import os
import runpy
import sys
from pathlib import Path


def take_processes_for_gpus() -> None:
    """Answer accelerate's only question about the hardware: the backend and the kind of processes."""
    from accelerate.utils import DistributedType

    from accelerate import PartialState

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)


def threads() -> set[str]:
    """The names of this process's threads, where Linux tells them."""
    return {(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")}


def main() -> None:
    as_gpus = sys.argv[1] == "--as-gpus"
    sys.argv = sys.argv[1 + as_gpus :]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    if as_gpus:
        take_processes_for_gpus()
        sys.argv.remove("--use_cpu")
    runpy.run_path(sys.argv[0], run_name="__main__")
    if as_gpus:
        # torch's caches of how to compute with shards keep the group, and so its threads; with GPUs these are not gloo's.
        sys.stdout.flush()
        os._exit(0)
    if left := [name for name in threads() if "gloo" in name]:
        sys.exit(f"Threads are left: {left}")


if __name__ == "__main__":
    main()
