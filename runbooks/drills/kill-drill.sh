#!/usr/bin/env bash
# A kill from the first doubt to the resumption, as it is done in an incident, on a bot of your choice.
#
#   runbooks/drills/kill-drill.sh BOT [DRILL]
#
# DRILL names the drill (default: today's date). Every step carries one trace id, made from that name, and a request id
# of its own: run it again after a break, and each step is done once. It kills the bot for real: choose one that may be.
# Exit 0: every answer was the expected one. Anything else: the last line says which was not; `blaidctl audit tail --of-trace`.
set -euo pipefail

bot=${1:?usage: kill-drill.sh BOT [DRILL]}
drill=${2:-$(date -u +%Y-%m-%d)}
trace=$(printf 'kill-drill %s %s' "$bot" "$drill" | sha256sum | cut -c1-32)
export TRACEPARENT="00-$trace-${trace:0:16}-01"

step() { # step EXPECTED_EXIT WORDS…: a command that must answer with this exit code
    local expected=$1 code=0
    shift
    printf '\n$ blaidctl %s\n' "$*" >&2
    blaidctl "$@" || code=$?
    if [ "$code" != "$expected" ]; then
        printf 'DRILL FAILED: `blaidctl %s` answered %s, expected %s (trace %s)\n' "$*" "$code" "$expected" "$trace" >&2
        exit 1
    fi
}

step 0 bot show "$bot"
# A kill that was ended is not made again under its old name: a drill that came to its end stays as it was.
events=$(blaidctl kill-events "$bot" --limit 10000 --output json)
if grep -Eq "\"RESURRECT\"[^}]*\}[^}]*\"trace_id\": \"$trace\"" <<<"$events"; then
    printf '\nDRILL DONE: %s was killed and came back, before; trace %s\n' "$bot" "$trace" >&2
    exit 0
fi
step 0 kill "$bot" --reason-code DRILL --reason "drill $drill" --dry-run
step 0 kill "$bot" --reason-code DRILL --reason "drill $drill" --request-id "$trace:kill" --wait 30
step 1 guard "$bot"
step 0 status "$bot"
step 0 kill-events "$bot" --limit 4
step 0 resurrect "$bot" --reason-code DRILL_DONE --reason "drill $drill" --request-id "$trace:resurrect"
step 0 audit verify
printf '\nDRILL DONE: %s was killed and came back; trace %s\n' "$bot" "$trace" >&2
