# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Work in a process of its own, which may be killed or change what is global, without the seconds that imports take."""

import os
import sys
import traceback

import torch


def in_a_process(work) -> int:
    """Run `work` in a forked process, on one thread; 0 if all went well, else the signal that killed it, or -1."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)  # the threads of this process are not in the fork
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
