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

Neighbours use `Flow`, `FlowRules`, `Gate`, `Pipeline`, `PipelineSize`, `TracedFlow`.

The way of one delivery, from the broker to its settlement:

     1. worker/amqp/consumer.py         the broker delivers
     2. worker/pipeline/intake.py       inbox, claimer
     3. worker/pipeline/flow.py         admit
     4. worker/contract/request_v1.py   the message is read and checked
     5. worker/store/ledger.py          the request is claimed, the intent to call committed
     6. worker/pipeline/gate.py         a caller may begin the call, and its end is heard
     7. worker/provider/client.py       the call
     8. worker/core/retry.py            what follows from it, recorded by 3 and 5
     9. worker/pipeline/settling.py     what leaves
    10. worker/contract/result_v1.py    the event
    11. worker/amqp/settler.py          published, confirmed, acknowledged
"""
