"""Two snapshots of an object that no shipped network was trained on: `python examples/make_object_pictures.py FOLDER`.

Writes object-one.png and object-two.png, RGBA, and says where the cameras stood. Those in examples/ were made by it. It needs
embreex: pip install '.[views]'.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from blindinv import Camera
from blindinv.views.objects import BENCHMARK, Thing
from blindinv.views.render import render, straight

SIZE = 256
SEED = BENCHMARK + 3
ELEVATIONS, AZIMUTHS = (20.0, 5.0), (0.0, 70.0)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = straight(render(Thing.random(SEED), Camera.degrees(ELEVATIONS, AZIMUTHS), SIZE, supersample=4))
    for name, x in zip(("one", "two"), pictures, strict=True):
        image = Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy().astype(np.uint8))
        image.save(folder / f"object-{name}.png", optimize=True)
    turn, up = AZIMUTHS[1] - AZIMUTHS[0], ELEVATIONS[1] - ELEVATIONS[0]
    print(f"first camera: elevation {ELEVATIONS[0]:.0f}; second: {turn:+.0f} degrees around and {up:+.0f} up from it")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "examples"))
