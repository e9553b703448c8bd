"""What is done beside the messages: events that were left unsent, leases that lapsed, retention.

Each is a chore: bounded, safe with any number of replicas at once, and without a thread of its
own. A housekeeper runs its chores on one thread. A worker has two: one for the pause and the locks,
which must not wait for others, and one for the rest. Only the relay's confirms come on the broker's
thread.

    chores       what a chore is, and those that ask the database: leases, retention, pause,
                 backlog, registry, locks, what was turned away
    relay        the chore that sends unsent events
    given_up     the chore that puts back what the broker's delivery limit took
    credentials  the chore that reads the provider's credentials again
    housekeeper  the thread that runs chores
"""
