"""What the programs beside this file share: a virtual host of their own, workers in processes
of their own, waits that end, and an ending that cleans up.

Celery's exchanges and queues have the same names everywhere (celery, celery.pidbox, celeryev,
celery_delayed_0 and on), so what keeps two programs apart is the virtual host. It is made and
removed through the management API.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import urllib.request
import uuid

import celery
import kombu

LIMIT = 100  # seconds for a whole program, which starts several processes
WAIT = 30  # for one thing to happen

_broker = urllib.parse.urlsplit(os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/"))
_vhost = os.environ.get("CELERY_VHOST") or f"clients.celery.{uuid.uuid4()}"
_workers = []

# With this, kombu before 5.6 asks for a prefetch that is of the whole channel, global=true,
# and raises and lowers it as tasks come that are to wait.
GLOBAL_PREFETCH = kombu.VERSION < (5, 6)


def app(file, **settings):
    """Make the application of a program; its worker, which imports the same file, does so too."""
    url = _broker._replace(path="/" + urllib.parse.quote(_vhost, safe="")).geturl()
    made = celery.Celery(os.path.splitext(os.path.basename(file))[0], broker=url, backend="rpc://")
    made.conf.update(settings)
    return made


def api(method, path, body=None):
    """Ask the management API, for the virtual host's resources where path has {}."""
    url = f"http://{_broker.hostname}:{os.environ.get('MANAGEMENT_PORT', '15672')}/api/"
    url += path.format(urllib.parse.quote(_vhost, safe=""))
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, method=method)
    user = f"{_broker.username or 'guest'}:{_broker.password or 'guest'}"
    request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        said = answer.read()
    return json.loads(said) if said else None


def until(what, done):
    """Wait for done() to be true, and return what it was."""
    end = time.monotonic() + WAIT
    while True:
        found = done()
        if found:
            return found
        assert time.monotonic() < end, f"not within {WAIT} s: {what}"
        time.sleep(0.05)


def directory():
    """Make a directory that the worker reaches too, for what it has to note."""
    return tempfile.TemporaryDirectory(prefix="clients.celery.")


class Worker:
    """A worker in a process of its own, as `celery worker` starts it."""

    def __init__(self, app, *options):
        self.name = f"{uuid.uuid4()}@here"
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app.main, "worker", "-l", "info", "-n", self.name, *options],
            cwd=os.path.dirname(os.path.abspath(__file__)),
            env={**os.environ, "CELERY_VHOST": _vhost, "PYTHONWARNINGS": "ignore"},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it forks can be ended with it
        )
        _workers.append(self)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def wait_until_ready(self):
        def ready():
            assert self.process.poll() is None, "the worker ended"
            return f"{self.name} ready." in self.said()

        until("the worker is ready", ready)

    def kill(self):
        """End it, and what it has forked, at once: no goodbye to the broker."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self):
        """Ask it to end, as a deployment does; it finishes its tasks first."""
        self.process.terminate()
        assert self.process.wait(WAIT) == 0, "the worker did not end well"


def run(program):
    """Run a program, clean up after it and end the process."""

    def end(status, error=None):
        # What others would have to clean up comes first: who reads this may have gone.
        for worker in _workers:
            worker.kill()
        trouble = None
        try:
            api("DELETE", "vhosts/{}")
        except Exception:
            trouble, status = traceback.format_exc(), 1
        if error:
            traceback.print_exception(error)
        if trouble:
            print(trouble, file=sys.stderr)
        for worker in _workers if status else []:
            print(f"--- the worker {worker.name} said:\n{worker.said()}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # threads that still wait for something do not hold the end up

    def late():
        end(1, TimeoutError(f"not done after {LIMIT} s"))

    timer = threading.Timer(LIMIT, late)
    timer.daemon = True
    timer.start()
    try:
        api("PUT", "vhosts/{}")
        user = urllib.parse.quote(_broker.username or "guest", safe="")
        api("PUT", "permissions/{}/" + user, {"configure": ".*", "write": ".*", "read": ".*"})
        program()
    except BaseException as error:
        end(1, error)
    end(0)
