"""Bytes to core and back: the public contract of requests and result events, version 1.

Requests: `request_v1` (the reader of it all), `request_model` (the schema, its fields, and what
the reader returns), `envelope` (the properties, and compressed bodies), `encryption` and `jwk` (who
encrypts), `leaks` (ids, and numbers where none may stand). Events: `result_v1`; `internal` makes
retries and dead letters. For those who integrate: `schemas` and `golden` (the examples). `names`:
what all messages share.
"""
