"""The default method with one part left out at a time."""

from dataclasses import replace

from blindinv.methods.default import Default
from blindinv.methods.latentdem import Settings
from blindinv.methods.method import About

BASE = Settings()

ABLATIONS: dict[str, Default] = {
    "latentdem-posterior": Default(replace(BASE, sparse=0.0), About("the posterior sample alone, without the sparse average")),
    "latentdem-sparse": Default(replace(BASE, sparse=1.0), About("the sparse deconvolution alone, with LatentDEM's kernel")),
    "latentdem-no-start": Default(replace(BASE, starts=(), em=(20, 20)), About("a delta instead of the starts, 40 EM steps")),
    "latentdem-one-start": Default(replace(BASE, starts=BASE.starts[:1]), About("one start, no choice by evidence")),
    "latentdem-no-em": Default(replace(BASE, em=()), About("no EM: the best start's kernel as it is")),
    "latentdem-no-second": Default(replace(BASE, second=None), About("no second opinion on the kernel")),
    "latentdem-constant-error": Default(
        replace(BASE, constant_error=True), About("one number for the model error instead of the annealed spectrum")
    ),
}
