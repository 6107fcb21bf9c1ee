"""Reads YAML and CloudFormation's templates with cfn-lint, and has it check them.

cfn-lint takes more than a second to load, so it is loaded when a test first needs it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def load_yaml(text: str) -> Any:
    """The values of a text, as JSON has them."""
    from cfnlint.decode.cfn_yaml import loads

    return json.loads(json.dumps(loads(text)))


def load_template(path: Path) -> dict[str, Any]:
    """A template of CloudFormation, with its functions in their long form."""
    from cfnlint.decode import decode

    template, problems = decode(str(path))
    assert not problems
    found: dict[str, Any] = json.loads(json.dumps(template))
    return found


def problems_of(
    path: Path, *, regions: Sequence[str] = (), ignored: Sequence[str] = ()
) -> list[str]:
    """What cfn-lint finds wrong with a template.

    Args:
        path: Where it is.
        regions: Regions that it must work in; by default us-east-1.
        ignored: Rules that do not count.
    """
    from cfnlint.api import ManualArgs, lint_file

    options = ManualArgs(ignore_checks=[*ignored])
    if regions:
        options["regions"] = [*regions]
    return [str(each) for each in lint_file(path, options)]
