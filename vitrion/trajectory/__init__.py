"""Trajectories: H5MD segments, other people's formats, unwrapping."""
