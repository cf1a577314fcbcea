# rabbitpy's integration tests (Python).
suite() {
    local python
    python_sdist rabbitpy==3.0.2 && python=$(python_with pamqp==4.0.1 python-dotenv) && cd "$work/rabbitpy" || return
    RABBITMQ_URL=amqp://guest:guest@127.0.0.1:5672/%2f PYTHONPATH=. pytest_lines "$python" tests/test_integration.py tests/integration
}
