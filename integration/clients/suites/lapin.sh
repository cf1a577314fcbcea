# lapin's own tests (Rust). Building it takes minutes; what was built is kept.
exceptions="conn_refused::.*	wants nobody at port 5673"

suite() {
    rust_crate lapin 4.12.3 && cd "$work/lapin" || return
    AMQP_ADDR=amqp://guest:guest@127.0.0.1:$port/%2f cargo_lines
}
