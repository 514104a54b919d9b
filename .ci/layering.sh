#!/usr/bin/env bash
# The architecture's rules that a script can hold: who may depend on whom, where
# `unsafe` may stand, how long code may get, which licences and sources are
# taken. docs/architecture.md says why. Needs cargo and python3; builds nothing.
# deny.toml holds the rules on dependencies once more, for cargo-deny.
set -euo pipefail
cd "$(dirname "$0")/.."

metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT
cargo metadata --locked --format-version 1 >"$metadata"
python3 - "$metadata" <<'PYTHON'
import json
import re
import subprocess
import sys
from pathlib import Path

# Workspace crates that each workspace crate may use. A crate that is not here fails.
INNER = {
    "lakekeep-policy": {"lakekeep-egress-rules"},
    "lakekeep-seccomp": set(),
    "lakekeep-sys": set(),
    "lakekeep-protocol": {"lakekeep-sys"},
    "lakekeep-plan": {"lakekeep-policy", "lakekeep-protocol", "lakekeep-seccomp"},
    "lakekeep-launcher": {"lakekeep-plan", "lakekeep-protocol", "lakekeep-sys"},
    "lakekeep-init": {"lakekeep-protocol", "lakekeep-sys"},
    "lakekeep-sandbox": {
        "lakekeep-plan", "lakekeep-policy", "lakekeep-protocol", "lakekeep-seccomp", "lakekeep-sys",
    },
    # A store of content; it knows neither images nor environments.
    "lakekeep-content": set(),
    "lakekeep-unpack": {"lakekeep-content"},
    "lakekeep-oci": {"lakekeep-content"},
    "lakekeep-images": {"lakekeep-content", "lakekeep-oci", "lakekeep-policy", "lakekeep-unpack"},
    "lakekeep-registry": {"lakekeep-content", "lakekeep-images", "lakekeep-oci", "lakekeep-unpack"},
    "lakekeep-identity": {"lakekeep-tests"},
    "lakekeep-profiles": {"lakekeep-egress-rules", "lakekeep-policy"},
    "lakekeep-store": set(),
    "lakekeep-api": set(),
    "lakekeep-client": {"lakekeep-api"},
    "lakekeep-supervisor": {"lakekeep-plan", "lakekeep-sandbox", "lakekeep-sys"},
    "lakekeep-manager": {
        "lakekeep-api", "lakekeep-content", "lakekeep-egress-rules", "lakekeep-environment", "lakekeep-identity",
        "lakekeep-images", "lakekeep-oci", "lakekeep-plan", "lakekeep-policy", "lakekeep-profiles", "lakekeep-protocol",
        "lakekeep-sandbox", "lakekeep-seccomp",
        "lakekeep-store", "lakekeep-sys", "lakekeep-tree", "lakekeep-udf-broker", "lakekeep-udf-packets",
        "lakekeep-unpack",
    },
    "lakekeep-serve": {
        "lakekeep-identity", "lakekeep-manager", "lakekeep-sandbox", "lakekeep-supervisor", "lakekeep-sys",
    },
    # What a replicated environment is: plain data.
    "lakekeep-environment": {"lakekeep-policy"},
    # Lists of packages, and what is asked and believed of them; it starts nothing.
    "lakekeep-build": {"lakekeep-capture", "lakekeep-egress-rules", "lakekeep-environment"},
    "lakekeep-capture": {"lakekeep-environment", "lakekeep-policy"},
    "lakekeep-tree": {"lakekeep-content", "lakekeep-environment", "lakekeep-plan", "lakekeep-policy"},
    "lakekeep-egress-rules": set(),
    "lakekeep-egress-names": {"lakekeep-egress-rules"},
    "lakekeep-egress-inspect": {"lakekeep-egress-rules"},
    "lakekeep-egress-relay": {
        "lakekeep-egress-inspect", "lakekeep-egress-names", "lakekeep-egress-rules", "lakekeep-protocol",
        "lakekeep-seccomp", "lakekeep-sys",
    },
    "lakekeep-udf-packets": set(),
    "lakekeep-udf-broker": {
        "lakekeep-content", "lakekeep-environment", "lakekeep-plan", "lakekeep-policy",
        "lakekeep-sandbox", "lakekeep-sys", "lakekeep-tree", "lakekeep-udf-packets",
    },
    # What engines embed: it speaks to a broker, and links none.
    "lakekeep-udf-client": {"lakekeep-udf-packets"},
    "lakekeep-udf-edge": {"lakekeep-policy", "lakekeep-udf-client"},
    "lakekeep": {
        "lakekeep-api", "lakekeep-attacks", "lakekeep-build", "lakekeep-capture", "lakekeep-client", "lakekeep-content",
        "lakekeep-egress-rules", "lakekeep-environment", "lakekeep-images", "lakekeep-oci", "lakekeep-plan", "lakekeep-policy",
        "lakekeep-sandbox", "lakekeep-seccomp", "lakekeep-sys", "lakekeep-tree", "lakekeep-udf-broker",
        "lakekeep-unpack",
    },
    # Not shipped.
    "lakekeep-attacks": set(),
    "lakekeep-tests": {
        "lakekeep-api", "lakekeep-attacks", "lakekeep-content", "lakekeep-plan", "lakekeep-policy",
        "lakekeep-sandbox", "lakekeep-store", "lakekeep-sys",
    },
    # It asks a manager, and keeps sandboxes, as an engine would.
    "lakekeep-bench": {
        "lakekeep-client", "lakekeep-content", "lakekeep-environment", "lakekeep-plan", "lakekeep-policy",
        "lakekeep-protocol", "lakekeep-sandbox", "lakekeep-sys", "lakekeep-tree", "lakekeep-udf-client",
    },
}
# Crates that only these workspace crates may name as a dependency.
WRAPPERS = {
    "libcontainer": {"lakekeep-launcher"},
    "libcgroups": set(),
    "landlock": {"lakekeep-init", "lakekeep-egress-relay"},
    "libc": {"lakekeep-sys"},
    # The bench measures with getrusage; it is not shipped.
    "nix": {"lakekeep-sys", "lakekeep-bench"},
    # The manager, those who speak to it, and what it waits for the network with.
    "tokio": {
        "lakekeep-client", "lakekeep-identity", "lakekeep-manager", "lakekeep", "lakekeep-tests", "lakekeep-bench",
        "lakekeep-registry", "lakekeep-udf-edge", "lakekeep-egress-relay",
    },
}
# Crates that may not be linked, however far down.
NEVER_LINKS = {
    "lakekeep-launcher": {"tokio", "hyper", "reqwest", "tonic", "rustls"},
    "lakekeep-init": {"tokio", "libcontainer", "lakekeep-plan", "lakekeep-policy", "serde_json", "toml"},
    "lakekeep-sandbox": {"libcontainer", "libcgroups", "landlock"},
    "lakekeep": {"libcontainer", "libcgroups", "landlock", "rusqlite", "cedar-policy"},
    "lakekeep-serve": {"libcontainer", "libcgroups", "landlock"},
    # Unprivileged, and it meets strangers: it starts no sandbox.
    "lakekeep-registry": {"libcontainer", "lakekeep-sandbox", "lakekeep-sys", "tonic"},
    # It asks no interpreter.
    "lakekeep-manager": {"libcontainer", "libcgroups", "landlock", "lakekeep-capture"},
    "lakekeep-egress-relay": {"libcontainer", "lakekeep-policy", "lakekeep-plan", "lakekeep-sandbox"},
    "lakekeep-supervisor": {"tokio", "tonic", "rusqlite", "cedar-policy"},
    "lakekeep-udf-client": {"tokio", "tonic", "lakekeep-sys"},
    "lakekeep-udf-edge": {"libcontainer", "lakekeep-sandbox"},
    "lakekeep-content": {"tokio", "hyper", "reqwest", "rustls"},
    "lakekeep-unpack": {"tokio", "hyper", "reqwest", "rustls"},
    "lakekeep-oci": {"tokio", "hyper", "reqwest", "rustls"},
    "lakekeep-images": {"tokio", "hyper", "reqwest", "rustls"},
    "lakekeep-store": {"tokio"},
    "lakekeep-build": {"tokio", "lakekeep-sandbox"},
    "lakekeep-capture": {"tokio"},
    "lakekeep-tree": {"tokio", "lakekeep-capture"},
    "lakekeep-profiles": {"tokio"},
    "lakekeep-policy": {"rustix", "nix", "lakekeep-sys"},
    "lakekeep-seccomp": {"rustix", "nix", "lakekeep-sys"},
}
LICENCES = {
    "0BSD", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}
