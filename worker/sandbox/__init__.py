"""The sandbox: a stand-in for JD Cloud's `personalAuth`, like a payment provider's test cards.

A real HTTP server for development, staging and tests. It verifies signatures with code of its
own, answers in the provider's format, counts charges, and acts on the magic ID numbers of
`magic.TABLE`, or as a scenario says (`PUT /scenario`, module `scenario`). It imports nothing of
the rest of the worker, on purpose: a mistake in the worker's signer or codec must not be able to
agree with itself here. It needs aiohttp, the extra `sandbox`; the worker needs neither.

A request's way: `application` (HTTP routes), `admission` with `signature` (who may call),
`scenario` and `magic` (how the call acts), `charges` (the counts), `behaviours` (the answer's
bytes), `answering` (how they travel). `server` opens the port; `settings` says what it is told.

No line that it writes, and no figure that it reports, holds a field of a person.
"""
