"""The provider: JD Cloud's `personalAuth`. The only home of requests, urllib3 and tenacity.

    client         one call, by its deadline, as a report
    config         what the client is made of
    signing        signs a request
    bodies         writes a request's body and reads an answer's
    codes          what an answer means: class, verdict, charge
    transport      one exchange: bytes out, bytes in, faults named once
    watched_pool   connections that know when a byte leaves
    dialing        the way there, through a proxy if one is named
    answer         reads an answer off the socket, strictly
    deadline       ends what takes too long

Neighbours use `client` and `config` alone. Any pool thread may enter; a call stays on the thread
that makes it.
"""
