#!/usr/bin/env bash
# Sends every message to every subscriber, through the fanout exchange that is always there
# and queues that the broker names and that belong to one connection.

# As a subscriber: note the one message on standard input. The exchange is everybody's, so
# only what is ours is noted.
if [ "${1:-}" = handle ]; then
    log=$2 ours=$3
    message=$(cat)
    case $message in "$ours"*) echo "${message#"$ours"}" >>"$log" ;; esac
    exit 0
fi

. "$(dirname "$0")/check.sh"
for subscriber in 1 2; do
    : >"$dir/log$subscriber"
    consume -x -e amq.fanout -r any -- "$0" handle "$dir/log$subscriber" "$run_id "
done

# A subscriber hears nothing from before it came, so the first word is said until both
# have heard it.
heard() {
    publish -e amq.fanout -r any -b "$run_id hello"
    [ -s "$dir/log1" ] && [ -s "$dir/log2" ]
}
await "two subscribers" heard

for i in $(seq 10); do publish -e amq.fanout -r any -b "$run_id line $i"; done
for subscriber in 1 2; do
    await "the last line at subscriber $subscriber" grep -qx 'line 10' "$dir/log$subscriber"
    expect "the lines of subscriber $subscriber" \
        "$(for i in $(seq 10); do echo "line $i"; done)" \
        "$(grep line "$dir/log$subscriber")"
done
