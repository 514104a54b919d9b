import marshal, sys
from importlib.util import MAGIC_NUMBER
out = sys.stdout.buffer
for line in sys.stdin.buffer:
    name = line[:-1]
    try:
        path = name.decode()
        with open(path, "rb") as source:
            code = marshal.dumps(compile(source.read(), path, "exec", dont_inherit=True, optimize=0))
    except Exception:
        continue  # said again by whoever imports it
    code = MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + code
    for piece in (name, code):
        out.write(len(piece).to_bytes(4, "big") + piece)
out.flush()
