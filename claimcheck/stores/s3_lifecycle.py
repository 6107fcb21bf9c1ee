"""The lifecycle rules of a bucket: what they do to claims, and what they lack.

Claims are removed when they were handled. The rules catch the rest: other claims expire, unfinished
uploads are aborted, and versions that were removed go for good.

    claimcheck PREFIX                 expire after 43 days; abort uploads and drop versions after 1
    claimcheck PREFIX delete markers  remove markers that hide nothing: S3 wants a rule for that

S3 has one configuration for all rules of a bucket, and writes it as a whole. So other rules go with
ours whenever these are written.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html describes rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from claimcheck.stores.s3_contents import CONTENTS_DAYS

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef, LifecycleRuleTypeDef

UPLOAD_DAYS = 1
"""How long an unfinished upload stays; one takes minutes."""

VERSION_DAYS = 1
"""How long S3 keeps removed versions: the least that a rule can say."""

_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes that nobody can read at once."""


class Lifecycle:
    """The rules that a bucket has now."""

    def __init__(
        self, rules: Sequence[LifecycleRuleOutputTypeDef], *, prefix: str, versioned: bool
    ) -> None:
        """Take the rules as S3 gives them.

        Args:
            rules: All rules of the bucket.
            prefix: The beginning of the keys of claims.
            versioned: Whether the bucket keeps versions, or has kept them.
        """
        self._rules = rules
        self._prefix = prefix
        self._versioned = versioned

    @property
    def days(self) -> int | None:
        """After how many days claims expire; None for never."""
        return min((_expiry(rule)["Days"] for rule in self._whole("Days")), default=None)

    @property
    def drops_versions(self) -> bool:
        """Whether a version that was removed goes for good."""
        return any(
            "NoncurrentVersionExpiration" in rule
            and "NewerNoncurrentVersions" not in rule["NoncurrentVersionExpiration"]
            for rule in self._covering()
        )

    def lacks(self) -> Iterator[str]:
        """Yield the consequences of what no rule does for claims."""
        if self.days is None:
            yield "claims that nobody fetches stay for good"
        if not any("AbortIncompleteMultipartUpload" in rule for rule in self._covering()):
            yield "pieces of unfinished uploads stay for good"
        if self._versioned and not self.drops_versions:
            yield "versions of claims that were removed stay for good"
        if (
            self._versioned
            and self.days is None
            and not any(self._whole("ExpiredObjectDeleteMarker"))
        ):
            yield "delete markers stay for good"

    def harms(self) -> Iterator[str]:
        """Yield what rules do to claims that may still be fetched."""
        for rule in self._touching():
            name = f"rule {rule.get('ID', 'without a name')!r}"
            expiry = _expiry(rule)
            if "Date" in expiry:
                yield f"{name} removes them on {expiry['Date']:%Y-%m-%d}, whatever their age"
            elif expiry.get("Days", CONTENTS_DAYS) < CONTENTS_DAYS:
                yield f"{name} removes them after {_days(expiry['Days'])}"
            for transition in rule.get("Transitions", []):
                storage = transition.get("StorageClass")
                if storage in _ARCHIVES and transition.get("Days", 0) < CONTENTS_DAYS:
                    yield f"{name} moves them to {storage}, where nobody can read them at once"

    def completed(self) -> list[LifecycleRuleTypeDef]:
        """All rules that the bucket shall have: ours in their present form, and the others."""
        ours = _rules_for(self._prefix, versioned=self._versioned)
        names = {rule.get("ID") for rule in ours}
        others = [_in_present_form(rule) for rule in self._rules if rule.get("ID") not in names]
        return [*others, *ours]

    def _covering(self) -> Iterator[LifecycleRuleOutputTypeDef]:
        """Rules for everything under the prefix."""
        for rule in self._touching():
            if self._prefix.startswith(_prefix_of(rule)) and not _sizes_of(rule):
                yield rule

    def _whole(self, action: str) -> Iterator[LifecycleRuleOutputTypeDef]:
        return (rule for rule in self._covering() if _expiry(rule).get(action))

    def _touching(self) -> Iterator[LifecycleRuleOutputTypeDef]:
        """Rules for something under the prefix. Claims have no tags."""
        for rule in self._rules:
            prefix = _prefix_of(rule)
            common = min(len(prefix), len(self._prefix))
            if (
                rule["Status"] == "Enabled"
                and not _conditions(rule).get("Tags")
                and prefix[:common] == self._prefix[:common]
            ):
                yield rule


def _rules_for(prefix: str, *, versioned: bool) -> list[LifecycleRuleTypeDef]:
    name = f"claimcheck {prefix}".rstrip()
    rule: LifecycleRuleTypeDef = {
        "ID": name,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": CONTENTS_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOAD_DAYS},
    }
    if not versioned:
        return [rule]
    rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": VERSION_DAYS}
    markers: LifecycleRuleTypeDef = {
        "ID": f"{name} delete markers",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }
    return [rule, markers]


def _in_present_form(rule: LifecycleRuleOutputTypeDef) -> LifecycleRuleTypeDef:
    """A rule with its prefix in a filter: S3 takes no mixture with the older form."""
    rest = {name: value for name, value in rule.items() if name != "Prefix"}
    if "Prefix" in rule:
        rest["Filter"] = {"Prefix": rule["Prefix"]}
    return cast("LifecycleRuleTypeDef", rest)


def _expiry(rule: LifecycleRuleOutputTypeDef) -> Mapping[str, Any]:
    return rule.get("Expiration", {})


def _prefix_of(rule: LifecycleRuleOutputTypeDef) -> str:
    prefix: str = _conditions(rule).get("Prefix", rule.get("Prefix", ""))
    return prefix


def _sizes_of(rule: LifecycleRuleOutputTypeDef) -> bool:
    return any(name.startswith("ObjectSize") for name in _conditions(rule))


def _conditions(rule: LifecycleRuleOutputTypeDef) -> Mapping[str, Any]:
    """The conditions of a rule's filter."""
    found: dict[str, Any] = dict(rule.get("Filter", {}))
    found |= found.pop("And", {})
    if "Tag" in found:
        found["Tags"] = [found.pop("Tag")]
    return found


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
