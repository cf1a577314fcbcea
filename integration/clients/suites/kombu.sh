# kombu's integration tests over AMQP (Python), the messaging of celery.
suite() {
    local python
    python_sdist kombu==5.7.0 && python=$(python_with amqp==5.4.2 vine==5.1.0 tzdata packaging) && cd "$work/kombu" || return
    PYTHONPATH=. pytest_lines "$python" t/integration/test_py_amqp.py
}
