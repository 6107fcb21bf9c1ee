"""Checks what a role may do by IAM's own simulation, without trying it on queue or store.

A simulation knows the policies of the role, and not those of queues, buckets and keys, which may
allow more: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_testing-policies.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from botocore.exceptions import ClientError

from claimcheck.doctor.findings import QUICK, Finding, failure, passed, warning
from claimcheck.policies import Statement
from claimcheck.rights import Role
from letsgo_queue.aws_client import Service, error_code, make_client
from letsgo_queue.text import counted

_ASSUMED = re.compile(r"arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/.*")
_CHANGEABLE = re.compile(r".*:(role|user)/(?:.*/)?([^/]+)")


class _Iam(Protocol):
    """The call of boto3's client that this module makes."""

    def simulate_principal_policy(
        self,
        *,
        PolicySourceArn: str,  # noqa: N803
        ActionNames: Sequence[str],  # noqa: N803
        ResourceArns: Sequence[str],  # noqa: N803
        ContextEntries: Sequence[Mapping[str, Any]],  # noqa: N803
    ) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


_IAM: Service[_Iam] = Service("iam")


def principal_of(caller: str) -> str | None:
    """Return the user or role whose policies bind a caller; None for root, which none binds."""
    if caller.endswith(":root"):
        return None
    return _ASSUMED.sub(r"arn:\1:iam::\2:role/\3", caller)


def check_rights(
    principal: str, role: Role, statements: Sequence[Statement], *, region: str
) -> Iterator[Finding]:
    """Compare what somebody may do with the policy of a role.

    Args:
        principal: The ARN of a user or a role.
        role: The role that it has in our policies.
        statements: The policy that it needs.
        region: The region whose IAM is asked.
    """
    name = f"rights.{role}"
    lacking = []
    client = make_client(_IAM, None, region=region, endpoint_url=None, config=QUICK)
    try:
        for statement in statements:
            lacking += _lacking(client, principal, statement)
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        yield warning(
            name,
            f"not known: IAM has no {principal}; STS does not name the path that a role may have",
        )
        return
    finally:
        client.close()
    who = principal.rpartition("/")[2]
    if not lacking:
        rights = sum(len(cast("Sequence[str]", each["Action"])) for each in statements)
        yield passed(name, f"{who} has the {counted(rights, 'right')} that a {role} needs")
        return
    yield failure(
        name,
        f"{who} lacks {', '.join(lacking)}, unless a policy of the queue, bucket or key allows it",
        command=_grant(principal, role),
    )


def _lacking(client: _Iam, principal: str, statement: Statement) -> list[str]:
    """Return the actions of a statement that IAM denies, each with its resource."""
    answer = client.simulate_principal_policy(
        PolicySourceArn=principal,
        ActionNames=cast("Sequence[str]", statement["Action"]),
        ResourceArns=cast("Sequence[str]", statement["Resource"]),
        ContextEntries=list(_context(cast("Mapping[str, Any]", statement.get("Condition", {})))),
    )
    return [
        f"{each['EvalActionName']} on {each['EvalResourceName']}"
        for each in answer["EvaluationResults"]
        if each["EvalDecision"] != "allowed"
    ]


def _context(condition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the context of a request that fulfils a condition."""
    for keys in condition.values():
        for key, value in keys.items():
            values = [value] if isinstance(value, str) else value
            kind = "string" if isinstance(value, str) else "stringList"
            yield {"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": kind}


def _grant(principal: str, role: Role) -> str:
    found = _CHANGEABLE.fullmatch(principal)
    if found is None:
        return ""
    kind, name = found.groups()
    return (
        f"aws iam put-{kind}-policy --{kind}-name {name} --policy-name claimcheck-{role} "
        f'--policy-document "$(claimcheck iam --as {role})"'
    )
