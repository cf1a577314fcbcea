# To be sourced by the programs that need a broker: the one at $AMQP_URL, or when that is not
# set, a Leveret of this checkout that start_broker builds and stop_broker ends.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
broker_pid=

# start_broker DIR builds and starts the broker with its data in DIR, and exports AMQP_URL,
# MANAGEMENT_PORT, and for TLS AMQPS_URL and AMQPS_DIR, where certificates are.
start_broker() {
    local dir=$1 port management secure tries
    [ -n "${AMQP_URL:-}" ] && return 0
    (cd "$root" && go build -o "$dir/leveret" ./cmd/leveret) || return
    mkdir -p "$dir/tls" && (cd "$root" && go run ./integration/clients/certificates "$dir/tls") || return
    for tries in $(seq 5); do
        port=$((20000 + RANDOM % 10000)) management=$((10000 + RANDOM % 5000)) secure=$((15000 + RANDOM % 5000))
        reachable "$port" && continue
        reachable "$management" && continue
        reachable "$secure" && continue
        LEVERET_TLS_LISTEN="127.0.0.1:$secure" LEVERET_TLS_MANAGEMENT_LISTEN=off LEVERET_TLS_VERIFY=optional \
            LEVERET_TLS_CERT_FILE="$dir/tls/server.pem" LEVERET_TLS_KEY_FILE="$dir/tls/server.key" LEVERET_TLS_CA_FILE="$dir/tls/ca.pem" \
            "$dir/leveret" --data-dir "$dir/data" --listen "127.0.0.1:$port" --metrics-listen off \
            --management-listen "127.0.0.1:$management" >"$dir/broker.log" 2>&1 &
        broker_pid=$!
        if wait_for_broker "$port"; then
            export AMQP_URL="amqp://guest:guest@127.0.0.1:$port/" MANAGEMENT_PORT=$management
            export AMQPS_URL="amqps://guest:guest@localhost:$secure/" AMQPS_DIR=$dir/tls
            return
        fi
        stop_broker
    done
    echo "the broker does not start; it said:" >&2
    cat "$dir/broker.log" >&2
    return 1
}

# wait_for_broker PORT is false when the broker ends, or does not accept within 10 seconds.
wait_for_broker() {
    local tries
    for tries in $(seq 100); do
        reachable "$1" && return 0
        kill -0 "$broker_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

reachable() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

stop_broker() {
    [ -n "$broker_pid" ] || return 0
    kill "$broker_pid" 2>/dev/null
    wait "$broker_pid" 2>/dev/null
    broker_pid=
}
