"""Picks messages by patterns: in a topic exchange * is one word and # is any number of words,
none included."""

import check

KEYS = [
    "quick.orange.hare",
    "lazy.orange.fox",
    "lazy.brown.hare",
    "quick.brown.fox",
    "lazy",
    "orange",
    "quick.orange.new.hare",
    "",
]

SUBSCRIPTIONS = [
    (["*.orange.*"], ["quick.orange.hare", "lazy.orange.fox"]),
    (["*.*.hare", "lazy.#"], ["quick.orange.hare", "lazy.orange.fox", "lazy.brown.hare", "lazy"]),
    (["#"], KEYS),
    (["*"], ["lazy", "orange"]),
    (["quick.#.hare"], ["quick.orange.hare", "quick.orange.new.hare"]),
    (["orange"], ["orange"]),
    (["#.#.cat"], []),
]


def main():
    connection = check.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    exchange = check.name("animals")
    channel.exchange_declare(exchange, "topic", durable=True)

    queues = []
    for patterns, _ in SUBSCRIPTIONS:
        queue = channel.queue_declare("", exclusive=True).method.queue
        for pattern in patterns:
            channel.queue_bind(queue, exchange, pattern)
        queues.append(queue)

    for key in KEYS:
        channel.basic_publish(exchange, key, key)
    for queue, (patterns, want) in zip(queues, SUBSCRIPTIONS):
        channel.basic_publish("", queue, "end")
        got = check.until("end", channel, queue)
        assert got == want, f"bound to {patterns}: got {got}, want {want}"


check.run(main)
