"""The surveyor keeps what it saw last, and nothing once the database is away."""

from __future__ import annotations

from collections import deque

import pytest

from worker.core.errors import LedgerUnavailable
from worker.core.survey import Survey
from worker.maintenance.surveyor import FIRST_LOOK, LOOK_EVERY, Surveyor


class FakeStanding:
    """The `Standing` of the ports: what a script says."""

    def __init__(self, *script: Survey | LedgerUnavailable) -> None:
        self._script = deque(script)

    def read(self) -> Survey:
        """Say the next thing."""
        said = self._script.popleft()
        if isinstance(said, LedgerUnavailable):
            raise said
        return said


def known(surveyor: Surveyor) -> tuple[Survey | None, bool]:
    return surveyor.survey, surveyor.failed


def test_before_its_first_look_nothing_is_known_and_nothing_is_wrong() -> None:
    surveyor = Surveyor(FakeStanding())
    assert known(surveyor) == (None, False)


def test_the_first_look_comes_soon_and_the_others_at_the_pace_of_a_scrape() -> None:
    surveyor = Surveyor(FakeStanding(Survey()))
    assert surveyor.interval == FIRST_LOOK
    assert surveyor.run_once() < surveyor.limit
    assert surveyor.interval == LOOK_EVERY


def test_what_was_seen_is_forgotten_when_the_database_is_away_and_known_again_after() -> None:
    away = LedgerUnavailable("away")
    surveyor = Surveyor(FakeStanding(Survey(unsent_events=3), away, Survey(unsent_events=5)))
    surveyor.run_once()
    assert known(surveyor) == (Survey(unsent_events=3), False)
    with pytest.raises(LedgerUnavailable):
        surveyor.run_once()
    assert known(surveyor) == (None, True)
    surveyor.run_once()
    assert known(surveyor) == (Survey(unsent_events=5), False)
