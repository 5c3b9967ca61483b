"""Activity: what happened in each hour, day or month of a time zone."""
