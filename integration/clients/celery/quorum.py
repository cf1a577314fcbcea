"""Celery with quorum queues. Their prefetch is each consumer's alone, so tasks that are to wait
do not wait in the worker: Celery has 28 queues for it, each with a TTL of twice the one before,
between topic exchanges that read in the routing key, bit by bit, how long."""

import time

import check

app = check.app(__file__, task_default_queue="work", task_default_queue_type="quorum", task_default_exchange_type="topic")


@app.task
def add(a, b):
    return a + b


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=True, retry_jitter=False)
def unlucky(self, times):
    if self.request.retries < times:
        raise ConnectionError("not this time")
    return self.request.retries


def main():
    worker = check.Worker(app, "-c", "2", "--without-mingle", "--without-gossip")
    assert add.delay(1, 2).get(timeout=check.WAIT) == 3
    worker.wait_until_ready()

    queues = {q["name"]: q for q in check.api("GET", "queues/{}")}
    assert queues["work"]["arguments"] == {"x-queue-type": "quorum"}, queues["work"]
    for level in range(28):
        arguments = queues[f"celery_delayed_{level}"]["arguments"]
        assert arguments["x-queue-type"] == "quorum" and arguments["x-message-ttl"] == 1000 << level, arguments

    # More of them than the prefetch of 8, and what comes after does not stand behind them.
    for _ in range(20):
        add.apply_async((1, 1), countdown=100_000)
    began = time.monotonic()
    waited, tried = add.apply_async((20, 22), countdown=3), unlucky.delay(2)
    assert add.delay(5, 5).get(timeout=check.WAIT) == 10
    assert waited.get(timeout=check.WAIT) == 42
    took = time.monotonic() - began
    # Celery rounds to whole seconds, and the worker waits for the rest.
    assert took >= 2.99, f"countdown=3 took {took} s"
    assert tried.get(timeout=check.WAIT) == 2
    took = time.monotonic() - began
    assert took >= 2.99, f"retries after 1 s and 2 s took {took} s"

    # 100,000 s begin in the queue of 65,536.
    with app.connection_for_read() as connection:
        held = connection.default_channel.queue_declare("celery_delayed_16", passive=True).message_count
    assert held == 20, f"celery_delayed_16 holds {held} messages, want 20"
    worker.stop()


if __name__ == "__main__":
    check.run(main)
