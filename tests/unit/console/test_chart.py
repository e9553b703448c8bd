"""Where the bars of a chart stand."""

from datetime import UTC, datetime, timedelta

from worker.console.chart import HEIGHT, chart
from worker.store.overview import Hours

LAST = datetime(2026, 11, 28, 21, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)


def test_bars_stand_on_each_other_and_none_is_higher_than_the_picture() -> None:
    counts = {(LAST, "match"): 15, (LAST, "failed"): 6, (LAST - 23 * AN_HOUR, "match"): 30}
    counts[LAST - 24 * AN_HOUR, "expired"] = 9  # too old to be shown
    picture = chart(Hours(LAST, counts), ["match", "failed", "expired"])
    assert (picture.kinds, picture.top, picture.total) == (("match", "failed"), 30, 51)
    first, match, failed = picture.bars
    assert (first.x < match.x, first.height, first.y) == (True, HEIGHT, 0)
    assert (match.x, match.y + match.height, failed.y + failed.height) == (
        failed.x,
        HEIGHT,
        match.y,
    )
    assert [at for at, _ in picture.rows] == [LAST - 23 * AN_HOUR, LAST]


def test_nothing_makes_an_empty_picture() -> None:
    assert chart(Hours(LAST, {}), ["match"]).bars == ()
