"""What can be asked of `blindinv views` and `blindinv mesh`, checked."""

import math
from dataclasses import dataclass

from blindinv.photo.errors import PhotoError
from blindinv.views.camera import RADIUS, Camera
from blindinv.views.reconstruct import REFINED, STEEPEST
from blindinv.views.rings import rings

MESH_FORMATS = ("glb", "obj", "ply")


@dataclass(frozen=True)
class ViewsSettings:
    """Settings of a run.

    Attributes:
        prior: name of the shipped view prior, a path or a hub id.
        elevation: of the first camera, degrees, or None: estimated.
        poses: (polar, azimuth, radius) of every picture's camera in degrees and sides of the unit cube, if they are known.
        views: novel views.
        novel_elevations: of the novel views, degrees, taken in turn. None: that of the first camera.
        steps: of the reverse diffusion.
        search_steps: of the descent to each pose before that.
        guidance: of classifier-free guidance, or None: the prior's own.
        refine: the M-step re-estimates searched poses below this timestep of 1000.
        two_chains: algorithm 2's E-step.
        as_is: pictures are square, on white and well framed.
        half: whether networks of Zero123 run in float16.
        chunk: evaluations of the prior at a time.
        seed: of all random numbers.
        device: such as "cpu" or "cuda".
    """

    prior: str = "objects"
    elevation: float | None = None
    poses: tuple[tuple[float, float, float], ...] = ()
    views: int = 16
    novel_elevations: tuple[float, ...] | None = None
    steps: int = 50
    search_steps: int = 12
    guidance: float | None = None
    refine: int = REFINED
    two_chains: bool = False
    as_is: bool = False
    half: bool = False
    chunk: int = 32
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check what can be checked without a picture."""
        if not 1 <= self.views <= 1000:
            raise PhotoError(f"--views {self.views}: give 1 to 1000 novel views")
        if not 1 <= self.steps <= 1000:
            raise PhotoError(f"--steps {self.steps}: give 1 to 1000 steps")
        if not 1 <= self.search_steps <= 10_000:
            raise PhotoError(f"--search-steps {self.search_steps}: give 1 to 10000 steps")
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise PhotoError(f"--guidance {self.guidance:g}: give 0 or more; 1 is none, Zero123's is 3")
        if not 0 <= self.refine <= 1000:
            raise PhotoError(f"--refine {self.refine}: give a timestep from 0 (never) to 1000 (at every step, as published)")
        if self.chunk < 1:
            raise PhotoError(f"--chunk {self.chunk}: give 1 or more")
        if self.seed < 0:
            raise PhotoError(f"--seed {self.seed}: give 0 or more")
        if self.poses and self.elevation is not None:
            raise PhotoError("--elevation and --pose both say how high the first camera stood; give one of them")
        if self.half and self.device == "cpu":
            raise PhotoError("--half: float16 networks need a CUDA device")

    def cameras(self) -> Camera | None:
        """Those that took the pictures, if they are known."""
        if not self.poses:
            return None
        polar, azimuth, radius = zip(*self.poses, strict=True)
        return Camera.degrees([90 - p for p in polar], azimuth, radius)

    def targets(self, first: Camera) -> Camera:
        """The novel views' cameras: on rings around the object that begin at the azimuth of the first camera."""
        height = 90 - math.degrees(float(first.polar[0]))
        heights = self.novel_elevations or (max(-STEEPEST, min(STEEPEST, height)),)
        return rings(self.views, heights, float(first.radius[0]), math.degrees(float(first.azimuth[0])))


def parse_elevation(text: str) -> float | None:
    """`auto` -> None, degrees -> a number between -85 and 85."""
    if text == "auto":
        return None
    angle = _number(text)
    if not -STEEPEST <= angle <= STEEPEST:
        raise PhotoError(f"--elevation {text}: give auto, or degrees from -{STEEPEST} (from below) to {STEEPEST} (from above)")
    return angle


def parse_elevations(text: str | None) -> tuple[float, ...] | None:
    """`0,30` -> (0.0, 30.0)."""
    if text is None:
        return None
    angles = tuple(_number(part) for part in text.split(","))
    if not all(-STEEPEST <= a <= STEEPEST for a in angles):
        raise PhotoError(f"--novel-elevation {text}: give degrees from -{STEEPEST} to {STEEPEST}, such as 20 or -10,20,50")
    return angles


def parse_pose(text: str) -> tuple[float, float, float]:
    """`70,90` or `70,90,1.8` -> polar angle and azimuth in degrees, radius."""
    parts = [_number(part) for part in text.split(",")]
    parts = [*parts, RADIUS] if len(parts) == 2 else parts
    if len(parts) != 3 or not (5 <= parts[0] <= 175 and abs(parts[1]) <= 360 and 1 <= parts[2] <= 4):
        raise PhotoError(
            f"--pose {text}: give POLAR,AZIMUTH or POLAR,AZIMUTH,RADIUS: degrees from straight above (5 to 175), degrees around "
            "(-360 to 360), sides of the object (1 to 4; 1.8 if left out)"
        )
    return parts[0], parts[1], parts[2]


def parse_formats(formats: list[str]) -> tuple[str, ...]:
    """Suffixes of mesh files, each once."""
    for name in formats:
        if name not in MESH_FORMATS:
            raise PhotoError(f"--format {name}: give {', '.join(MESH_FORMATS)}")
    return tuple(dict.fromkeys(formats))


def _number(text: str) -> float:
    """NaN where it is none, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan
