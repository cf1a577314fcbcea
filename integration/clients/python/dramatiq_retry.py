"""dramatiq: an actor that is tried again after growing pauses, which it spends in a queue of its
own beside the work queue; one that is given up, and set aside; and one that is sent to run later."""

import threading
import time

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker

import check

PAUSE = 100  # milliseconds; dramatiq doubles it, and takes between half of that and all


def main():
    # dramatiq declares three queues: the name alone, and with these behind it.
    work = check.name("dramatiq", ".DQ", ".XQ")
    broker = RabbitmqBroker(url=check.URL, confirm_delivery=True)
    dramatiq.set_broker(broker)
    tried, given_up, later = [], [], []
    done = threading.Event()

    @dramatiq.actor(queue_name=work, min_backoff=PAUSE, max_backoff=10 * PAUSE, max_retries=5)
    def unlucky():
        tried.append(time.monotonic())
        if len(tried) < 3:
            raise ConnectionError("not this time")
        done.set()

    @dramatiq.actor(queue_name=work, min_backoff=1, max_backoff=10, max_retries=2)
    def hopeless():
        given_up.append(time.monotonic())
        raise ConnectionError("never")

    @dramatiq.actor(queue_name=work)
    def note():
        later.append(time.monotonic())

    began = time.monotonic()
    unlucky.send()
    hopeless.send()
    note.send_with_options(delay=300)
    worker = dramatiq.Worker(broker, queues={work}, worker_timeout=100, worker_threads=4)
    worker.start()
    broker.join(work, timeout=check.WAIT * 1000)
    assert done.wait(check.WAIT), "the unlucky actor did not end"
    worker.stop()
    broker.close()

    assert len(tried) == 3, tried
    assert tried[1] - tried[0] >= PAUSE / 2000 and tried[2] - tried[1] >= PAUSE / 1000, tried
    assert len(given_up) == 3, "once, and two retries"
    assert len(later) == 1 and later[0] - began >= 0.299, f"{later[0] - began} s"

    with check.connect() as connection:
        channel = connection.channel()
        left = {each: channel.queue_declare(each, passive=True).method.message_count for each in (work, f"{work}.DQ", f"{work}.XQ")}
        assert list(left.values()) == [0, 0, 1], left
        _, properties, _ = channel.basic_get(f"{work}.XQ", auto_ack=True)
        assert isinstance(properties, pika.BasicProperties)
        assert check.deaths(properties, work, "rejected") == 1, properties.headers


check.run(main)
