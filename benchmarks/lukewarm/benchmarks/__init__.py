"""Cold start, latency, accuracy and size, measured in fresh processes, and the report."""
