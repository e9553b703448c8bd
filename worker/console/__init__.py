"""A small web page of what people look at and order: server-rendered, for one process's own loop.

    server       opens the port and serves until it is told to end
    application  the routes, and what a page that fails looks like
    guard        who may come in and act: host, session, token, the proxy's user, headers
    pages        overview, requests, the story of one, pause
    letters      dead letters and unrouted events: grouped, planned, replayed, dropped
    actions      what was ordered here, by whom, and how far it is
    asking       what blocks, asked in threads with a limit of seconds
    chart        bars by hour
    rendering    templates, and how values look in them
    words        Chinese for the English words of templates and of `worker.admin`

No personal data is shown, logged or kept; an ID number is taken by POST alone, and digested.
"""
