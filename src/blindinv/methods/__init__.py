"""Methods: small compositions of prior, operator, unknown, guidance and M-step, one file each.

Each is called as `method(problem, prior, denoiser, **settings)` and returns the iterator of `solve`.
"""
