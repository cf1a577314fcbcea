# pika's acceptance tests (Python), of all its adapters but Twisted's, whose tests want a test
# framework that no current Python runs.
exceptions="tests\.acceptance\.io_services_tests\.TestGetaddrinfoWWWGoogleDotComPort80\..*	looks up a name on the Internet
tests\.acceptance\.blocking_adapter_test\.TestInvalidExchangeTypeRaisesConnectionClosed\.test	RabbitMQ up to 3.12: 503 that closes the connection; since then 406, as here"

suite() {
    local python
    debian_source python-pika=1.3.2 && python=$(python_with tornado==6.5.2 gevent==25.9.1) && cd "$work/python-pika" || return
    PYTHONPATH=. pytest_lines "$python" -o 'python_files=*_test.py *_tests.py' \
        --ignore tests/acceptance/twisted_adapter_tests.py tests/acceptance
}
