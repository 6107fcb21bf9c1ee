"""A long fuzz run: `make fuzz`, or with other figures `make fuzz ARGS='--inputs 1000000'`.

Two processes draw inputs with hypothesis, from a seed that is printed, and feed them to everything
that reads or writes a message. It ends with the count, or with the smallest input that raised what
is no error of ours.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import Readers, bodies, messages, variants

BATCH = 2_000
VARIANTS = 5
"""Bodies made of each that hypothesis draws, as drawing takes the time."""


def run_batch(number: int, count: int) -> int:
    """Feed so many inputs; returns how many they were."""
    readers = Readers()
    of_messages = count // 10
    of_bodies = (count - of_messages) // (1 + VARIANTS)
    fed = 0
    options = settings(
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )

    @seed(number)
    @settings(options, max_examples=of_bodies)
    @given(bodies(readers), st.integers(0, 2**32))
    def feed_bodies(body: str, chance: int) -> None:
        nonlocal fed
        for each in (body, *variants(body, VARIANTS, chance)):
            fed += 1
            readers.feed_body(each)

    @seed(number)
    @settings(options, max_examples=of_messages)
    @given(messages())
    def feed_messages(message: object) -> None:
        nonlocal fed
        fed += 1
        readers.feed_message(message)

    feed_bodies()
    feed_messages()
    return fed


def main() -> int:
    parser = argparse.ArgumentParser(description="Feed inputs to all that reads a message.")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many at least")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="by default a new one")
    arguments = parser.parse_args()
    first = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    print(f"seed {first}")
    started = time.monotonic()
    fed = 0
    next_batch = iter(range(first, sys.maxsize))
    # The library logs each broken message, which is right and too much here.
    quiet = partial(logging.disable, logging.CRITICAL)
    with ProcessPoolExecutor(arguments.processes, initializer=quiet) as pool:
        running = {
            pool.submit(run_batch, next(next_batch), BATCH) for _ in range(arguments.processes)
        }
        while running:
            for batch in as_completed(running):
                running.remove(batch)
                fed += batch.result()
                if fed + len(running) * BATCH < arguments.inputs:
                    running.add(pool.submit(run_batch, next(next_batch), BATCH))
                _show(fed, arguments.inputs, time.monotonic() - started)
                break
    print(
        f"\n{fed:,} inputs in {time.monotonic() - started:.0f} s: "
        "nothing but results and errors of our own"
    )
    return 0


def _show(fed: int, wanted: int, seconds: float) -> None:
    done = min(fed / wanted, 1.0)
    left = seconds / done - seconds
    bar = "#" * int(30 * done)
    line = f"[{bar:<30}] {fed:>9,} of {wanted:,} inputs, {seconds:4.0f} s, {left:4.0f} s left"
    if sys.stdout.isatty():
        print(f"\r{line}", end="", flush=True)
    else:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
