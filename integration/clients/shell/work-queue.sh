#!/usr/bin/env bash
# Shares a durable queue between three workers who hold one message at a time, so that the
# slow one gets fewer.

# As a worker: handle the one message on standard input. The last kind of message keeps its
# worker busy, so that each of three workers gets one.
if [ "${1:-}" = handle ]; then
    log=$2 effort=$3
    read -r job
    sleep "$effort"
    echo "$job" >>"$log"
    [ "$job" != end ] || sleep 15
    exit
fi

. "$(dirname "$0")/check.sh"
jobs=40
declare_queue jobs
for worker in 1 2 3; do
    : >"$dir/log$worker"
    effort=0.01
    [ $worker != 3 ] || effort=0.2
    consume -q "$queue" -p 1 -- "$0" handle "$dir/log$worker" $effort
done

for i in $(seq $jobs); do echo "job $i"; done | publish -r "$queue" -l
all_handled() { [ "$(cat "$dir"/log? | grep -c job)" -ge $jobs ]; }
await "$jobs jobs to be handled" all_handled

# A worker gets the next message only when the broker took in that it did the one before: with
# three ends handed out, nothing else is unacknowledged.
for worker in 1 2 3; do publish -r "$queue" -b end; done
for worker in 1 2 3; do await "the end of worker $worker" grep -q end "$dir/log$worker"; done

expect "each job, once" "$(for i in $(seq $jobs); do echo "job $i"; done | sort)" "$(cat "$dir"/log? | grep job | sort)"
slow=$(grep -c job "$dir/log3")
for worker in 1 2; do
    fast=$(grep -c job "$dir/log$worker")
    [ "$slow" -lt "$fast" ] || fail "the slow worker did $slow jobs, worker $worker did $fast"
done

# The ends were never finished, so they come back when their workers are gone.
for pid in "${workers[@]}"; do stop "$pid"; done
workers=()
for worker in 1 2 3; do
    back() { ! empty "$queue"; }
    await "an unfinished message to come back" back
    expect "what came back" end "$(cat "$dir/get")"
done
empty "$queue" || fail "more than the three unfinished messages was left: $(cat "$dir/get")"
