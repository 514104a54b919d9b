// The worker's program as one text, for `include!`: what follows `python3 -c` in a sandbox.
//
// Its modules travel as texts, in raw strings of Python's that their own text must not end;
// bundle.py makes modules of them again. joined.py makes the same text, and a test of the
// Rust client's holds the two against each other.
concat!(
    "TEXTS = {\n",
    "'wire': r'''",
    include_str!("lakekeep_worker/wire.py"),
    "''',\n'failure': r'''",
    include_str!("lakekeep_worker/failure.py"),
    "''',\n'batches': r'''",
    include_str!("lakekeep_worker/batches.py"),
    "''',\n'function': r'''",
    include_str!("lakekeep_worker/function.py"),
    "''',\n'channel': r'''",
    include_str!("lakekeep_worker/channel.py"),
    "''',\n'crash': r'''",
    include_str!("lakekeep_worker/crash.py"),
    "''',\n'session': r'''",
    include_str!("lakekeep_worker/session.py"),
    "''',\n}\n",
    include_str!("bundle.py"),
)
