"""The worker of a user's function: it runs in a sandbox and talks Arrow with an engine.

Run as `python3 -c SOURCE` with a SOCK_SEQPACKET socket as descriptor 0; docs/udf-wire.md
has the frames. Only here is the user's pickle opened. What it sends is believed by
nobody: the engine checks all of it.

SOURCE is this file with the texts of its modules before it, for nothing of it is
installed where it runs; source.rs and joined.py put it together.
"""

import faulthandler
import sys
import types

# By this the modules tell their own frames from the user's.
__package__ = "lakekeep_worker"


def load(texts):
    """Makes modules of their texts, each after those that it imports."""
    package = types.ModuleType(__package__)
    package.__path__ = []
    sys.modules[__package__] = package
    for name, text in texts.items():
        module = types.ModuleType(f"{__package__}.{name}")
        module.__package__ = __package__
        sys.modules[module.__name__] = module
        # A file's name that clients know for ours, where a crash prints its stack.
        exec(compile(text, "<string>", "exec"), module.__dict__)  # noqa: S102
        setattr(package, name, module)
    return package


# Of what is imported now; more is had of it once there is a socket (crash.py).
faulthandler.enable()
program = load(TEXTS)  # noqa: F821  it stands before this file's text
if __name__ == "__main__":
    program.session.main()
