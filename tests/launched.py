# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What the tests have `accelerate launch` start in the place of a script: `launched.py SCRIPT FLAGS…` runs the script
and sees that it leaves no thread of gloo behind, which can kill a process that ends.
"""

import runpy
import sys
from pathlib import Path


def threads() -> set[str]:
    """The names of this process's threads, where Linux tells them."""
    return {(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")}


def main() -> None:
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
    if left := [name for name in threads() if "gloo" in name]:
        sys.exit(f"Threads are left: {left}")


if __name__ == "__main__":
    main()
