"""Dead letters and unrouted events for a person: read with nobody's data shown, chosen, replayed.

    reading      what may be known of a dead letter, and which letter it is
    body_texts   the values in its body
    body_view    its body, masked
    unrouted     what may be known of an event that no queue was bound for
    selecting    which are meant, by their facts or by the persons they are about
    prospects    what a replay will do
    acting       replaying and dropping what was selected, and nothing else

For the one thread of a command; the queue itself is `amqp.dead_letter_queue`.
"""
