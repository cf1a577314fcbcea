#!/usr/bin/env bash
# Fetches messages one at a time, whatever is in them and however long they are, and is told
# when there are none.

. "$(dirname "$0")/check.sh"
declare_queue letters
empty "$queue" || fail "a new queue is not empty"

# Longer than one frame, and with every byte there is.
head -c 1000000 /dev/urandom >"$dir/long"
: >"$dir/nothing"
for letter in long nothing; do publish -r "$queue" -C application/octet-stream <"$dir/$letter"; done
publish -r "$queue" -H 'colour: blue' -H 'size: 10' -E utf-8 -C text/plain -t somewhere -b 'grüße'

for letter in long nothing; do
    amqp-get -u "$url" -q "$queue" >"$dir/got" || fail "get: $?"
    cmp "$dir/$letter" "$dir/got" || fail "$letter came back changed"
done
expect "the last letter" 'grüße' "$(amqp-get -u "$url" -q "$queue")"
empty "$queue" || fail "left in the queue: $(cat "$dir/get")"
