"""The `claimcheck` command."""

import letsgo_queue.cli  # noqa: F401  says what to install where something is missing
