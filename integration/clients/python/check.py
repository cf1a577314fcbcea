"""What the programs beside this file share: a connection to the broker at $AMQP_URL, names
nobody else uses, waits that end, and an ending that cleans up.

It wraps nothing of pika: the programs are meant to read as a newcomer would write them.
"""

import os
import sys
import threading
import traceback
import uuid

import pika

LIMIT = 20  # seconds for a whole program
WAIT = 10  # for one thing to arrive

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")
_names = []


def connect():
    """Open a connection."""
    return pika.BlockingConnection(pika.URLParameters(URL))


def name(what, *endings):
    """Make a name for a queue or an exchange that no other run has.

    What is declared under it, or under it with one of the endings, is deleted when the program
    ends, however it ends.
    """
    unique = f"clients.python.{what}.{uuid.uuid4()}"
    _names.extend([unique] + [unique + each for each in endings])
    return unique


def deliveries(channel, queue, **options):
    """Consume, and yield (method, properties, body); whoever waits longer than ten seconds fails."""
    for method, properties, body in channel.consume(queue, inactivity_timeout=WAIT, **options):
        assert method is not None, f"no delivery within {WAIT} s"
        yield method, properties, body


def until(last, channel, queue):
    """Collect the bodies in a queue up to, and without, the one that is last."""
    bodies = []
    for _, _, body in deliveries(channel, queue, auto_ack=True):
        if body.decode() == last:
            break
        bodies.append(body.decode())
    channel.cancel()
    return bodies


def deaths(properties, queue, reason):
    """How often a message died in queue for reason, as its x-death header has it."""
    for death in (properties.headers or {}).get("x-death", []):
        if death["queue"] == queue and death["reason"] == reason:
            return death["count"]
    return 0


def run(program):
    """Run a program, clean up after it and end the process."""

    def late():
        print(f"not done after {LIMIT} s", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(LIMIT, late)
    timer.daemon = True
    timer.start()
    status = 0
    try:
        program()
    except Exception:
        traceback.print_exc()
        status = 1
    try:
        # A connection of its own: the program's may be what failed. Deleting what does not
        # exist is not an error, so nobody has to remember which name is what.
        with connect() as connection:
            channel = connection.channel()
            for each in _names:
                channel.queue_delete(each)
                channel.exchange_delete(each)
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads that still wait for something do not hold the end up
