"""The provider: JD Cloud's `personalAuth`. The only home of requests, urllib3 and tenacity.

`client` makes one call and reports it; `signing` signs it, `wire` writes and reads its bodies,
`codes` says what an answer means, `transport` and `connection` carry bytes, `deadline` ends what
takes too long. Any pool thread may enter; a call stays on the thread that makes it.
"""
