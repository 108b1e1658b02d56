"""The tables and figures of the papers, one command each: `blindinv bench NAME`."""
