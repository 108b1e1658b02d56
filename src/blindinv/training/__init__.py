"""One resumable training recipe for each shipped network."""
