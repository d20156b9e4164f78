"""From trajectories to transport numbers with error bars that hold."""
