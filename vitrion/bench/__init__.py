"""Speed, memory and agreement, measured beside other people's code."""
