"""Picks messages by what their headers say: all of it, or any of it."""

import pika

import check

SUBSCRIPTIONS = [
    ({"x-match": "all", "format": "pdf", "pages": 2}, ["pdf of two", "signed pdf of two"]),
    (
        {"x-match": "any", "format": "pdf", "signed": True},
        ["pdf of two", "signed pdf of two", "pdf of nine", "signed text"],
    ),
    ({"format": "text"}, ["signed text"]),  # all is what is meant when nothing is said
]

MESSAGES = [
    ("pdf of two", {"format": "pdf", "pages": 2}),
    ("signed pdf of two", {"format": "pdf", "pages": 2, "signed": True}),
    ("pdf of nine", {"format": "pdf", "pages": 9}),
    ("signed text", {"format": "text", "signed": True}),
    ("image", {"format": "png", "signed": False}),
    ("nothing said", None),
]


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    exchange = check.name("documents")
    channel.exchange_declare(exchange, "headers")

    queues = []
    for terms, _ in SUBSCRIPTIONS:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange, arguments=terms)
        queues.append(queue)

    for body, headers in MESSAGES:
        channel.basic_publish(exchange, "ignored", body, pika.BasicProperties(headers=headers))
    for queue, (terms, want) in zip(queues, SUBSCRIPTIONS):
        channel.basic_publish("", queue, "end")
        got = check.until("end", channel, queue)
        assert got == want, f"bound with {terms}: got {got}, want {want}"


check.run(main)
