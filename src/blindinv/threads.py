"""How many cores the commands use and how their threads wait: what OpenMP is told before PyTorch is loaded."""

import os
from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath

SPIN = 1000  # turns, some 50 microseconds, instead of 300 000


def share_cores(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait sleep, and take no more cores than a control group (Docker's --cpus) pays for.

    Threads of OpenMP spin while they wait. Where other processes want the cores too, a thread then spends its whole turn
    waiting for one that has no core. The Fourier transforms of MKL spin whatever OpenMP is told, so that they get no more
    threads than cores are free now; their results do not depend on it (same bytes for one to four threads).
    All else does, in the last digit at first: the number of its threads takes no account of how busy the machine is.
    What the user has set stays as it is.

    Args:
        environ: variables of the environment, which are read when PyTorch is loaded.
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ["OMP_WAIT_POLICY"] = "passive"
        environ.setdefault("GOMP_SPINCOUNT", str(SPIN))
    if "OMP_NUM_THREADS" in environ:
        return
    machine, own, quota = os.cpu_count() or 1, _own_cores(), core_quota()
    if quota is not None and quota < own:
        environ["OMP_NUM_THREADS"], own = str(quota), quota
    free = machine - others_running()
    if free < own:
        environ.setdefault("MKL_DOMAIN_NUM_THREADS", f"MKL_DOMAIN_FFT={max(1, free)}")


def _own_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def others_running(file: Path = Path("/proc/loadavg")) -> int:
    """Threads of other processes that run or wait for a core at this moment; 0 where the system does not tell."""
    try:
        return max(0, int(file.read_text().split()[3].partition("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return 0


def core_quota(process: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Whole cores that the control groups (version 2) of this process pay for, 1 at least; None without a limit.

    Args:
        process: file that names the group.
        groups: folder of all groups. cpu.max in each has the time that it may use in a period, or "max", and the period.
    """
    try:
        name = next(line[3:] for line in process.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    paths = [groups.joinpath(*path.parts[1:]) for path in (PurePosixPath(name), *PurePosixPath(name).parents)]
    found = []
    for path in paths:
        try:
            time, period = (path / "cpu.max").read_text().split()
            found.append(max(1, int(time) // int(period)))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(found, default=None)
