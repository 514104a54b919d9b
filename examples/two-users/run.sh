#!/usr/bin/env bash
# Two users and an administrator at one manager: each works in a sandbox of their own,
# both write one project folder, and neither reaches the other's sandbox. Run as root;
# makes two host accounts where they are missing, and leaves nothing behind.
#
#   examples/two-users/run.sh [USER OTHER_USER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lakekeep=${LAKEKEEP:-$here/../../target/release/lakekeep}
ann=${1:-ann} bob=${2:-bob} service=${LAKEKEEP_SERVICE:-lakekeep}
place=$(mktemp -d) made=() manager=

[ "$(id -u)" -eq 0 ] || { echo "run.sh: run it as root: a manager for many users needs that" >&2; exit 1; }
[ -x "$lakekeep" ] || { echo "run.sh: $lakekeep is missing: cargo build --release" >&2; exit 1; }

end() {
    [ -z "$manager" ] || { kill -TERM "$manager"; wait "$manager" || true; }
    for account in "${made[@]}"; do userdel "$account"; done
    rm -rf "$place"
}
trap end EXIT

for account in "$ann" "$bob" "$service"; do
    id "$account" >/dev/null 2>&1 && continue
    useradd --user-group --no-create-home --no-log-init --shell /usr/sbin/nologin "$account"
    made+=("$account")
done

# The project's folder belongs to nobody's account, but to the project's own number.
project=700001
chmod 755 "$place"
install -d -m 700 -o "$project" -g "$project" "$place/churn"
mkdir "$place/profiles"
fill() { sed -e "s|@PLACE@|$place|g" -e "s|@ANN@|$ann|g" -e "s|@BOB@|$bob|g" -e "s|@SERVICE@|$service|g" "$here/$1"; }
fill lakekeep.toml >"$place/lakekeep.toml"
fill churn.toml >"$place/profiles/churn.toml"

"$lakekeep" serve --check --config "$place/lakekeep.toml"
"$lakekeep" serve --config "$place/lakekeep.toml" &
manager=$!
export LAKEKEEP_SOCKET=$place/run/lakekeep.sock
for _ in $(seq 100); do
    "$lakekeep" whoami >/dev/null 2>&1 && break
    sleep 0.1
done

# Shows a command, and runs it as the user.
as() {
    local user=$1
    shift
    printf '\n%s$ lakekeep %s\n' "$user" "${*@Q}" | sed "s/'\([a-z0-9/:.=-]*\)'/\1/g"
    setpriv --reuid "$user" --regid "$user" --init-groups -- "$lakekeep" "$@"
}

as "$ann" whoami --project churn
sandbox=$(as "$ann" create --profile churn | tee /dev/stderr | tail -1)
as "$ann" exec "$sandbox" -- sh -c 'echo "written by ann" > /project/notes'
as "$bob" run --profile churn -- sh -c 'cat /project/notes; echo "and by bob" >> /project/notes'
as "$ann" exec "$sandbox" -- cat /project/notes
as "$bob" exec "$sandbox" -- cat /project/notes || echo "(exit $?)"
printf '\nOn disk, both lines belong to the project:\n'
ls -ln "$place/churn"
as root ps --all-users
as root audit query --outcome denied
as root audit verify
as root kill "$sandbox"
