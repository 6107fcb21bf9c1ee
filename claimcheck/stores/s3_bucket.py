"""The S3 bucket of a claim store: made on request, and checked.

Claims need a bucket with nothing public, encryption at rest, one owner of all objects, and
lifecycle rules (`s3_lifecycle`). A bucket that is there may serve others too. So somebody has to
agree to each change, and rules are offered only if nothing but claims is under the prefix: they
would remove the objects of somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from claimcheck.errors import ClaimStoreError, ClaimStoreUnavailable
from claimcheck.stores.findings import Change, Finding, look
from claimcheck.stores.s3_contents import CONTENTS_DAYS
from claimcheck.stores.s3_lifecycle import VERSION_DAYS, Lifecycle
from claimcheck.stores.s3_objects import make_s3_client
from letsgo_queue.aws_client import STS, AwsError, error_code, explain, make_client
from letsgo_queue.aws_hosts import partition_of

if TYPE_CHECKING:
    import boto3.session
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import (
        CreateBucketRequestTypeDef,
        PublicAccessBlockConfigurationTypeDef,
        ServerSideEncryptionRuleTypeDef,
    )

_LOOKED_AT = 1_000
_CLAIM_KEY = re.compile(r"(contents|dynamodb\.[^./]+\.[^/]+)/[A-Za-z0-9_-]{22,64}|records/.+")

_FIRST_REGION = "us-east-1"
"""The only region that S3 takes no LocationConstraint for."""

_BLOCKED: PublicAccessBlockConfigurationTypeDef = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_ENCRYPTED: ServerSideEncryptionRuleTypeDef = {
    "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}
}
_ONE_OWNER: Final = "BucketOwnerEnforced"
_ANOTHER = "name another bucket in CLAIMCHECK_STORE"

_FOUND, _DENIED, _ABSENT = 200, 403, 404
_ELSEWHERE = {301, 400}
"""The statuses with which S3 answers HEAD in a region that the bucket is not in. They have no
text."""


class ClaimBucket:
    """The bucket named in the settings, and the prefix of the claims in it."""

    def __init__(
        self,
        name: str,
        *,
        prefix: str = "",
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
    ) -> None:
        """Name the bucket; nothing is asked of it yet.

        Args:
            name: The bucket's name.
            prefix: The beginning of the keys of claims.
            region: Its region.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have; None for those of the
                environment.

        Raises:
            SettingsInvalid: The settings of AWS, or an argument, cannot be used.
            ClaimStoreUnavailable: Credentials could not be fetched.
        """
        self.name = name
        self.prefix = prefix
        self.region = region
        self._session = session
        with self._errors("could not be asked"):
            self._client = make_s3_client(region, endpoint_url, session)
        self.region = self._client.meta.region_name
        self._arn = f"arn:{partition_of(self.region)}:s3:::{name}"

    @property
    def title(self) -> str:
        """Names the bucket for people."""
        return f"bucket {self.name} in {self.region}"

    def create(self) -> bool:
        """Make the bucket if it is not there, with all that claims need.

        Safe to repeat: a bucket that was there stays as it is.

        Returns:
            Whether a bucket was made.

        Raises:
            ClaimStoreError: S3 refused, or the name is taken by another account.
        """
        with self._errors("could not be made"):
            # Only if there is none: in us-east-1 S3 would reset the rights on a bucket of ours.
            if self._head()[0] != _ABSENT:
                return False
            request: CreateBucketRequestTypeDef = {
                "Bucket": self.name,
                "ObjectOwnership": _ONE_OWNER,
            }
            if self.region != _FIRST_REGION:
                region = cast("BucketLocationConstraintType", self.region)
                request["CreateBucketConfiguration"] = {"LocationConstraint": region}
            self._client.create_bucket(**request)
        for finding in self.check():
            if finding.change is not None:
                finding.change.make()
        return True

    def check(self) -> list[Finding]:
        """Compare the bucket with what claims need; a right that we lack is a finding.

        Raises:
            ClaimStoreError: S3 refused for another reason, or did not answer.
        """
        with self._errors("could not be checked"):
            bucket = self._check_bucket()
            if not bucket.ok:
                return [bucket]
            looks = {
                "public access": self._check_public_access,
                "encryption": self._check_encryption,
                "ownership": self._check_ownership,
                "versioning": self._check_versioning,
                "lifecycle": self._check_lifecycle,
            }
            return [bucket, *(look(name, "s3", self._arn, ask) for name, ask in looks.items())]

    def _head(self, **expected: str) -> tuple[int, str | None]:
        """The status of the bucket, and the region that it is in, as far as S3 says that."""
        try:
            answer = cast(
                "Mapping[str, Any]", self._client.head_bucket(Bucket=self.name, **expected)
            )
        except ClientError as error:
            answer = cast("Mapping[str, Any]", error.response)
            if answer["ResponseMetadata"]["HTTPStatusCode"] not in {_DENIED, _ABSENT, *_ELSEWHERE}:
                raise
        metadata = answer["ResponseMetadata"]
        return metadata["HTTPStatusCode"], metadata["HTTPHeaders"].get("x-amz-bucket-region")

    def _check_bucket(self) -> Finding:
        status, region = self._head()
        if status == _ABSENT:
            return _problem(
                "bucket",
                f"{self.name} does not exist",
                "make it with `claimcheck store create`, or set CLAIMCHECK_STORE",
            )
        if region not in {None, self.region} or status in _ELSEWHERE:
            return _problem(
                "bucket",
                f"{self.name} is in {f'region {region}' if region else 'another region'}, and the "
                f"store is set to {self.region}",
                f"set AWS_REGION, or `region` in CLAIMCHECK_STORE, or {_ANOTHER}",
            )
        if status == _DENIED:
            return _problem(
                "bucket",
                f"{self.name} is of another account, or s3:ListBucket is denied",
                f"if it is yours, allow s3:ListBucket on {self._arn}; else {_ANOTHER}",
            )
        account = self._account()
        if account and self._head(ExpectedBucketOwner=account)[0] == _DENIED:
            return _problem(
                "bucket",
                f"{self.name} is of another account than the credentials here ({account}): its "
                "owner can read all claims",
                f"{_ANOTHER}, or use credentials of its account",
            )
        return Finding("bucket", ok=True, detail=f"{self.name} is in region {self.region}")

    def _account(self) -> str | None:
        """The account of our credentials; None if it is not known."""
        quick = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})
        try:
            client = make_client(
                STS, self._session, region=self.region, endpoint_url=None, config=quick
            )
            return client.get_caller_identity()["Account"]
        except AwsError:
            return None

    def _check_public_access(self) -> Finding:
        found: Mapping[str, object] = {}
        with _nothing_if("NoSuchPublicAccessBlockConfiguration"):
            answer = self._client.get_public_access_block(Bucket=self.name)
            found = cast("Mapping[str, object]", answer["PublicAccessBlockConfiguration"])
        allowed = [name for name in _BLOCKED if not found.get(name)]
        if not allowed:
            return Finding("public access", ok=True, detail="blocked")
        return self._mendable(
            "public access",
            f"not blocked ({', '.join(allowed)} off)",
            f"block all public access to bucket {self.name}",
            lambda: self._client.put_public_access_block(
                Bucket=self.name, PublicAccessBlockConfiguration=_BLOCKED
            ),
        )

    def _check_encryption(self) -> Finding:
        with _nothing_if("ServerSideEncryptionConfigurationNotFoundError"):
            answer = self._client.get_bucket_encryption(Bucket=self.name)
            for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
                if default := rule.get("ApplyServerSideEncryptionByDefault"):
                    key = default.get("KMSMasterKeyID")
                    detail = default["SSEAlgorithm"] + (f" with {key}" if key else "")
                    remedy = ""
                    if key:
                        remedy = (
                            "senders need kms:GenerateDataKey and kms:Decrypt on that key, workers "
                            "kms:Decrypt"
                        )
                    return Finding("encryption", ok=True, detail=detail, remedy=remedy)
        return self._mendable(
            "encryption",
            "none by default",
            f"have S3 encrypt new objects of bucket {self.name} (AES256)",
            lambda: self._client.put_bucket_encryption(
                Bucket=self.name, ServerSideEncryptionConfiguration={"Rules": [_ENCRYPTED]}
            ),
        )

    def _check_ownership(self) -> Finding:
        found = "ObjectWriter"  # S3's default
        with _nothing_if("OwnershipControlsNotFoundError"):
            answer = self._client.get_bucket_ownership_controls(Bucket=self.name)
            found = answer["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
        if found == _ONE_OWNER:
            return Finding("ownership", ok=True, detail=found)
        return self._mendable(
            "ownership",
            f"{found}: ACLs can give objects away",
            f"switch ACLs off in bucket {self.name} ({_ONE_OWNER})",
            lambda: self._client.put_bucket_ownership_controls(
                Bucket=self.name, OwnershipControls={"Rules": [{"ObjectOwnership": _ONE_OWNER}]}
            ),
        )

    def _check_versioning(self) -> Finding:
        status = self._versioning()
        if status is None:
            return Finding("versioning", ok=True, detail="off")
        detail = f"{status}: a claim that was removed stays as an old version"
        if self._lifecycle().drops_versions:
            return Finding(
                "versioning", ok=True, detail=f"{detail} until a lifecycle rule drops it"
            )
        remedy = (
            f"a lifecycle rule can drop old versions after {VERSION_DAYS} day (see lifecycle). "
            "Where not even that may be, name a bucket that never had versioning"
        )
        return _problem("versioning", f"{detail}, for good", remedy)

    def _check_lifecycle(self) -> Finding:
        lifecycle = self._lifecycle()
        if harms := "; ".join(lifecycle.harms()):
            return _problem(
                "lifecycle",
                f"claims may be fetched for {CONTENTS_DAYS} days, and {harms}",
                "change that rule, or name another bucket or prefix in CLAIMCHECK_STORE",
            )
        lacks = "; ".join(lifecycle.lacks())
        if not lacks:
            return Finding(
                "lifecycle", ok=True, detail=f"claims expire after {lifecycle.days} days"
            )
        where = f"{self.name}/{self.prefix}"
        if not self._has_only_claims():
            return _problem(
                "lifecycle",
                lacks,
                f"something else than claims is in {where}, or nobody here may look, and a rule "
                "would remove that too: name a bucket or a prefix for claims alone in "
                "CLAIMCHECK_STORE",
            )
        return self._mendable(
            "lifecycle",
            lacks,
            f"add a rule that removes everything in {where} after {CONTENTS_DAYS} days",
            self._complete_lifecycle,
        )

    def _versioning(self) -> str | None:
        return self._client.get_bucket_versioning(Bucket=self.name).get("Status")

    def _lifecycle(self) -> Lifecycle:
        return self._read_lifecycle()[0]

    def _read_lifecycle(self) -> tuple[Lifecycle, Mapping[str, Any]]:
        """Return the rules of the bucket, and the settings that hold for all of them."""
        answer: dict[str, Any] = {}
        with _nothing_if("NoSuchLifecycleConfiguration"):
            answer = dict(self._client.get_bucket_lifecycle_configuration(Bucket=self.name))
        lifecycle = Lifecycle(
            answer.pop("Rules", []),
            prefix=self.prefix,
            versioned=self._versioning() is not None,
        )
        answer.pop("ResponseMetadata", None)
        return lifecycle, answer

    def _complete_lifecycle(self) -> None:
        # Read now: the question may have waited long for its answer, and S3 writes all rules.
        lifecycle, others = self._read_lifecycle()
        self._client.put_bucket_lifecycle_configuration(
            Bucket=self.name, LifecycleConfiguration={"Rules": lifecycle.completed()}, **others
        )

    def _has_only_claims(self) -> bool:
        """Whether the first objects under the prefix are claims; False if that is not known."""
        try:
            page = self._client.list_objects_v2(
                Bucket=self.name, Prefix=self.prefix, MaxKeys=_LOOKED_AT
            )
        except ClientError:  # the right to check a bucket is not the right to list it
            return False
        keys = (each["Key"].removeprefix(self.prefix) for each in page.get("Contents", []))
        return all(map(_CLAIM_KEY.fullmatch, keys))

    def _mendable(
        self, subject: str, detail: str, what: str, make: Callable[[], object]
    ) -> Finding:
        def mend() -> None:
            with self._errors(f"did not change, to {what}"):
                make()

        remedy = f"`claimcheck store create` can {what}; it asks first"
        return Finding(subject, ok=False, detail=detail, remedy=remedy, change=Change(what, mend))

    @contextmanager
    def _errors(self, consequence: str) -> Iterator[None]:
        where = f"bucket {self.name}{f' in {self.region}' if self.region else ''}"
        try:
            yield
        except ClientError as error:
            text = f"{where} {consequence}: {explain(error)}."
            if error_code(error) == "BucketAlreadyExists":
                text = f"{where} {consequence}: another account has that name. {_ANOTHER}."
            raise ClaimStoreError(text) from error
        except NoCredentialsError as error:
            raise ClaimStoreError(f"{where} {consequence}: {explain(error)}.") from error
        except BotoCoreError as error:
            raise ClaimStoreUnavailable(f"{where} {consequence}: {explain(error)}.") from error


def _problem(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(subject, ok=False, detail=detail, remedy=remedy)


@contextmanager
def _nothing_if(code: str) -> Iterator[None]:
    """End the block where S3 says that there is no such configuration."""
    try:
        yield
    except ClientError as error:
        if error_code(error) != code:
            raise
