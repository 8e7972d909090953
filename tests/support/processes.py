# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Work in a process of its own, which may be killed or change what is global, without the seconds that imports take."""

import os
import signal
import sys
import threading
import traceback

import torch


SECONDS = 900  # that a busy machine may take; a process that waits for ever is stopped then, and says where it was


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
    timer = threading.Timer(SECONDS, os.kill, (child, signal.SIGABRT))
    timer.daemon = True
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
