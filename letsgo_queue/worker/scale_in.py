"""Keeps an ECS task from being stopped by scaling in, while it has messages in hand.

A task asks the ECS agent, which is on its own machine, for protection, and gives it back when it is
idle. Anything else that stops tasks, for example a deployment of another version, also waits until
protection ends:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html

The processes of a task share its protection. Each has a byte in shared memory, and notes there
whether it has messages. The last process that becomes idle gives the protection back.
"""

from __future__ import annotations

import json
import mmap
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException

from letsgo_queue.log import get_logger

logger = get_logger(__name__)

EXPIRES_MINUTES = 60
"""How long ECS protects the task if nobody asks again; it allows 1 to 2,880."""

RENEW_SECONDS = EXPIRES_MINUTES * 60 / 2

LOOK_SECONDS = 0.5
"""How often the worker looks whether it has messages."""

IDLE_SECONDS = 10.0
"""How long a worker must be idle before protection is given back: ECS throttles requests that come
too often."""

RETRY_SECONDS = 5.0
"""How soon the agent is asked again after it refused."""

ANSWER_SECONDS = 3.0
"""How long the agent may take to answer."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the agent is local


class TaskProtection:
    """The scale-in protection of this ECS task, which its processes share.

    Make it before the processes are forked.
    """

    def __init__(self, processes: int = 1, *, idle_seconds: float = IDLE_SECONDS) -> None:
        """Ask for nothing yet.

        Args:
            processes: How many processes the task has.
            idle_seconds: How long a process must be idle before protection is given back.
        """
        self._agent = os.environ.get("ECS_AGENT_URI")
        self._flags = mmap.mmap(-1, processes)  # shared with processes that are forked
        self._idle_seconds = idle_seconds
        self._process = 0

    def of_process(self, number: int) -> TaskProtection:
        """Return the part of one of several processes, counted from 0."""
        self._process = number
        self._flags[number] = 0  # of one that died, and had this number before
        return self

    @contextmanager
    def held(self, has_messages: Callable[[], bool]) -> Iterator[None]:
        """Hold protection whenever there are messages, while the block runs.

        Args:
            has_messages: Whether this process has messages in hand; must not wait.
        """
        if self._agent is None:
            logger.warning(
                "this is no ECS task (ECS_AGENT_URI is not set): it is not protected from scale-in"
            )
            yield
            return
        over = threading.Event()
        thread = threading.Thread(
            target=self._hold,
            args=(has_messages, over),
            name="letsgo-worker-scale-in",
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(2 * ANSWER_SECONDS)

    def _hold(self, has_messages: Callable[[], bool], over: threading.Event) -> None:
        ask_at = idle_at = 0.0
        while not over.is_set():
            now = time.monotonic()
            if has_messages():
                self._flags[self._process] = 1
                idle_at = now + self._idle_seconds
                if now >= ask_at:
                    granted = self._ask(protect=True)
                    ask_at = now + (RENEW_SECONDS if granted else RETRY_SECONDS)
            elif now >= idle_at:
                self._give_back()
                ask_at = 0.0
            over.wait(LOOK_SECONDS)
        self._give_back()

    def _give_back(self) -> None:
        if not self._flags[self._process]:
            return
        self._flags[self._process] = 0
        if not any(self._flags[:]):
            self._ask(protect=False)
            if any(self._flags[:]):  # a process got a message meanwhile, and may have asked first
                self._ask(protect=True)

    def _ask(self, *, protect: bool) -> bool:
        """Ask the agent, and return whether it did as asked."""
        wanted: dict[str, object] = {"ProtectionEnabled": protect}
        if protect:
            wanted["ExpiresInMinutes"] = EXPIRES_MINUTES
        request = urllib.request.Request(
            f"{self._agent}/task-protection/v1/state",
            json.dumps(wanted).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        try:
            with _OPENER.open(request, timeout=ANSWER_SECONDS) as response:
                answer = response.read()
            if "protection" in json.loads(answer):
                return True
            refusal = answer.decode()
        except urllib.error.HTTPError as error:
            with error:
                refusal = error.read().decode(errors="replace")
        except (OSError, ValueError, HTTPException) as error:
            refusal = f"{type(error).__name__}: {error}"
        logger.warning(
            "this ECS task %s: %s",
            "is not protected from scale-in" if protect else "stays protected from scale-in",
            refusal,
        )
        return False
