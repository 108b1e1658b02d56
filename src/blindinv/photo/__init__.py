"""From a file a person has to a file a person wants: reading, noise level, tiles, writing."""
