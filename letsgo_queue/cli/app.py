"""The `letsgo-queue` command."""

from __future__ import annotations

from letsgo_queue.cli.console_command import console
from letsgo_queue.cli.dead_letters import dead_letter_app
from letsgo_queue.cli.enqueue_command import make_enqueue
from letsgo_queue.cli.queues import queue_app
from letsgo_queue.cli.terminal import make_command, run
from letsgo_queue.cli.worker_command import worker
from letsgo_queue.sending.client import Client

app = make_command("LetsGo's queue and worker, for Python.")
app.add_typer(queue_app, name="queue")
app.add_typer(dead_letter_app, name="dead-letter")
app.command()(worker)
app.command()(console)
app.command("enqueue", help="Put a message on the queue, and print its id.")(make_enqueue(Client))


def main() -> None:
    """Run the command."""
    run(app)


if __name__ == "__main__":
    main()
