"""What the worker says of itself: logs, health, metrics, causes. Any thread may enter."""
