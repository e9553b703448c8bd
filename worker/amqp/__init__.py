"""The broker's room, and the only home of pika.

Neighbours use these. `Session` runs on one thread, the amqp thread; its methods may be called from
any. What is for commands blocks, over one connection or two that `blocking.opened` has opened.

    session             the worker's broker: start, settle, publish, pause, drain, close
    topology            what must exist on the broker, as data, and how it is declared
    declare             for commands: apply and check the topology, how full queues are
    request_client      for `submit`: publish requests, take their results
    dead_letter_queue   for commands: the dead letters, held for a while
    blocking            for commands: a connection, and publishing that waits for each confirm
    broker_errors       what can go wrong

The rest is this room's own; each module says at its top what it is for.
"""
