"""Puts the parts together and runs them: the only room that names concrete classes.

worker        the wiring, top to bottom; the start, and the end in its order
rules         what the parts go by, from the settings
health_state  is it alive, is it ready, how much is where
stop_orders   what makes the process stop, and what ends it when it does not
"""

from worker.bootstrap.stop_orders import DRAIN_SECONDS
from worker.bootstrap.worker import Worker

__all__ = ["DRAIN_SECONDS", "Worker"]
