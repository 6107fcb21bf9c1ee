"""`python -m docs.site FOLDER`: write the pages of the site, as zensical.toml builds it."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.site.staging import stage

stage(Path(sys.argv[1]))
