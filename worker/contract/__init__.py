"""Bytes to core and back: the public contract of requests and result events, version 1."""