# (crate, licence): the licence is taken for this crate alone.
EXCEPTIONS = {("pathrs", "MPL-2.0")}
# Crates whose manifest names a file instead: the file's first words.
LICENCE_FILES = {"rust-criu": "Permission is hereby granted, free of charge"}  # MIT
# Cargo's word for what comes from a registry, and not from git or a path.
REGISTRY = "registry+"

MAX_FUNCTION, MAX_FILE = 80, 600
SHIPPED = ["cli", "egress", "images", "manager", "runtime", "seccomp", "udf"]
NO_IO = [
    "egress/inspect/src", "egress/names/src", "egress/rules/src", "images/environment/src", "runtime/plan/src",
    "runtime/policy/src", "seccomp/src",
]
IO = r"\bstd::(fs|net|env|process)\b|\b(SystemTime|Instant)::now\b|\brustix::|\blibc::|\blakekeep_sys\b|\bprintln!|\beprintln!"
# Who may start a program, and who may make a process or a namespace.
COMMAND = {
    "runtime/sandbox/src/launcher.rs", "runtime/sandbox/src/egress.rs", "runtime/launcher/build.rs", "cli/src/attack.rs",
    "manager/supervisor/src/processes.rs", "cli/src/beside.rs", "udf/client/src/broker.rs",
    "images/capture/src/ask.rs", "images/registry/src/credentials/helper.rs",
}
CLONE_ROOMS = ("runtime/sys/", "runtime/launcher/", "runtime/init/")

