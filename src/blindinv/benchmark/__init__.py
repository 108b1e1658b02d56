"""The tables of the docs, one command each: `blindinv bench photos-64` and `blindinv bench levin`."""
