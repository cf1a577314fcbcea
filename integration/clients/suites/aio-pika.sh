# aio-pika's tests (Python, asyncio), with those of its robust connections, which are cut by a
# proxy of the suite; without those of TLS.

suite() {
    local python
    debian_source python-aio-pika=9.5.6 && python=$(python_with aio-pika==9.5.6 aiormq==6.8.1 aiomisc==17.5.29 aiomisc-pytest==1.1.2 shortuuid yarl exceptiongroup) &&
        cd "$work/python-aio-pika" && container_is_the_broker || return
    PYTHONPATH=.:$work/stub pytest_lines "$python" --ignore tests/test_amqps.py tests
}

# container_is_the_broker stands in for what starts a broker in a container.
container_is_the_broker() {
    mkdir -p "$work/stub/testcontainers/core" && touch "$work/stub/testcontainers/__init__.py" "$work/stub/testcontainers/core/__init__.py" &&
        cat >"$work/stub/testcontainers/core/container.py" <<'EOF'
class DockerContainer:
    def __init__(self, image):
        pass

    def with_exposed_ports(self, *ports):
        return self

    def get_container_host_ip(self):
        return "127.0.0.1"

    def get_exposed_port(self, port):
        return port

    def start(self):
        return self

    def stop(self):
        pass

    def __enter__(self):
        return self.start()

    def __exit__(self, *about):
        self.stop()
EOF
}