failures = []
def fail(text):
    failures.append(text)
def checked(text):
    print(f"layering: {text}")

metadata = json.load(open(sys.argv[1], encoding="utf-8"))
packages = {package["id"]: package for package in metadata["packages"]}
members = {packages[key]["name"]: key for key in metadata["workspace_members"]}
edges = {
    node["id"]: [
        dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])
    ]
    for node in metadata["resolve"]["nodes"]
}

# 1. Direction.
for name in members.keys() ^ INNER.keys():
    fail(f"{name}: in the workspace or in this script, not in both; add it to INNER")
for name, key in members.items():
    inner = {packages[dep]["name"] for dep in edges[key]} & members.keys()
    for extra in sorted(inner - INNER.get(name, set())):
        fail(f"{name} depends on {extra}: against the direction of docs/architecture.md")
checked(f"direction of dependencies, {len(members)} crates")

# 2. Wrappers: who names a crate, for whatever kind of dependency.
for name, key in members.items():
    for dep in packages[key]["dependencies"]:
        allowed = WRAPPERS.get(dep["name"])
        if allowed is not None and name not in allowed:
            fail(f"{name} depends on {dep['name']}: only {sorted(allowed) or 'nobody'} may")
checked(f"wrappers of {', '.join(sorted(WRAPPERS))}")

# 3. What is linked.
def linked(key):
    seen, todo = set(), [key]
    while todo:
        for dep in edges[todo.pop()]:
            if dep not in seen:
                seen.add(dep)
                todo.append(dep)
    return {packages[dep]["name"] for dep in seen}

