"""Picks messages by their routing key with a direct exchange, and hears about the ones that
nobody wanted."""

import pika

import check


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    exchange = check.name("severities")
    channel.exchange_declare(exchange, "direct")

    def subscribe(*keys):
        queue = channel.queue_declare("", exclusive=True).method.queue
        for key in keys:
            channel.queue_bind(queue, exchange, key)
        return queue

    serious = subscribe("error", "fatal")
    everything = subscribe("info", "error", "fatal")
    for severity in ["info", "error", "debug", "fatal", "Error", "error.disk"]:
        channel.basic_publish(exchange, severity, severity)
    for queue in [serious, everything]:
        channel.basic_publish("", queue, "end")
    assert check.until("end", channel, serious) == ["error", "fatal"]
    assert check.until("end", channel, everything) == ["info", "error", "fatal"]

    # A mandatory message that reaches no queue comes back, which pika raises.
    try:
        channel.basic_publish(exchange, "debug", "anybody?", mandatory=True)
    except pika.exceptions.UnroutableError as error:
        (returned,) = error.messages
        assert returned.body == b"anybody?"
        assert returned.method.reply_code == 312
        assert returned.method.routing_key == "debug"
    else:
        raise AssertionError("the message for nobody was not returned")


check.run(main)
