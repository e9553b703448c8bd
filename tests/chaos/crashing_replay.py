"""A replay that kills itself with SIGKILL at one step, at the n-th time that it comes there.

    python -m tests.chaos.crashing_replay <step> <nth>

It is the real command in the worker's environment; one method is wrapped before it starts.
"""

from __future__ import annotations

import sys

from pika.channel import Channel

from tests.chaos.crashing_worker import Moment, die
from worker.amqp.dead_letter_queue import HeldDeadLetters
from worker.cli import main
from worker.deadletters.acting import Acting

MOMENTS = {
    "surveyed": Moment(Acting, "replay"),
    "unpublished": Moment(HeldDeadLetters, "publish"),
    # pika names all arguments
    "published": Moment(Channel, "basic_publish", after=True, strike=lambda *_, **__: die()),
    "confirmed": Moment(HeldDeadLetters, "publish", after=True),
    "acked": Moment(HeldDeadLetters, "acknowledge", after=True),
    "letting_go": Moment(HeldDeadLetters, "let_go"),
}


if __name__ == "__main__":
    step, nth = sys.argv[1:]
    MOMENTS[step].lay(int(nth))
    sys.argv[1:] = ["dead-letters", "replay", "--yes", "--rate", "1000"]
    main()
