"""What the worker says of itself, and the clock by which it does. Any thread may enter.

logs           structured logs, the names of their events, and the redaction
metrics        the counters, and the registry that is scraped
gauges         how things stand when somebody asks
certificates   the gauge of when our own files' certificates end
health_server  HTTP for probes and scrapes
tracing        whether there are spans; `spans` makes them
causes         why a connection did not come about, from Python's errors
clock          the machine's clock
"""
