"""The work queue as RabbitMQ's tutorials have it today: a durable quorum queue, acknowledged by
hand. A worker that dies, connection and all, loses nothing."""

import subprocess
import sys

import pika

import check

QUORUM = {"x-queue-type": "quorum"}


def worker(queue):
    """The first worker is a process of its own, so that it can be killed. It may hold three
    tasks and finishes the first, which lets a fourth come."""
    channel = check.connect().channel()
    channel.basic_qos(prefetch_count=3)
    first = True
    for method, _, body in check.deliveries(channel, queue):
        if first:
            channel.basic_ack(method.delivery_tag)
            first = False
        print(body.decode(), method.redelivered, flush=True)


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    queue = check.name("tasks")
    channel.queue_declare(queue, durable=True, arguments=QUORUM)
    tasks = [f"task {i}" for i in range(5)]
    for task in tasks:
        channel.basic_publish("", queue, task, pika.BasicProperties(delivery_mode=2))

    first = subprocess.Popen([sys.executable, __file__, queue], stdout=subprocess.PIPE, text=True)
    try:
        taken = [first.stdout.readline().strip() for _ in range(4)]
    finally:
        first.kill()
        first.wait()
    assert taken == [f"{task} False" for task in tasks[:4]], taken

    # The second finds the other four, and those that had been out are marked.
    got = []
    channel.basic_qos(prefetch_count=1)
    for method, properties, body in check.deliveries(channel, queue):
        task = body.decode()
        got.append(task)
        out = task != tasks[4]
        assert method.redelivered == out, f"{task}: redelivered is {method.redelivered}, want {out}"
        if out:
            assert properties.headers["x-delivery-count"] == 1, properties.headers
        channel.basic_ack(method.delivery_tag)
        if len(got) == 4:
            break
    channel.cancel()
    assert sorted(got) == tasks[1:], got
    left = channel.queue_declare(queue, durable=True, arguments=QUORUM, passive=True).method.message_count
    assert left == 0, f"{left} messages are left"


if len(sys.argv) > 1:
    worker(sys.argv[1])
else:
    check.run(main)
