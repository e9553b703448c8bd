"""A small web page of what people look at and order: server-rendered, for one process's own loop.

    server       opens the port and serves until it is told to end
    application  the routes, and what a page that fails looks like
    guard        who may come in and act: host, session, token, the proxy's user, headers
    pages        overview, requests, the timeline of one, pause
    letter_pages dead letters and unrouted events: grouped, planned, replayed, dropped
    boxes        the two queues behind these pages, and what may be shown of a message
    asking       what blocks, in threads: asked with a limit of seconds, or ordered, and by whom
    chart        bars by hour
    rendering    templates, how values look in them, and Chinese for what they and others say

No personal data is shown, logged or kept; an ID number is taken by POST alone, and digested.
"""
