"""What the worker says of itself: logs, health, metrics. Any thread may enter."""
