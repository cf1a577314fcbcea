"""Shares a durable queue between three workers who hold one message at a time, so that the
slow one gets fewer."""

import threading
import time
from collections import Counter

import pika

import check

JOBS = 60


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    queue = check.name("jobs")
    channel.queue_declare(queue, durable=True)

    # Workers first, so that the fast ones do not find everything already taken. A pika
    # connection belongs to one thread, so each worker has its own.
    lock = threading.Lock()
    handled = Counter()
    by_worker = [0, 0, 0]
    ready = threading.Barrier(4)
    done = threading.Event()

    def work(who, effort):
        connection = check.connect()
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)

        def handle(channel, method, properties, body):
            time.sleep(effort)
            channel.basic_ack(method.delivery_tag)
            with lock:
                handled[body.decode()] += 1
                by_worker[who] += 1
                if len(handled) == JOBS:
                    done.set()

        channel.basic_consume(queue, handle)
        ready.wait(check.WAIT)
        while not done.is_set():
            connection.process_data_events(0.01)
        connection.close()

    workers = [threading.Thread(target=work, args=each) for each in enumerate([0.001, 0.001, 0.08])]
    for worker in workers:
        worker.start()
    ready.wait(check.WAIT)

    for i in range(JOBS):
        # With confirms on, this returns when the broker has the message or raises.
        channel.basic_publish("", queue, f"job {i}", pika.BasicProperties(delivery_mode=2))
    assert done.wait(check.WAIT), f"only {len(handled)} of {JOBS} jobs were handled"
    for worker in workers:
        worker.join()

    assert all(times == 1 for times in handled.values()), f"jobs and how often they were handled: {handled}"
    assert by_worker[2] < min(by_worker[:2]), f"jobs per worker, the last is slow: {by_worker}"

    # What a worker had not acknowledged would have come back when it closed.
    left = channel.queue_declare(queue, passive=True).method
    assert (left.message_count, left.consumer_count) == (0, 0), left


check.run(main)
