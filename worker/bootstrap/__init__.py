"""Puts the parts together: the only room that names concrete classes."""

from worker.bootstrap.worker import DRAIN_SECONDS, Worker

__all__ = ["DRAIN_SECONDS", "Worker"]
