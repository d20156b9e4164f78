"""A campaign as a whole: its jobs, plan, status, stop criterion and archive."""
