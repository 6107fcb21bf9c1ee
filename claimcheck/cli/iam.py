"""`claimcheck iam`: prints the policy of a role, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from claimcheck.policies import policy_statements
from claimcheck.rights import Role
from letsgo_queue.cli.terminal import print_line


def print_policy(
    role: Role,
    *,
    stores: Sequence[str],
    queue: str | None,
    dead_letter_queue: str | None,
    kms_keys: Sequence[str],
    function: str | None,
) -> None:
    """Print the policy of a role, or say that it needs no rights; see `policy_statements`.

    Raises:
        SettingsInvalid: A URL names no queue or store, or no queue is named.
    """
    statements = policy_statements(
        role,
        stores=stores,
        queue=queue,
        dead_letter_queue=dead_letter_queue,
        kms_keys=kms_keys,
        function=function,
        tell=partial(print_line, stderr=True),
    )
    if statements:
        policy = {"Version": "2012-10-17", "Statement": statements}
        for line in json.dumps(policy, indent=2).splitlines():
            print_line(line)
