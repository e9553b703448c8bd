"""Dead letters for a person: read without showing anybody's data, chosen, replayed, dropped.

    reading    what may be known of a letter, and which letter it is
    masking    its body, masked
    choosing   filters, and the survey of what stands in the queue
    acting     replaying and dropping what was surveyed, and nothing else

For the commands' one thread; the queue itself is behind `ports.LetterQueue`.
"""
