# What the programs beside this file share, to be sourced: the broker's address, names
# nobody else uses, waits that end, and an ending that cleans up.
set -u -o pipefail

# rabbitmq-c reads "amqp://host/" as the virtual host with the empty name, as the URI
# specification has it; without the last slash it is the default one.
url=${AMQP_URL:-amqp://guest:guest@localhost:5672}
url=${url%/}

dir=$(mktemp -d)
run_id=$$-$RANDOM$RANDOM
queues=()
workers=()
consumers=0

# Whatever happens, nothing is left: no process, no queue, no file.
clean_up() {
    local status=$? pid queue
    trap - EXIT
    for pid in "${workers[@]}"; do kill "$pid" 2>/dev/null; done
    wait 2>/dev/null
    for queue in "${queues[@]}"; do
        amqp-delete-queue -u "$url" -q "$queue" >/dev/null || status=1
    done
    rm -rf "$dir"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# fail WHAT says what went wrong, and what the consumers had to say.
fail() {
    printf '%s\n' "$*" >&2
    cat "$dir"/consumer-* 2>/dev/null >&2
    exit 1
}

# declare_queue WHAT ends with the name of a fresh durable queue in $queue.
declare_queue() {
    queue=clients.shell.$1.$run_id
    queues+=("$queue")
    amqp-declare-queue -u "$url" -q "$queue" -d >/dev/null || fail "cannot declare $queue"
}

# publish ARGUMENTS: amqp-publish, persistent, and a failure ends the program.
publish() {
    amqp-publish -u "$url" -p "$@" || fail "cannot publish $*"
}

# consume ARGUMENTS -- COMMAND starts amqp-consume in the background. Its pid is in $!.
# What it says goes to a file: a broken connection is sometimes what a program wants.
consume() {
    amqp-consume -u "$url" "$@" >"$dir/consumer-$((++consumers))" 2>&1 &
    workers+=($!)
}

# await WHAT COMMAND waits until the command is true, but not for long.
await() {
    local what=$1 tries
    shift
    for tries in $(seq 200); do
        "$@" && return 0
        sleep 0.05
    done
    fail "waited 10 seconds for $what"
}

# has_lines FILE COUNT
has_lines() {
    [ "$(wc -l <"$1")" -ge "$2" ]
}

# stop PID ends a consumer the hard way: it says nothing to the broker.
stop() {
    kill -9 "$1"
    wait "$1" 2>/dev/null
}

# expect WHAT WANT GOT
expect() {
    [ "$2" = "$3" ] || fail "$1: got $(printf '%q' "$3"), want $(printf '%q' "$2")"
}

# empty QUEUE: amqp-get ends with 2 when there is no message.
empty() {
    local status=0
    amqp-get -u "$url" -q "$1" >"$dir/get" || status=$?
    [ "$status" = 2 ]
}
