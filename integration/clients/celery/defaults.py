"""Celery as it is when nobody has configured it: results over reply queues, tasks that wait,
tasks that are tried again with growing pauses, and workers that are asked how they are."""

import time

import kombu

import check

app = check.app(__file__)


@app.task
def add(a, b):
    return a + b


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=True, retry_jitter=False)
def unlucky(self, times):
    if self.request.retries < times:
        raise ConnectionError("not this time")
    return self.request.retries


@app.task
def clock():
    return time.time()


@app.task
def broken():
    raise ValueError("no retry helps")


def main():
    worker = check.Worker(app, "-c", "2")
    # Published before there is a worker, and so before its queue: the publisher declares it too.
    assert add.delay(1, 2).get(timeout=check.WAIT) == 3
    worker.wait_until_ready()
    look_at_queues(worker)

    # What waits, and what is tried again, waits in the worker, unacknowledged.
    began = time.time()
    tried, waited = unlucky.delay(2), clock.apply_async(countdown=2)
    if check.GLOBAL_PREFETCH:
        # Those that wait are more than its channel's prefetch, 4 for each process; the worker
        # asks for one more with each of them, and so goes on.
        for _ in range(12):
            clock.apply_async(countdown=3600)
        check.until(
            "a channel has a prefetch of its own",
            lambda: any(c["global_prefetch_count"] >= 8 for c in check.api("GET", "vhosts/{}/channels")),
        )
    for each in [add.delay(n, n) for n in range(50)]:
        each.get(timeout=check.WAIT)
    took = waited.get(timeout=check.WAIT) - began
    assert took >= 1.999, f"countdown=2 took {took} s"
    assert tried.get(timeout=check.WAIT) == 2
    took = time.time() - began
    assert took >= 2.999, f"retries after 1 s and 2 s took {took} s"
    try:
        broken.delay().get(timeout=check.WAIT)
        raise AssertionError("the task did not fail")
    except ValueError as error:
        assert error.args == ("no retry helps",), error

    # Remote control goes to every worker over a fanout exchange, and back over a queue that is
    # the asker's alone.
    asked = app.control.inspect([worker.name], timeout=check.WAIT, limit=1)
    assert asked.ping() == {worker.name: {"ok": "pong"}}
    assert [q["name"] for q in asked.active_queues()[worker.name]] == ["celery"]
    assert sum(asked.stats()[worker.name]["total"].values()) >= 15

    worker.stop()
    left = {q["name"] for q in check.api("GET", "queues/{}")}
    assert "celery" in left, left
    assert not any(each.startswith((worker.name, "celeryev.")) for each in left), left


def look_at_queues(worker):
    """Check that Celery's queues are what it declared: none of this is refused or changed."""
    queues = {q["name"]: q for q in check.api("GET", "queues/{}")}
    assert queues["celery"]["durable"], queues["celery"]
    pidbox = queues[f"{worker.name}.celery.pidbox"]
    assert not pidbox["durable"] and pidbox["auto_delete"], pidbox
    # Transient, and for everyone, until kombu 5.6: RabbitMQ 4.3 refuses such a queue.
    assert pidbox["exclusive"] != (kombu.VERSION < (5, 6)), pidbox
    events = [q for name, q in queues.items() if name.startswith("celeryev.")]
    assert len(events) == 1 and not events[0]["durable"] and events[0]["auto_delete"], events


if __name__ == "__main__":
    check.run(main)
