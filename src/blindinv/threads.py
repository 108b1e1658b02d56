"""How many cores the commands use and how their threads wait: what OpenMP is told before PyTorch is loaded."""

import os
from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath

SPIN = 1000  # turns, some 50 microseconds, instead of 300 000


def share_cores(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait sleep, and have no more of them than a control group (Docker's --cpus) pays for.

    Threads of OpenMP spin while they wait. Where other processes want the cores too, a thread then spends its whole turn
    waiting for one that has no core. What the user has set stays as it is.

    How busy the machine is makes no difference to the number of threads: results depend on it, in the last digit at first.

    Args:
        environ: variables of the environment, which are read when PyTorch is loaded.
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ["OMP_WAIT_POLICY"] = "passive"
        environ.setdefault("GOMP_SPINCOUNT", str(SPIN))
    quota = core_quota()
    if quota is not None and quota < (os.cpu_count() or 1):
        environ.setdefault("OMP_NUM_THREADS", str(quota))


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
