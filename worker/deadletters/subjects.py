"""Dead letters about persons: those whose body holds one of their ID numbers, anywhere."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.deadletters.choosing import Survey
from worker.deadletters.reading import Encrypted, personal_texts, tree_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from worker.deadletters.reading import LetterReader
    from worker.ports import LetterQueue

_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015]+")


@dataclass(slots=True)
class About(Survey):
    """The letters about some persons."""

    closed: int = field(default=0)
    """Letters that are encrypted to a key that is not here: whose they are nobody can tell."""


def letters_about(queue: LetterQueue, reader: LetterReader, id_cards: Collection[str]) -> About:
    """Look at all dead letters and put them back; raises what the queue does.

    `id_cards` are normalised. A letter that cannot be read as a request is searched too: it was
    kept because something is wrong with it, and that may be its form.
    """
    found = About()
    with queue.hold() as held:
        for letter in held.letters():
            found.seen += 1
            body, encrypted = reader.open(letter)
            if encrypted is Encrypted.CLOSED:
                found.closed += 1
            elif holds(body, id_cards):
                found.matching += 1
                found.chosen.append(reader.read(letter))
        found.all_seen = held.all_seen
    return found


def holds(body: bytes, id_cards: Collection[str]) -> bool:
    """Return whether one of these ID numbers stands in a body, as it is or as JSON writes it."""
    texts = (body.decode("utf-8", "ignore"), *personal_texts(tree_of(body)))
    return any(number in text for text in map(_squeezed, texts) for number in id_cards)


def _squeezed(text: str) -> str:
    """Return a text without separators, its digits plain and its X in upper case."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", text)).upper()
