"""What others do, for comparison and as parts of the default."""