for name, banned in NEVER_LINKS.items():
    for crate in sorted(linked(members[name]) & banned) if name in members else []:
        fail(f"{name} links {crate}")
    checked(f"{name} links none of {', '.join(sorted(banned))}")

# 4. Licences and sources.
def allowed(crate, expression):
    words = re.findall(r"[()]|[^\s()]+", re.sub(r"\s*/\s*", " OR ", expression))
    def parse_or():
        value = parse_and()
        while words and words[0] == "OR":
            words.pop(0)
            value |= parse_and()
        return value
    def parse_and():
        value = parse_one()
        while words and words[0] == "AND":
            words.pop(0)
            value &= parse_one()
        return value
    def parse_one():
        word = words.pop(0)
        if word == "(":
            value = parse_or()
            words.pop(0)
            return value
        if words and words[0] == "WITH":
            del words[:2]
            # An exception only grants more.
        return word in LICENCES or (crate, word) in EXCEPTIONS
    return parse_or()

for package in packages.values():
    name = f"{package['name']} {package['version']}"
    if package["license"]:
        if not allowed(package["name"], package["license"]):
            fail(f"{name}: licence {package['license']} is not in the allow-list")
    else:
        start = LICENCE_FILES.get(package["name"])
        path = Path(package["manifest_path"]).parent / (package["license_file"] or "LICENSE")
        if start is None or start not in path.read_text(encoding="utf-8")[:400]:
            fail(f"{name}: no licence expression, and no known licence file")
    if package["source"] is not None and not package["source"].startswith(REGISTRY):
        fail(f"{name}: source {package['source']} is not a registry")
    if package["source"] is None and package["id"] not in metadata["workspace_members"]:
        fail(f"{name}: a path dependency outside of the workspace")
checked(f"licences and sources of {len(packages)} packages")

# 5. The lint that forbids unsafe is inherited by every crate but one.
manifest = Path("Cargo.toml").read_text(encoding="utf-8")
if not re.search(r'^unsafe_code = "forbid"$', manifest, re.M):
    fail('Cargo.toml: [workspace.lints.rust] unsafe_code is not "forbid"')
for name, key in members.items():
    own = Path(packages[key]["manifest_path"]).read_text(encoding="utf-8")
    inherits = re.search(r"^\[lints\]\s*\nworkspace = true$", own, re.M)
    if name != "lakekeep-sys" and not inherits:
        fail(f"{name}: does not inherit the workspace's lints")
checked("unsafe_code is forbidden in every crate but lakekeep-sys")

# 6. Source text, without comments, strings and test modules.
TOKEN = re.compile(
    r"//[^\n]*"
    r"|/\*.*?\*/"
    r"|\b[bc]?r(?P<hash>#+)\".*?\"(?P=hash)"
    r"|\b[bc]?r\"[^\"]*\""
    r"|\b[bc]?\"(?:\\.|[^\"\\])*\"|\"(?:\\.|[^\"\\])*\""
    r"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'\n])'",
    re.S,
)
def blank(text):
    return re.sub(r"[^\n]", " ", text)
def bare(text):
    return TOKEN.sub(lambda match: blank(match.group()), text)
def closing(text, start):
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(text) - 1
def without_tests(text):
    while match := re.search(r"#\[cfg\(test\)\]\s*(?:pub )?mod \w+ \{", text):
        end = closing(text, match.end() - 1)
        text = text[: match.start()] + blank(text[match.start() : end + 1]) + text[end + 1 :]
    return text
def is_test(path):
    return "tests" in path.parts or path.name == "tests.rs" or path.name.endswith("_tests.rs")

