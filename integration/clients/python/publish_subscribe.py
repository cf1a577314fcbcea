"""Sends every message to every subscriber, through a fanout exchange and queues that the
broker names and that belong to one connection."""

import pika

import check


def refusal(connection, queue):
    """The code with which the broker refuses to show a queue."""
    try:
        connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as closed:
        return closed.reply_code
    return "accepted"


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    exchange = check.name("logs")
    channel.exchange_declare(exchange, "fanout")

    # Nobody listens yet: this one is lost, and that is not an error.
    channel.basic_publish(exchange, "", "too early")

    subscribers = []
    for _ in range(3):
        own = check.connect()
        channel_of_own = own.channel()
        queue = channel_of_own.queue_declare("", exclusive=True).method.queue
        assert queue, "the broker gave the queue no name"
        channel_of_own.queue_bind(queue, exchange)
        subscribers.append((own, channel_of_own, queue))

    lines = [f"line {i}" for i in range(20)]
    for line in lines + ["end"]:
        channel.basic_publish(exchange, "the key does not matter", line)
    for _, its_channel, queue in subscribers:
        assert check.until("end", its_channel, queue) == lines

    # An exclusive queue is nobody else's while its connection lives ...
    first, _, queue = subscribers[0]
    assert refusal(connection, queue) == 405

    # ... and is gone with it.
    first.close()
    assert refusal(connection, queue) == 404


check.run(main)
