# The integration tests of py-amqp (Python), which celery and kombu speak through.
exceptions="t\.integration\.test_rmq\..*tls.*	the broker has no TLS here"

suite() {
    local python
    debian_source python-amqp=5.3.1 && python=$(python_with vine==5.1.0) && cd "$work/python-amqp" || return
    PYTHONPATH=. pytest_lines "$python" t/integration
}
