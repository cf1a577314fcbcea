"""Tasks with priorities, in a queue with x-max-priority: what is urgent overtakes what waits."""

import kombu

import check

app = check.app(
    __file__,
    task_queues=[kombu.Queue("celery", kombu.Exchange("celery"), "celery", queue_arguments={"x-max-priority": 9})],
    task_acks_late=True,
    worker_prefetch_multiplier=1,
)
done = []


@app.task
def note(what):
    done.append(what)


@app.task
def noted():
    return done


def main():
    # There is no worker yet, so all of them wait, in the order of the queue.
    for n, priority in enumerate([0, 5, 9, 5, 0, 9, None, 3]):
        note.apply_async((f"{n} of {priority}",), priority=priority)
    last = noted.apply_async(priority=0)
    worker = check.Worker(app, "-P", "solo", "--without-mingle", "--without-gossip")
    got = last.get(timeout=check.WAIT)
    want = ["2 of 9", "5 of 9", "1 of 5", "3 of 5", "7 of 3", "0 of 0", "4 of 0", "6 of None"]
    assert got == want, f"got {got}, want {want}"
    worker.stop()


if __name__ == "__main__":
    check.run(main)
