"""Dead letters for a person: read without showing anybody's data, chosen, replayed, dropped.

    reading          what may be known of a letter, and which letter it is
    body_texts       the values in its body
    body_view        its body, masked
    selecting        which letters are meant, by their facts or by the persons they are about
    prospects        what a replay will do
    acting           replaying and dropping what was selected, and nothing else
    unrouted_events  result events that no queue was bound for, likewise

For the commands' one thread; the queue itself is behind `ports.LetterQueue`.
"""
