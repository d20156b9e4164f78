"""What surrounds a job: its lock and log, its deadline, its GPU."""
