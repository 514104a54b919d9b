"""What this client does, without doing any input or output itself.

Requests, retries, the state of streams: generators that yield effects (see
`effects`). The drivers in `lakekeep._sync` and `lakekeep._async` carry the
effects out, so each operation is written once.
"""
