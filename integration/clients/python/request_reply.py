"""Asks questions through a queue. The answers come to an exclusive queue of the one who asked,
each under the correlation id of its question."""

import threading

import pika

import check


def serve(requests):
    """Answer with squares, always two questions at once and the later one first, so that the
    answers do not come in the order of the questions."""
    connection = check.connect()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=2)
    held = []

    def handle(channel, method, properties, body):
        held.append((method, properties, int(body)))
        if len(held) < 2:
            return
        for method, properties, n in reversed(held):
            channel.basic_publish(
                "",
                properties.reply_to,
                str(n * n),
                pika.BasicProperties(correlation_id=properties.correlation_id),
            )
            channel.basic_ack(method.delivery_tag)
        held.clear()

    channel.basic_consume(requests, handle)
    channel.start_consuming()


def main():
    connection = check.connect()
    channel = connection.channel()
    requests = check.name("squares")
    channel.queue_declare(requests, durable=True)
    threading.Thread(target=serve, args=(requests,), daemon=True).start()

    replies = channel.queue_declare("", exclusive=True).method.queue
    want = {}
    for n in range(10):
        question = f"question {n}"
        want[question] = str(n * n)
        channel.basic_publish(
            "", requests, str(n), pika.BasicProperties(correlation_id=question, reply_to=replies)
        )

    for _, properties, body in check.deliveries(channel, replies, auto_ack=True):
        question = properties.correlation_id
        assert question in want, f"an answer to {question}, which was not asked or is answered already"
        assert body.decode() == want.pop(question), f"the answer to {question} is {body}"
        if not want:
            break


check.run(main)
