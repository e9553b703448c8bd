"""What happens to messages, and the threads that make it happen.

    flow            THE FILE: what happens to a message, top to bottom; no threads, no waiting
    settling        how a delivery leaves: the publications that settle it
    poison          a batch with a row that the database refuses
    runner          the threads: callers, recorder, and those of the next two
    intake          what waits and what is held; the claimer
    parking         the breaker thread
    gate            whether a call may begin now: breaker, allowance, pause
    work            what the threads hand to each other
    batcher, lanes  where work gathers between two threads
    database_retry  work that needs the database, again and again while it is away
    traced          the flow with spans on its calls

Neighbours use the classes that `bootstrap` puts together: `Flow` or `TracedFlow` with `FlowRules`,
`Gate`, and `Pipeline` with `PipelineSize`.

The way of one delivery, from the broker to its settlement:

     1. worker/amqp/consumer.py         the broker delivers
     2. worker/pipeline/runner.py       takes it, and has the threads of what follows
     3. worker/pipeline/intake.py       inbox, claimer
     4. worker/pipeline/flow.py         admit, call, decide, record
     5. worker/contract/request_v1.py   the message is read and checked
     6. worker/store/ledger.py          the request is claimed, the intent to call committed
     7. worker/pipeline/gate.py         a caller may begin the call, and its end is heard
     8. worker/provider/client.py       the call
     9. worker/core/retry.py            what follows from it, recorded by 4 and 6
    10. worker/pipeline/settling.py     what leaves
    11. worker/contract/result_v1.py    the event
    12. worker/amqp/settler.py          published, confirmed, acknowledged

It leads through other files as well, which need not be read at first: the fields of a request
(`contract`), the statements of a claim (`store`), the bytes of the call (`provider`).
"""
