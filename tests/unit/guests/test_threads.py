"""The hub in a guest's process: in a process of its own, because it takes the place of os-ken's for good."""

from __future__ import annotations

import subprocess
import sys

PROLOGUE = """
import time
import os_ken.base.app_manager
from ofctl.ryu import threads
threads.install()
from os_ken.lib import hub
begun = time.monotonic()
"""


def run(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + text], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_event_times_out_and_wakes_all_that_wait() -> None:
    run(
        """
event = hub.Event()
assert not event.wait(timeout=0.05)
seen = []
waiting = [hub.spawn(lambda: seen.append(event.wait())) for _ in range(3)]
hub.sleep(0.02)
event.set()
hub.joinall(waiting)
assert seen == [True] * 3 and event.is_set() and event.wait(0)
event.clear()
assert not event.wait(0)
"""
    )


def test_a_timeout_interrupts_a_wait_and_not_after_it_is_cancelled() -> None:
    run(
        """
timeout = hub.Timeout(0.05)
try:
    hub.Event().wait()
except hub.Timeout as raised:
    assert raised is timeout
else:
    raise AssertionError("nothing was raised")
with hub.Timeout(0.05, False):
    hub.sleep(30)
hub.Timeout(0.02).cancel()
hub.sleep(0.1)
assert time.monotonic() - begun < 5
"""
    )


def test_a_killed_thread_ends_where_it_waits() -> None:
    run(
        """
ended = []
def work():
    try:
        while True:
            hub.sleep(30)
    finally:
        ended.append(1)
thread = hub.spawn(work)
hub.sleep(0.02)
hub.kill(thread)
hub.joinall([thread])
assert ended == [1] and time.monotonic() - begun < 5
"""
    )


def test_an_exception_of_a_handler_does_not_end_the_event_loop() -> None:
    run(
        """
from os_ken.base import app_manager
from os_ken.controller import event
class Ping(event.EventBase): pass
seen = []
class App(app_manager.OSKenApp):
    def handle(self, ev):
        seen.append(ev)
        raise ValueError("on purpose")
app = App()
app.register_handler(Ping, app.handle)
app.start()
for _ in range(3):
    app._send_event(Ping(), None)
while len(seen) < 3:
    assert time.monotonic() - begun < 5
    hub.sleep(0.01)
app.stop()
"""
    )
