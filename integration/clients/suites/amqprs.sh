# amqprs's own tests (Rust), without those of TLS. Building it takes minutes; what was built is kept.
exceptions="amqprs::net::split_connection::test::test_open_amqp_connection	wants the mechanism RABBIT-CR-DEMO, which is a demonstration"

suite() {
    [ -n "$management_port" ] || { echo "this suite needs the management API, for a user" >&2; return 1; }
    user_of user bitnami administrator && may_everything user %2F || return
    rust_crate amqprs 2.1.5 && cd "$work/amqprs" || return
    cargo_lines
}
