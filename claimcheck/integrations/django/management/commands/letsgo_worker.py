"""`manage.py letsgo_worker`: runs the tasks of a backend until SIGTERM or SIGINT."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.autoreload import get_child_arguments

from claimcheck.integrations.django.running import DEFAULT_BACKEND, workers_for
from letsgo_queue.errors import LetsGoError
from letsgo_queue.worker.fleet import Fleet
from letsgo_queue.worker.health import ALL_ADDRESSES, Health


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types here
    """The command."""

    help = "Runs tasks until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the options."""
        add = parser.add_argument
        add("--backend", default=DEFAULT_BACKEND, help="An alias of TASKS.")
        add("--queue", action="append", help="Only this queue; repeatable. By default all.")
        add("--processes", type=int, default=1, help="Processes; 0 for one per core.")
        add("--concurrency", type=int, help="Tasks at once in a process; by default 10 a queue.")
        add("--burst", action="store_true", help="Stop once nothing can be received.")
        add("--drain-timeout", type=float, help="Seconds that tasks in hand get on SIGTERM.")
        add("--max-messages", type=int, help="Start a process again after so many tasks.")
        add("--max-memory", type=int, help="Start a process again over so many MB.")
        add("--health-port", type=int, help="Answer /healthz, /readyz, /metrics there.")
        add("--health-host", default=ALL_ADDRESSES, help="With --health-port: where to listen.")
        add("--reload", action="store_true", help="Start again when code in this folder changes.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the tasks.

        Raises:
            CommandError: A setting is wrong, or a queue cannot be used.
        """
        try:
            if options["reload"]:
                from letsgo_queue.worker.reload import run_reloading

                run_reloading(get_child_arguments())
                return
            fleet = Fleet(
                workers=workers_for(options["backend"], queues=options["queue"]),
                tell=self.stderr.write,
                processes=options["processes"],
                concurrency=options["concurrency"],
                burst=options["burst"],
                max_messages=options["max_messages"],
                max_memory=options["max_memory"],
                health=Health(port=options["health_port"], host=options["health_host"]),
                options={"drain_timeout": options["drain_timeout"]},
            )
            connections.close_all()  # processes that are forked make their own
            code = fleet.run()
        except LetsGoError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)
