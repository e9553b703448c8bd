"""The broker's room, and the only home of pika.

`Session` lives on one thread, the amqp thread; it alone touches pika. Other threads call the
methods of `Session` and nothing else here. `declare` and `client` block, are for commands of a
person, and have connections of their own.

    topology, declare    what must exist on the broker, as data; applying and checking it
    session, mailbox     the thread: start, drain, close, and how others reach it
    settler              from the confirms to the acknowledgements
    connection, backoff  a connection that comes back by itself
    consumer, acks       from the queue to the sink; which tags to acknowledge
    publisher, lane, confirms    publications on their way until the broker has confirmed them
    properties           pika's properties to and from ours
    parameters, wire     how pika connects, and what we change in it
    client               what `submit` needs
    blocking             publishing that waits for each confirm
    deadletters          the dead-letter queue as a person's tools see it
"""
