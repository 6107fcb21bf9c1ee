"""The `letsgo-queue` command."""
