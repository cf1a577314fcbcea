#!/usr/bin/env bash
# A worker that dies, or that fails at its work, loses nothing: its message goes to the next.

if [ "${1:-}" = handle ]; then
    log=$2 then=$3
    cat >>"$log"
    echo >>"$log"
    case $then in
    die) sleep 15 ;;
    fail) exit 1 ;;
    esac
    exit 0
fi

. "$(dirname "$0")/check.sh"
declare_queue jobs
for job in one two three; do publish -r "$queue" -b "$job"; done

# This one is killed over its first job, and amqp-consume does not acknowledge what the
# other's command failed at.
for fate in die fail; do
    : >"$dir/$fate"
    consume -q "$queue" -p 1 -- "$0" handle "$dir/$fate" $fate
    await "the worker that will $fate" test -s "$dir/$fate"
    expect "the job of the worker that will $fate" one "$(cat "$dir/$fate")"
    stop "${workers[-1]}"
    unset 'workers[-1]'
done

: >"$dir/done"
consume -q "$queue" -p 1 -c 3 -- "$0" handle "$dir/done" finish
await "three finished jobs" has_lines "$dir/done" 3
expect "the finished jobs, in their order" "$(printf '%s\n' one two three)" "$(cat "$dir/done")"
wait "${workers[-1]}" || fail "the last worker ended with $?"
unset 'workers[-1]'
empty "$queue" || fail "left in the queue: $(cat "$dir/get")"
