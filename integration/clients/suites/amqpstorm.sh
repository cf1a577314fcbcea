# amqpstorm's functional tests (Python): AMQP and a client of the management API.
exceptions=".*ApiFunctionalTests\.test_api_cluster_name	wants the name of its author's broker
.*ApiFunctionalTests\.test_api_with_inaccessible	fails with RabbitMQ too"

suite() {
    local python
    python_sdist amqpstorm==3.1.4 && python=$(python_with pamqp==3.3.0 requests==2.32.5) && cd "$work/amqpstorm" || return
    AMQP_HOST=127.0.0.1 AMQP_USERNAME=guest AMQP_PASSWORD=guest AMQP_URI=amqp://guest:guest@127.0.0.1:5672/%2F \
        AMQP_HTTP_URL=http://127.0.0.1:15672 PYTHONPATH=. pytest_lines "$python" amqpstorm/tests/functional
}
