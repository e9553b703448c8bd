"""An event loop whose timers run when the test says so."""

from collections.abc import Callable

Timer = tuple[float, "Callable[[], None]"]


class FakeLoop:
    """Keeps timers, as pika's loop does."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.timers.append((delay, callback))
        return self.timers[-1]

    def remove_timeout(self, timer: Timer) -> None:
        self.timers.remove(timer)

    def run_timers(self) -> None:
        """Run what is due: all."""
        timers, self.timers = self.timers, []
        for _, callback in timers:
            callback()
