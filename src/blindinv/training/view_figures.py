"""The picture of a view prior: what it makes of objects that it was not trained on."""

import torch
from PIL import Image

from blindinv.methods.posefree import posefree
from blindinv.priors.lifted import LiftedViews
from blindinv.training.figures import sheet
from blindinv.training.view_data import Shards
from blindinv.training.views import Views


@torch.no_grad()
def views_picture(prior: LiftedViews, shards: Shards, objects: int = 4, targets: int = 6, steps: int = 25) -> Image.Image:
    """For each object the given picture, then the wanted views: true, the prior's first guess, and one sample."""
    targets = min(targets, shards.views - 1)
    rows = []
    for i in range(min(objects, len(shards))):
        v = Views.of(shards, torch.tensor([i]), torch.arange(targets + 1)[None])
        cond = prior.condition(v.image, v.polar).repeated(targets)
        guess = prior.decode(prior.guess(prior.look(cond.features["features"], cond.polar, v.pose[0])[0])[0])
        *_, last = posefree(
            v.image[:, None], prior, v.pose[0], v.image.new_zeros(1, 0, 3), polar=v.polar, guidance=prior.guidance, steps=steps
        )
        assert last.x is not None
        rows += [("given, and the truth", torch.cat([v.image, v.wanted[0]])), ("first guess", torch.cat([v.image, guess]))]
        rows += [(f"a sample, {steps} DDIM steps", torch.cat([v.image, last.x[0]]))]
    return sheet([(name, x.repeat_interleave(2, -1).repeat_interleave(2, -2)) for name, x in rows])
