"""Results on disk: one line of JSON for each method and image, only ever appended."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("blindinv", "torch", "numpy", "pillow", "diffusers")
SHARED = ("config", "versions", "sha256")


@dataclass(frozen=True)
class Record:
    """What one method made of one image.

    Attributes:
        benchmark: name of the task.
        method: name of the row.
        image: name of the case.
        seed: of the method's random numbers.
        config: everything else that decides the result, resolved.
        sha256: of the image file and of the weights that were used.
        versions: of Python, of packages and of the package's source, and the number of threads.
        figures: PSNR and so on.
        seconds: wall-clock time of the method, of its batch divided by the batch size.
        cpu_seconds: the same in processor time of all threads.
        curves: figures at every full step, and "t".
        kernels: "found" and "true" as PNG in base64, where a figure shows them.
    """

    benchmark: str
    method: str
    image: str
    seed: int
    config: dict[str, Any]
    sha256: dict[str, str]
    versions: dict[str, str]
    figures: dict[str, float]
    seconds: float
    cpu_seconds: float
    curves: dict[str, list[float]] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for records of the same experiment, whenever and by whatever version it was run."""
        return key(self.benchmark, self.method, self.image, self.seed, self.config, self.sha256)


def key(benchmark: str, method: str, image: str, seed: int, config: dict[str, Any], sha256: dict[str, str]) -> str:
    """Identity of an experiment; see `Record`."""
    return json.dumps([benchmark, method, image, seed, config, sha256], sort_keys=True)


def read(path: Path) -> dict[str, Record]:
    """The stored records by key, the latest of each; lines that a killed writer left half-written are passed over."""
    records: dict[str, Record] = {}
    shared: dict[str, Any] = {}
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                if "shared" in line:
                    shared[line["shared"]] = line["value"]
                    continue
                record = Record(**{k: shared[v] if k in SHARED and isinstance(v, str) else v for k, v in line.items()})
            except (json.JSONDecodeError, TypeError, KeyError):
                continue
            records[record.key] = record
    return records


def pack(records: Iterable[Record]) -> str:
    """Records as `read` takes them, small enough to be kept with the docs.

    What many of them share is written once, in a line of its own before the first that needs it; numbers have five digits.
    """
    lines, known = [], set()
    for record in records:
        line = asdict(record)
        for name in SHARED:
            text = json.dumps(line[name], sort_keys=True)
            mark = "#" + hashlib.sha256(text.encode()).hexdigest()[:12]
            if mark not in known:
                lines.append({"shared": mark, "value": line[name]})
                known.add(mark)
            line[name] = mark
        line |= {k: _short(line[k]) for k in ("figures", "seconds", "cpu_seconds", "curves")}
        lines.append({k: v for k, v in line.items() if v or k not in ("curves", "kernels")})
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.5g}")


def append(path: Path, records: Iterable[Record]) -> None:
    """Add records in one write, so that either all of them are there or the last line is visibly broken.

    The file and its folder are made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(asdict(r), sort_keys=True) + "\n" for r in records)
    with path.open("ab+", buffering=0) as f:
        size = f.seek(0, os.SEEK_END)
        if size:
            f.seek(size - 1)
            text = text if f.read(1) == b"\n" else "\n" + text
        f.write(text.encode())
        os.fsync(f.fileno())


def sha256(path: Path) -> str:
    """Of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of Python and the packages that decide results, a hash of this package's own source, and the number of threads."""
    import torch

    digest, root = hashlib.sha256(), Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return (
        {"python": platform.python_version()}
        | {p: version(p) for p in PACKAGES}
        | {
            "source": digest.hexdigest(),
            "threads": str(torch.get_num_threads()),
        }
    )
