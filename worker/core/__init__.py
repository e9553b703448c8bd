"""The rules, pure: values and decisions. Nothing here waits, reads a clock or touches a wire.

`delivery` is what the broker brings and takes, `request`, `checks` and `spelling` what is asked,
`digests` and `masking` what is kept of a person, `claims` what the ledger is asked and answers,
`outcome` how calls and requests end, `retry` what follows from that, `breaker` what follows for all
other calls, `timing` the seconds of a call, `operations` what people see and order, `connecting`
why a server is out of reach. Every room may use all of them.
"""
