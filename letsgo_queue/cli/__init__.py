"""The `letsgo-queue` command."""

from importlib.util import find_spec

for _needed in ("typer", "rich"):
    if find_spec(_needed) is None:
        raise SystemExit(f"the command line needs {_needed}: pip install 'letsgo-claimcheck[cli]'")
