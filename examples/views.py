"""From pictures without poses to cameras, novel views and a mesh: `python examples/views.py OUT.glb A.png B.png [C.png]`."""

import sys
from pathlib import Path

import torch

from blindinv import load_view_prior, read_objects, reconstruct
from blindinv.views.rings import rings
from blindinv.views.surface import Fit, fit_surface


def main(out: Path, pictures: list[str], elevation: float = 20.0) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prior = load_view_prior("objects", device=device)
    found = reconstruct(
        read_objects(pictures, prior).to(device),
        prior=prior,
        elevation=elevation,
        targets=rings(24),
        record=lambda stage: print(f"{stage.name} {stage.step} of {stage.total}", end="\r", file=sys.stderr),
    )
    for name, polar, azimuth in zip(pictures, *torch.rad2deg(found.inputs.pose[:, :2]).T, strict=True):
        print(f"{name}: azimuth {azimuth:.0f}, elevation {90 - polar:.0f}")
    for i, warning in found.warnings:
        print(f"{pictures[i]}: {warning}")
    *_, last = fit_surface(found.views, found.camera, settings=Fit.diffused())
    last.surface.mesh().write(out)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
