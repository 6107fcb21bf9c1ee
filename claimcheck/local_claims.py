"""Where claims go beside LetsGo's local HTTP mode: one file of the user's, which both ends find.

The two ends of that mode share no file of their own, and may call the queue by different names, so
the file follows from neither: it is in the folder where this user's programs keep their state.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from claimcheck.errors import SettingsInvalid

_APPLICATION = "letsgo-claimcheck"
_FILE = "claims.db"


def local_store_url() -> str:
    """The store of this user's claims in local mode; nothing is made or opened."""
    return f"sqlite:///{quote((_folder() / _FILE).as_posix())}"


def make_local_folder() -> None:
    """Make the folder of the claims, where it is missing, for this user alone.

    Raises:
        SettingsInvalid: It cannot be made.
    """
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(
            f"the claims of LetsGo's local mode are kept in {folder}, which cannot be made "
            f"({error.strerror}). Name another file at both ends: "
            "CLAIMCHECK_STORE=sqlite:////path/to/claims.db"
        ) from error


def _folder() -> Path:
    from platformdirs import user_state_path

    return user_state_path(_APPLICATION)
