# aiormq's tests (Python, asyncio), the client under aio-pika.
exceptions=".*test_big_message.*	RabbitMQ before 4.0: messages of 128 MiB; since then 16 MiB, as here
.*(amqps|_ssl_|test_ssl_context).*	the broker has no TLS here"

suite() {
    local python
    debian_source python-aiormq=6.8.1 && python=$(python_with aiormq==6.8.1 pamqp==3.3.0 aiomisc==17.5.29 aiomisc-pytest==1.1.2 yarl) &&
        cd "$work/python-aiormq" || return
    AMQP_URL=amqp://guest:guest@127.0.0.1:5672/ PYTHONPATH=. pytest_lines "$python" tests
}
