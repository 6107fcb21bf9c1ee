"""The `claimcheck` command."""
