"""What OpenMP is told before PyTorch is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blindinv import threads
from blindinv.threads import core_quota, others_running, share_cores


def group(tmp_path: Path, **limits: str) -> tuple[Path, Path]:
    """A process in the group /a/b, and a folder of groups with cpu.max in some of them."""
    process, groups = tmp_path / "cgroup", tmp_path / "groups"
    process.write_text("1:name=systemd:/elsewhere\n0::/a/b\n")
    (groups / "a" / "b").mkdir(parents=True)
    for name, text in limits.items():
        ({"top": groups, "a": groups / "a", "b": groups / "a" / "b"}[name] / "cpu.max").write_text(text)
    return process, groups


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({}, None),
        ({"b": "max 100000\n"}, None),
        ({"b": "250000 100000\n"}, 2),
        ({"b": "50000 100000\n"}, 1),
        ({"a": "300000 100000\n", "b": "max 100000\n"}, 3),
        ({"top": "400000 100000\n", "a": "300000 100000\n", "b": "800000 100000\n"}, 3),
        ({"b": "nonsense\n"}, None),
    ],
)
def test_the_smallest_limit_above_the_process_counts(tmp_path, limits, cores):
    assert core_quota(*group(tmp_path, **limits)) == cores


def test_in_a_container_the_top_is_its_own_group(tmp_path):
    """The name may be that outside the container, of which there is no folder inside."""
    process, groups = group(tmp_path, top="200000 100000\n")
    process.write_text("0::/docker/0123456789ab\n")
    assert core_quota(process, groups) == 2


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert core_quota(tmp_path / "none", tmp_path) is None
    (tmp_path / "old").write_text("4:cpu,cpuacct:/a\n")
    assert core_quota(tmp_path / "old", tmp_path) is None


@pytest.fixture
def machine(monkeypatch):
    """A machine of 8 cores with a number of other running threads, and a process with some cores and a quota."""

    def of(running: int = 0, own: int = 8, quota: int | None = None) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        monkeypatch.setattr(threads, "_own_cores", lambda: own)
        monkeypatch.setattr(threads, "core_quota", lambda: quota)
        monkeypatch.setattr(threads, "others_running", lambda: running)

    return of


def told(**given: str) -> dict[str, str]:
    environ = dict(given)
    share_cores(environ)
    return environ


def test_threads_sleep_while_they_wait_unless_the_user_says_how(machine):
    machine()
    for given in ({}, {"OMP_NUM_THREADS": "3"}, {"GOMP_SPINCOUNT": "7"}):
        assert told(**given) == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"} | given
    assert told(OMP_WAIT_POLICY="active") == {"OMP_WAIT_POLICY": "active"}


def test_a_limit_below_the_cores_is_the_number_of_threads(machine):
    for quota, own, expected in ((2, 8, "2"), (8, 8, None), (4, 3, None), (None, 8, None)):
        machine(own=own, quota=quota)
        assert told().get("OMP_NUM_THREADS") == expected
    machine(quota=2)
    assert told(OMP_NUM_THREADS="5")["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(
    ("running", "own", "quota", "fft"), [(0, 8, None, None), (3, 8, None, 5), (9, 8, None, 1), (3, 4, None, None), (6, 8, 3, 2)]
)
def test_fourier_transforms_take_the_cores_that_are_free(machine, running, own, quota, fft):
    machine(running, own, quota)
    environ = told()
    assert environ.get("MKL_DOMAIN_NUM_THREADS") == (fft and f"MKL_DOMAIN_FFT={fft}")
    assert environ.get("OMP_NUM_THREADS") == (quota and str(quota))  # whatever else runs
    assert "MKL_DOMAIN_NUM_THREADS" not in told(OMP_NUM_THREADS="8")


def test_running_threads_are_read_from_the_system(tmp_path):
    file = tmp_path / "loadavg"
    file.write_text("2.21 2.15 2.32 4/139 2364\n")
    assert others_running(file) == 3
    file.write_text("0.00 0.00 0.00 0/0 0\n")
    assert others_running(file) == 0 and others_running(tmp_path / "none") == 0


def test_the_command_says_it_before_torch_is_loaded():
    code = (
        "import os, sys\nfrom blindinv.cli import main\nsys.argv = ['blindinv', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'passive' and 'torch' not in sys.modules"
    )
    environ = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environ)
