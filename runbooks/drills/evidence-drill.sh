#!/usr/bin/env bash
# Can everything be shown to an auditor, and brought back? Verify, export, back up, restore into a new database, verify.
#
#   runbooks/drills/evidence-drill.sh FOLDER [DRILL]
#
# FOLDER gets the log, the backup and, from a SQLite database, the restored copy, all named by DRILL (default: now). Every
# step carries one trace id. Nothing of the database is changed, and nothing is written over: run it again with another
# name. The restored copy is proved on its own; on PostgreSQL the backup is proved in a scratch database by `db backup`.
set -euo pipefail
umask 077

folder=${1:?usage: evidence-drill.sh FOLDER [DRILL]}
drill=${2:-$(date -u +%Y%m%dT%H%M%SZ)}
trace=$(printf 'evidence-drill %s' "$drill" | sha256sum | cut -c1-32)
export TRACEPARENT="00-$trace-${trace:0:16}-01"
mkdir -p "$folder"

step() { # step WORDS…: a command that must answer with 0
    printf '\n$ blaidctl %s\n' "$*" >&2
    if ! blaidctl "$@"; then
        printf 'DRILL FAILED: `blaidctl %s` (trace %s)\n' "$*" "$trace" >&2
        exit 1
    fi
}

log=$folder/$drill.ndjson
backup=$folder/$drill.backup
if [ -e "$log" ] || [ -e "$backup" ]; then
    printf 'DRILL FAILED: %s holds a drill of this name already; name another one\n' "$folder" >&2
    exit 1
fi
step audit verify
step audit export >"$log"
step db backup "$backup"
if [[ ${BLAIDCTL_DATABASE_URL:-sqlite} == sqlite* ]]; then
    export BLAIDCTL_DATABASE_URL=sqlite:///$(cd "$folder" && pwd)/$drill.db
    step db restore "$backup"
    step audit verify
fi
printf '\nDRILL DONE: %s entries exported, backup proved; %s; trace %s\n' "$(wc -l <"$log")" "$folder" "$trace" >&2
