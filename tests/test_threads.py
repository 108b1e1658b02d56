"""What OpenMP is told before PyTorch is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blindinv import threads
from blindinv.threads import core_quota, share_cores


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


def test_threads_sleep_while_they_wait_unless_the_user_says_how(monkeypatch):
    monkeypatch.setattr(threads, "core_quota", lambda: None)
    for given in ({}, {"OMP_NUM_THREADS": "3"}, {"GOMP_SPINCOUNT": "7"}):
        environ = dict(given)
        share_cores(environ)
        assert environ == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"} | given
    environ = {"OMP_WAIT_POLICY": "active"}
    share_cores(environ)
    assert environ == {"OMP_WAIT_POLICY": "active"}


def test_a_limit_below_the_cores_is_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for quota, given, expected in ((2, {}, "2"), (2, {"OMP_NUM_THREADS": "5"}, "5"), (8, {}, None), (None, {}, None)):
        monkeypatch.setattr(threads, "core_quota", lambda quota=quota: quota)
        environ = dict(given)
        share_cores(environ)
        assert environ.get("OMP_NUM_THREADS") == expected


def test_the_command_says_it_before_torch_is_loaded():
    code = (
        "import os, sys\nfrom blindinv.cli import main\nsys.argv = ['blindinv', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'passive' and 'torch' not in sys.modules"
    )
    environ = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environ)
