"""Jobs side by side."""

import threading
import time

import pytest
import torch
from skimage import data

from blindinv import load_kernel_denoiser, load_prior
from blindinv.methods.latentdem import STARTS, Settings, better_starts
from blindinv.parallel import side_by_side
from blindinv.problem import Deblurring

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    """Sets the number of PyTorch's threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_as_many_jobs_at_a_time_as_pytorch_has_threads(threads):
    threads(3)
    meeting = threading.Barrier(3)  # breaks if fewer than three come
    with side_by_side(CPU) as pool:
        jobs = [pool.submit(meeting.wait, 10) for _ in range(3)]
        assert sorted(job.result() for job in jobs) == [0, 1, 2]


def test_one_at_a_time_on_other_devices(threads):
    threads(3)
    with side_by_side(torch.device("cuda")) as pool:
        assert len({pool.submit(threading.get_ident).result() for _ in range(4)}) == 1


def test_jobs_have_one_thread_and_the_caller_keeps_its_own(threads):
    threads(3)
    with side_by_side(CPU) as pool:
        assert [pool.submit(torch.get_num_threads).result() for _ in range(4)] == [1] * 4
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [3]


def test_what_has_not_begun_is_dropped_when_the_block_is_left(threads):
    threads(1)
    done: list[int] = []

    def job(i: int) -> None:
        time.sleep(0.2)
        done.append(i)

    with pytest.raises(KeyboardInterrupt), side_by_side(CPU) as pool:
        for i in range(20):
            pool.submit(job, i)
        raise KeyboardInterrupt
    assert len(done) <= 1


def test_a_failing_job_fails_the_caller():
    with pytest.raises(ZeroDivisionError), side_by_side(CPU) as pool:
        pool.submit(lambda: 1 / 0).result()


def test_starts_do_not_depend_on_the_number_of_threads(threads):
    y = torch.from_numpy(data.astronaut()[64:192, 128:256].copy()).permute(2, 0, 1)[None].float() / 255
    y = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(y, (4, 4, 0, 0), "reflect"), (1, 9), 1)
    problem, prior, denoiser = Deblurring.of(y, 0.01, 15, False), load_prior("photos"), load_kernel_denoiser()
    made = []
    for n in (1, 3):
        threads(n)
        with side_by_side(CPU) as pool:
            made.append(list(better_starts(problem, prior, denoiser, Settings(starts=STARTS[:4]), pool)))
    assert len(made[0]) == 5 and all(torch.equal(a, b) for a, b in zip(*made, strict=True))
    assert not any(k.requires_grad for k in made[0])
