"""Tries a job again after a pause. The worker rejects it; the work queue dead-letters it to a
queue where nobody consumes; when its time there is up it is dead-lettered back."""

import datetime
import time

import pika

import check

PAUSE = 0.3


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    work, waiting, retries = check.name("work"), check.name("waiting"), check.name("retries")
    channel.exchange_declare(retries, "direct", durable=True)
    channel.queue_declare(work, durable=True, arguments={"x-dead-letter-exchange": retries})
    channel.queue_declare(
        waiting,
        durable=True,
        arguments={
            "x-message-ttl": int(PAUSE * 1000),
            "x-dead-letter-exchange": "",  # the default exchange: the key is a queue's name
            "x-dead-letter-routing-key": work,
        },
    )
    channel.queue_bind(waiting, retries, work)
    channel.basic_publish("", work, "job", pika.BasicProperties(delivery_mode=2))

    rejected = None
    for attempt, (method, properties, body) in enumerate(check.deliveries(channel, work), start=1):
        assert body == b"job"
        assert not method.redelivered, "a dead letter is a new message"
        if attempt > 1:
            took = time.monotonic() - rejected
            # A millisecond of grace: the broker's clock need not tick with ours.
            assert took > PAUSE - 0.001, f"attempt {attempt} came after {took} s, want {PAUSE}"
            check_history(properties, attempt - 1, work, waiting, retries)
        if attempt == 3:
            channel.basic_ack(method.delivery_tag)
            break
        rejected = time.monotonic()
        channel.basic_reject(method.delivery_tag, requeue=False)
    channel.cancel()
    assert channel.queue_declare(work, passive=True).method.message_count == 0


def check_history(properties, times, work, waiting, retries):
    """Fail unless the message says that it was rejected and expired so often."""
    assert check.deaths(properties, work, "rejected") == times, properties.headers
    assert check.deaths(properties, waiting, "expired") == times, properties.headers
    history = properties.headers["x-death"]
    assert len(history) == 2, f"want one entry for each queue: {history}"

    # The latest comes first, and says where the message had been published to.
    latest = history[0]
    assert latest["reason"] == "expired" and latest["queue"] == waiting, latest
    assert latest["exchange"] == retries and latest["routing-keys"] == [work], latest
    assert isinstance(latest["time"], datetime.datetime), latest

    assert properties.headers["x-first-death-reason"] == "rejected"
    assert properties.headers["x-first-death-queue"] == work
    assert properties.headers["x-first-death-exchange"] == ""


check.run(main)
