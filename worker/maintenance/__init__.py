"""What is done beside the messages: events that were left unsent, leases that lapsed, retention.

Each is a chore: bounded, safe with any number of replicas at once, and without a thread of its
own. The housekeeper runs them on one thread; only the relay's confirms come on the broker's.
"""
