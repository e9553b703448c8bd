"""The verification worker; `pipeline/flow.py` is the life of one message, top to bottom."""
