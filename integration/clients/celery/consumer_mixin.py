"""kombu without Celery: a consumer that comes back when its connection was cut, takes failed
messages again, and turns one down for good."""

import json
import threading
import urllib.parse

import kombu
import kombu.mixins

import check

jobs = kombu.Exchange("jobs", "topic", durable=True)
dead = kombu.Queue("dead", kombu.Exchange("dead", "fanout"))
work = kombu.Queue("work", jobs, "job.#", queue_arguments={"x-dead-letter-exchange": "dead"})


class Consumer(kombu.mixins.ConsumerMixin):
    """Takes jobs. The first time it returns them, one excepted that it rejects."""

    def __init__(self, connection):
        self.connection = connection
        self.consuming = threading.Event()
        self.done = []

    def get_consumers(self, _, channel):
        return [kombu.Consumer(channel, [work], callbacks=[self.take], accept=["json"], prefetch_count=2)]

    def on_consume_ready(self, connection, channel, consumers, **_):
        self.consuming.set()

    def take(self, body, message):
        if body["job"] == 3:
            message.reject()
        elif not message.delivery_info["redelivered"]:
            message.requeue()
        else:
            self.done.append(body["job"])
            message.ack()


def connections_of_consumer():
    all = check.api("GET", "vhosts/{}/connections")
    return [c["name"] for c in all if c["client_properties"].get("connection_name") == "consumer"]


def main():
    with check.app(__file__).connection_for_write() as connection, connection.clone(
        transport_options={"client_properties": {"connection_name": "consumer"}}
    ) as consuming:
        dead(connection.default_channel).declare()
        consumer = Consumer(consuming)
        threading.Thread(target=consumer.run, daemon=True).start()
        assert consumer.consuming.wait(check.WAIT), "does not consume"
        producer = connection.Producer(serializer="json")

        def publish(*numbers):
            for n in numbers:
                # Compressed, with a confirm waited for, and declared if that was not done yet.
                producer.publish(
                    {"job": n}, exchange=jobs, routing_key=f"job.{n}", declare=[work], compression="zlib", retry=True
                )

        publish(1, 2, 3)
        check.until("two jobs are done", lambda: sorted(consumer.done) == [1, 2])

        # The mixin connects, declares and consumes again.
        consumer.consuming.clear()
        (name,) = check.until("the API knows the connection", connections_of_consumer)
        check.api("DELETE", f"connections/{urllib.parse.quote(name, safe='')}")
        publish(4)
        check.until("the job after the cut is done", lambda: sorted(consumer.done) == [1, 2, 4])
        assert consumer.consuming.is_set()
        consumer.should_stop = True

        with connection.SimpleQueue(dead) as box:
            message = box.get(timeout=check.WAIT)
            assert message.payload == {"job": 3}, message.payload
            (death,) = message.headers["x-death"]
            assert (death["queue"], death["reason"], death["count"]) == ("work", "rejected", 1), json.dumps(death)
            message.ack()


if __name__ == "__main__":
    check.run(main)
