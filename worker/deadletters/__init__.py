"""Dead letters and unrouted events for a person: read with nobody's data shown, chosen, replayed.

    reading      what may be known of a dead letter, and which letter it is; likewise of an event
                 that no queue was bound for
    body         the values in its body, and the body masked
    selecting    which are meant, by their facts or by the persons they are about; and what is done
                 with these and no others; what a replay will do

For one thread of a command or of the console; the queue itself is `amqp.dead_letter_queue`.
"""
