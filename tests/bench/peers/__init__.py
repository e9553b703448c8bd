"""The peers: the same durable job in the frameworks that one would otherwise choose.

Each module is one contestant, started as `python -m tests.bench.peers.<module>` in a virtualenv
with `requirements.txt`. `common` is what they share, `blocking` the job's steps for threads, and
`queues` what a publisher must know of each; it imports no framework.
Each is set up as its own documentation recommends and tuned as far as that allows; its docstring
says how. None gives up safety for speed: quorum queues, persistent messages, manual acks, commits
before and after the call, confirms before the ack.
"""
