"""Independent work side by side."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def side_by_side(device: torch.device) -> Iterator[Executor]:
    """Threads for jobs that do not depend on each other: on a CPU as many as PyTorch uses, elsewhere one.

    Each job has a single thread for its tensors. Small transforms and convolutions gain little from more, and what a job
    finds does not depend on how many cores there are. Jobs that have not begun when the block is left, by Ctrl-C
    say, are dropped; those in hand are waited for. Gradients are on in a new thread: jobs switch them off themselves.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads if device.type == "cpu" else 1, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # of threads to come; this one's have not changed
