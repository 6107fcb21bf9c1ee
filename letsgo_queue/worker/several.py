"""Runs workers in one process: each on its own queue, with its own settings.

Workers may divide a number of slots by weight. No worker takes the slots of another, so a queue
full of slow messages cannot keep the others waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Unpack

from letsgo_queue.errors import SettingsInvalid, WorkerBroken
from letsgo_queue.worker.options import RunOptions
from letsgo_queue.worker.signals import join, stop_on_signals

if TYPE_CHECKING:
    from letsgo_queue.worker.health import Health
    from letsgo_queue.worker.loop import WorkLoop
    from letsgo_queue.worker.scale_in import TaskProtection
    from letsgo_queue.worker.worker import Worker

HURRY_SECONDS = 5.0
"""How long workers may take, after a second signal, to give back what is in hand."""


def run_workers(
    *workers: Worker,
    burst: bool = False,
    concurrency: int | None = None,
    health: Health | None = None,
    protect_from_scale_in: bool | TaskProtection = False,
    **options: Unpack[RunOptions],
) -> None:
    """Take and handle the messages of several queues until stopped.

        run_workers(orders, mail, concurrency=20)

    It stops as `Worker.run` does. If one worker cannot go on, all stop.

    Args:
        workers: The workers.
        burst: Stop each worker once its own queue is empty; see `Worker.run`.
        concurrency: Messages handled at once by all workers together: each gets a share by its
            `weight`. By default each has its own `concurrency`.
        health: Where to tell whether all workers are well.
        protect_from_scale_in: Keep the ECS task from being stopped by scaling in while messages are
            in hand.
        options: In place of every worker's own `prefetch`, `visibility_timeout`, `wait_seconds`,
            `drain_timeout` and `max_opened_bytes`.

    Raises:
        SettingsInvalid: A number is out of range, a worker is given twice, or the port or the file
            of `health` cannot be used.
        LetsGoQueueError: A queue cannot be used at all; with `burst`, it cannot be reached.
        WorkerBroken: A part of a worker cannot go on.
    """
    if not workers or len(set(workers)) < len(workers):
        raise SettingsInvalid("give at least one worker, and each worker once.")
    slots = shares(concurrency, [worker._weight for worker in workers])
    loops = [
        worker._loop(burst=burst, concurrency=share, given=options)
        for worker, share in zip(workers, slots, strict=True)
    ]
    ticks = [
        worker._tick_loop(loop.queue, loop.options)
        for worker, loop in zip(workers, loops, strict=True)
    ]
    tick_loops = [each for each in ticks if each is not None]

    def stop() -> None:
        for worker in workers:
            worker.stop()

    with stop_on_signals(stop), ExitStack() as around:
        if health is not None:
            from letsgo_queue.worker.health import watched

            around.enter_context(
                watched(health, lambda: [loop.state() for loop in (*loops, *tick_loops)])
            )
        if protect_from_scale_in:
            from letsgo_queue.worker.scale_in import TaskProtection

            protection = (
                TaskProtection() if protect_from_scale_in is True else protect_from_scale_in
            )
            # A tick that is held here runs in another worker.
            around.enter_context(
                protection.held(
                    lambda: (
                        any(loop.has_messages for loop in loops)
                        or any(each.state().running for each in tick_loops)
                    )
                )
            )
        runs = [
            partial(worker._run, loop, each)
            for worker, loop, each in zip(workers, loops, ticks, strict=True)
        ]
        if len(runs) == 1:
            runs[0]()
        else:
            _run_all(runs, stop, [*loops, *tick_loops])


def check_workers(*workers: Worker, **options: Unpack[RunOptions]) -> float:
    """Check handlers and settings; opens nothing.

    Returns:
        The longest drain time of the workers, in seconds.

    Raises:
        SettingsInvalid: A handler or a setting is wrong.
    """
    return max(worker._check(options).drain_timeout for worker in workers)


def shares(total: int | None, weights: Sequence[int]) -> Sequence[int | None]:
    """Divide slots by weight, at least one for each.

    Raises:
        SettingsInvalid: There are fewer slots than weights.
    """
    if total is None:
        return [None] * len(weights)
    if total < len(weights):
        raise SettingsInvalid(
            f"concurrency={total}: {len(weights)} workers that share it take at least "
            f"{len(weights)}, one each."
        )
    given = [1] * len(weights)
    for _ in range(total - len(weights)):
        # The next slot goes to the worker that has least for its weight.
        neediest = min(range(len(weights)), key=lambda at: given[at] / weights[at])
        given[neediest] += 1
    return given


def _run_all(
    runs: Sequence[Callable[[], None]], stop: Callable[[], None], loops: Sequence[WorkLoop]
) -> None:
    """Run each on a thread. If one raises, stop the others, and raise its error."""
    errors: list[BaseException] = []

    def run_one(run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)
            stop()

    threads = [
        threading.Thread(target=run_one, args=(run,), name=f"letsgo-worker-{number}", daemon=True)
        for number, run in enumerate(runs, 1)
    ]
    started = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        errors.append(WorkerBroken(f"a worker's thread cannot be started: {error}."))
        stop()
    try:
        for thread in started:
            join(thread)
    except KeyboardInterrupt:  # a second signal
        stop()
        for loop in loops:
            loop.hurry()
        until = time.monotonic() + HURRY_SECONDS
        for thread in started:
            thread.join(max(until - time.monotonic(), 0))
        raise
    if errors:
        raise errors[0]
