#!/usr/bin/env bash
# What the broker refuses ends the tools with a status and the text people search for.

. "$(dirname "$0")/check.sh"

# refused TEXT COMMAND...
refused() {
    local text=$1 said
    shift
    said=$("$@" 2>&1 </dev/null) && fail "$* was not refused"
    case $said in *"$text"*) ;; *) fail "$*: got $said, want $text" ;; esac
}

host=${url#*://}
host=${host##*@}
nowhere=clients.shell.nowhere.$run_id
refused "404, message: NOT_FOUND - no exchange '$nowhere' in vhost '/'" amqp-publish -u "$url" -e "$nowhere" -r x -b x
refused "404, message: NOT_FOUND - no queue '$nowhere' in vhost '/'" amqp-consume -u "$url" -q "$nowhere" cat
refused "404, message: NOT_FOUND - no queue '$nowhere' in vhost '/'" amqp-get -u "$url" -q "$nowhere"
refused "530, message: NOT_ALLOWED - vhost $nowhere not found" amqp-get -u "$url/$nowhere" -q x
refused "403, message: ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN" \
    amqp-get -u "amqp://$nowhere:guess@$host" -q x

# The default exchange is written to, not declared or bound: a queue is found by its name.
declare_queue own
expect "declaring it again" "$queue" "$(amqp-declare-queue -u "$url" -q "$queue" -d)"
refused "406, message: PRECONDITION_FAILED - inequivalent arg 'durable' for queue '$queue' in vhost '/': received 'false' but current is 'true'" \
    amqp-declare-queue -u "$url" -q "$queue"
publish -r "$queue" -b something
refused "406, message: PRECONDITION_FAILED - queue '$queue' in vhost '/' not empty" amqp-delete-queue -u "$url" -q "$queue" -e
expect "messages in the deleted queue" 1 "$(amqp-delete-queue -u "$url" -q "$queue")"