files = sorted(path for room in SHIPPED for path in Path(room).rglob("*.rs") if "target" not in path.parts)
# Modules that their parent declares for tests alone.
test_modules = set()
for path in files:
    folder = path.parent if path.name in ("lib.rs", "main.rs", "mod.rs") else path.with_suffix("")
    for name in re.findall(r"#\[cfg\(test\)\]\s*(?:pub )?mod (\w+);", path.read_text(encoding="utf-8")):
        test_modules |= {folder / f"{name}.rs", folder / name}
def is_test(path, plainly=is_test):
    return plainly(path) or path in test_modules or any(parent in test_modules for parent in path.parents)
sources = {path: path.read_text(encoding="utf-8") for path in files if not is_test(path)}
longest_function, longest_file, functions = (0, ""), (0, ""), 0
for path, source in sources.items():
    code = bare(source)
    product = without_tests(code)
    test = re.search(r"#\[cfg\(test\)\]\s*(?:pub )?mod \w+ \{", code)
    lines = (code[: test.start()] if test else source.rstrip()).count("\n") + 1
    longest_file = max(longest_file, (lines, str(path)))
    if lines > MAX_FILE:
        fail(f"{path}: {lines} lines without its tests, over {MAX_FILE}")
    if re.search(r"\bunsafe\b", code) and not str(path).startswith("runtime/sys/"):
        fail(f"{path}: unsafe outside of runtime/sys")
    if any(str(path).startswith(room) for room in NO_IO) and (found := re.search(IO, product)):
        fail(f"{path}: {found.group()} in a crate that performs no I/O")
    # `Command` is also the name of what a sandbox shall run.
    if re.search(r"\bprocess::(\{[^}]*\b)?Command\b", product) and str(path) not in COMMAND:
        fail(f"{path}: starts a program")
    if re.search(r"\b(clone_process|unshare(_unsafe|_cgroup)?)\s*\(", product) and not str(path).startswith(CLONE_ROOMS):
        fail(f"{path}: makes a process or a namespace; only sys, launcher and init do")
    for match in re.finditer(r"^[ \t]*(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*fn (\w+)", product, re.M):
        # To the body's brace, or to the semicolon of a function without one.
        depth, index = 0, match.end()
        while index < len(product) and not (depth == 0 and product[index] in "{;"):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(product[index], 0)
            index += 1
        if product[index : index + 1] != "{":
            continue
        functions += 1
        length = product.count("\n", match.start(1), closing(product, index)) + 1
        longest_function = max(longest_function, (length, f"{path}: {match.group(1)}"))
        if length > MAX_FUNCTION:
            fail(f"{path}: fn {match.group(1)} has {length} lines, over {MAX_FUNCTION}")
checked(f"no unsafe outside of runtime/sys, {len(sources)} files")
checked("egress, environment, plan, policy and seccomp name no I/O, clock or environment")
checked("only the sandbox crate, the supervisor, the client of user functions, env capture, credential helpers and doctor --attack start a program; only sys, launcher and init make processes")
checked(f"longest file {longest_file[0]} of {MAX_FILE} lines ({longest_file[1]})")
checked(f"longest of {functions} functions {longest_function[0]} of {MAX_FUNCTION} lines ({longest_function[1]})")

# A fuzz target begins from seeds; git keeps no empty folder, so a clean clone lacks it.
targets = {path.stem for path in Path("fuzz/fuzz_targets").glob("*.rs")}
kept = subprocess.run(["git", "ls-files", "-z", "fuzz/corpus"], stdout=subprocess.PIPE, text=True, check=True)
seeded = {Path(name).parts[2] for name in kept.stdout.split("\0") if name}
for name in sorted(targets ^ seeded):
    fail(f"fuzz: {name} has {'seeds and no target' if name in seeded else 'no seeds in fuzz/corpus'}")
checked(f"{len(targets)} fuzz targets, each with seeds")

for failure in failures:
    print(f"layering: FAILED: {failure}", file=sys.stderr)
sys.exit(1 if failures else 0)
PYTHON
