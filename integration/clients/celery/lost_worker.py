"""Loses workers in the middle of a task. What was to be acknowledged late comes again, in the
process that follows and in the worker that follows, and says that it was delivered before."""

import os
import signal
import time

import check

app = check.app(__file__, task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)


@app.task(bind=True)
def job(self, place):
    """Note that the task runs, and as which process; the first time, go on for very long."""
    again = self.request.delivery_info["redelivered"]
    with open(os.path.join(place, f"{self.request.id}.{'again' if again else 'first'}"), "a") as note:
        note.write(f"{os.getpid()}\n")
    if not again:
        time.sleep(600)
    return "done"


def main():
    first = check.Worker(app, "-c", "2", "--without-mingle", "--without-gossip")
    with check.directory() as place:

        def noted(task, which):
            try:
                with open(os.path.join(place, f"{task.id}.{which}")) as note:
                    return [int(line) for line in note]
            except FileNotFoundError:
                return []

        lost, killed, waiting = job.delay(place), job.delay(place), job.delay(place)
        check.until("two tasks run", lambda: noted(lost, "first") and noted(killed, "first"))
        # Each of two processes has one, and the worker may have no more: prefetch 1 × 2.
        with app.connection_for_read() as connection:
            ready = connection.default_channel.queue_declare("celery", passive=True).message_count
        assert ready == 1, f"{ready} messages ready in the queue, want the third task"

        # A process that ends unexpectedly: its worker rejects the task, and gets it again.
        os.kill(noted(lost, "first")[0], signal.SIGKILL)
        assert lost.get(timeout=check.WAIT) == "done"
        check.until("the third task runs", lambda: noted(waiting, "first"))

        # A worker that is gone: the broker has the tasks that it had.
        first.kill()
        second = check.Worker(app, "-c", "2", "--without-mingle", "--without-gossip")
        for each in killed, waiting:
            assert each.get(timeout=check.WAIT) == "done"
            assert len(noted(each, "first")) == 1 and len(noted(each, "again")) == 1
        second.wait_until_ready()
        second.stop()


if __name__ == "__main__":
    check.run(main)
