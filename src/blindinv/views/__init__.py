"""Pose-free sparse-view 3D: cameras, view-consistent sampling, the search for poses."""
