"""Gives a job three attempts. The worker counts them by the x-death header, and puts a job that
failed three times where somebody can look at it."""

from collections import Counter

import pika

import check


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    work, waiting, dead = check.name("work"), check.name("waiting"), check.name("dead")

    def dead_letter_to(queue):
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}

    channel.queue_declare(work, durable=True, arguments=dead_letter_to(waiting))
    channel.queue_declare(waiting, durable=True, arguments={"x-message-ttl": 50, **dead_letter_to(work)})
    channel.queue_declare(dead, durable=True)
    for i in range(6):
        channel.basic_publish("", work, f"job {i}", pika.BasicProperties(delivery_mode=2))

    # Jobs 2 and 5 fail whatever one does, job 3 fails once.
    attempts = Counter()
    finished = []
    left = 6
    for method, properties, body in check.deliveries(channel, work):
        job = body.decode()
        attempts[job] += 1
        failures = check.deaths(properties, work, "rejected")
        assert failures == attempts[job] - 1, f"{job} at attempt {attempts[job]}: {properties.headers}"

        if job in ("job 2", "job 5") or (job == "job 3" and failures == 0):
            if failures < 2:
                channel.basic_reject(method.delivery_tag, requeue=False)
                continue
            # Kept safe first and acknowledged then: a worker that dies between the two
            # leaves it twice, never not at all.
            channel.basic_publish(
                "", dead, body, pika.BasicProperties(delivery_mode=2, headers={"failures": failures + 1})
            )
        else:
            finished.append(job)
        channel.basic_ack(method.delivery_tag)
        left -= 1
        if left == 0:
            break
    channel.cancel()
    assert sorted(finished) == ["job 0", "job 1", "job 3", "job 4"], finished
    assert attempts["job 0"] == 1 and attempts["job 3"] == 2, attempts

    failed = []
    while True:
        method, properties, body = channel.basic_get(dead, auto_ack=True)
        if method is None:
            break
        assert properties.headers["failures"] == 3, properties.headers
        failed.append(body.decode())
    assert sorted(failed) == ["job 2", "job 5"], failed
    for queue in [work, waiting]:
        left = channel.queue_declare(queue, passive=True).method.message_count
        assert left == 0, f"{left} messages are left in {queue}"


check.run(main)
