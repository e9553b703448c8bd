"""The verification worker.

The life of one message:

1. The broker delivers it; the amqp thread puts it into the inbox.          amqp/
2. The claimer reads and checks it, a batch at a time,                      contract/, core/
3. and claims it: one transaction writes the row and the intent to call.    store/
4. A caller signs and sends the call; no transaction is open.               provider/
5. `decide` says what follows: an outcome, another attempt, a dead letter.  core/retry
6. The recorder saves that, a batch at a time, in one transaction.          store/
7. The amqp thread publishes the event, waits for its confirm, then acks.   amqp/
8. A crash anywhere: the broker delivers again, and the ledger knows.

`pipeline/flow.py` is this in code, top to bottom.
"""
