"""`ClaimBucket`: the S3 bucket, made and checked."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from claimcheck import ClaimStoreError, ClaimStoreUnavailable, open_store
from claimcheck.stores.base import ClaimFacts, Lease
from claimcheck.stores.findings import Finding
from claimcheck.stores.s3_bucket import ClaimBucket
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import BucketVersioningStatusType
    from mypy_boto3_s3.type_defs import LifecycleRuleTypeDef

CLAIM = "0123456789012345678901"
LOGS: LifecycleRuleTypeDef = {
    "ID": "logs",
    "Status": "Enabled",
    "Filter": {"Prefix": "logs/"},
    "Expiration": {"Days": 7},
}


def in_bucket(aws: AwsServer, name: str, *, region: str | None = None) -> ClaimBucket:
    return ClaimBucket(name, prefix="claims/", region=region or aws.region)


def findings(bucket: ClaimBucket) -> dict[str, Finding]:
    return {finding.subject: finding for finding in bucket.check()}


def make_bare_bucket(aws: AwsServer) -> str:
    """A bucket as it was before S3 had the settings of today from the start."""
    name, client = aws.make_bucket(), aws.s3()
    client.delete_public_access_block(Bucket=name)
    client.delete_bucket_encryption(Bucket=name)
    client.put_bucket_ownership_controls(
        Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    client.close()
    return name


def mendable(aws: AwsServer) -> list[str]:
    """What is wrong with a bare bucket. AWS, and MiniStack with it, always encrypts."""
    encryption = ["encryption"] if aws.name == "moto" else []
    return ["public access", *encryption, "ownership", "lifecycle"]


def refuse(
    bucket: ClaimBucket,
    operation: str,
    code: str,
    status: int = 403,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer in S3's place."""

    def answer(**_: object) -> AWSResponse:
        text = f"<Error><Code>{code}</Code><Message>the test says so</Message></Error>"
        body = b"" if operation == "HeadBucket" else text.encode()
        raw = HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
        return AWSResponse("http://s3", status, HTTPHeaders.from_dict(headers or {}), raw)

    instead = cast("Callable[..., None]", answer)  # what this event gives back is the answer
    bucket._client.meta.events.register(f"before-send.s3.{operation}", instead)


class TestCreate:
    def test_makes_what_a_store_needs(self, aws: AwsServer) -> None:
        bucket = in_bucket(aws, aws.make_bucket_name())

        assert bucket.create()

        assert [(each.subject, each.ok, each.detail) for each in bucket.check()] == [
            ("bucket", True, f"{bucket.name} is in region {aws.region}"),
            ("public access", True, "blocked"),
            ("encryption", True, "AES256"),
            ("ownership", True, "BucketOwnerEnforced"),
            ("versioning", True, "off"),
            ("lifecycle", True, "claims expire after 43 days"),
        ]
        rules = aws.s3().get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
        assert [rule["Filter"] for rule in rules] == [{"Prefix": "claims/"}]

    @pytest.mark.parametrize(
        ("region", "named"), [("us-east-1", None), ("eu-central-1", "eu-central-1")]
    )
    def test_makes_it_in_its_region(self, aws: AwsServer, region: str, named: str | None) -> None:
        bucket = in_bucket(aws, aws.make_bucket_name(), region=region)

        assert bucket.create()

        found = aws.s3().get_bucket_location(Bucket=bucket.name)
        assert found["LocationConstraint"] == named

    def test_changes_nothing_in_a_bucket_that_was_there(self, aws: AwsServer) -> None:
        bucket = in_bucket(aws, make_bare_bucket(aws))

        assert not bucket.create()

        wrong = [name for name, finding in findings(bucket).items() if not finding.ok]
        assert wrong == mendable(aws)

    def test_a_name_that_another_account_has(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket_name())
        refuse(bucket, "CreateBucket", "BucketAlreadyExists", 409)

        with pytest.raises(ClaimStoreError, match=f"{bucket.name}.*another account has that name"):
            bucket.create()


class TestChanges:
    def test_each_makes_its_finding_right(self, aws: AwsServer) -> None:
        bucket = in_bucket(aws, make_bare_bucket(aws))
        for name in mendable(aws):
            finding = findings(bucket)[name]
            assert (finding.ok, finding.remedy[:24]) == (False, "`claimcheck store create")
            assert finding.change is not None
            finding.change.make()
            assert findings(bucket)[name].ok

    @pytest.mark.parametrize("versions", [None, "Enabled", "Suspended"])
    def test_other_lifecycle_rules_stay(
        self, aws: AwsServer, versions: BucketVersioningStatusType | None
    ) -> None:
        client, bucket = aws.s3(), in_bucket(aws, aws.make_bucket())
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket.name,
            LifecycleConfiguration={"Rules": [LOGS]},
        )
        if versions is not None:
            client.put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": versions}
            )

        change = findings(bucket)["lifecycle"].change
        assert change is not None
        change.make()

        assert [each.ok for each in bucket.check()][-2:] == [True, True]
        found = client.get_bucket_lifecycle_configuration(Bucket=bucket.name)
        kept, *ours = found["Rules"]
        assert kept == LOGS
        assert [rule["Filter"]["Prefix"] for rule in ours] == ["claims/"] * (2 if versions else 1)
        assert ours[0]["Expiration"] == {"Days": 43}
        assert ours[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
        if versions is not None:
            assert ours[0]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
            assert ours[1]["Expiration"] == {"ExpiredObjectDeleteMarker": True}

    def test_what_goes_for_all_lifecycle_rules_stays(self, ministack: AwsServer) -> None:
        bucket, sent = in_bucket(ministack, ministack.make_bucket()), {}
        size = {"TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}
        ministack.s3().put_bucket_lifecycle_configuration(
            Bucket=bucket.name, LifecycleConfiguration={"Rules": [LOGS]}
        )
        events = bucket._client.meta.events
        events.register(  # which MiniStack does not keep
            "after-call.s3.GetBucketLifecycleConfiguration",
            lambda parsed, **_: parsed.update(size),
        )
        events.register(
            "before-parameter-build.s3.PutBucketLifecycleConfiguration",
            lambda params, **_: sent.update(params),
        )

        change = findings(bucket)["lifecycle"].change
        assert change is not None
        change.make()

        assert sent.items() >= size.items()

    def test_rules_that_came_while_somebody_was_asked_stay(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket())
        change = findings(bucket)["lifecycle"].change
        assert change is not None
        ministack.s3().put_bucket_lifecycle_configuration(
            Bucket=bucket.name, LifecycleConfiguration={"Rules": [LOGS]}
        )

        change.make()

        found = ministack.s3().get_bucket_lifecycle_configuration(Bucket=bucket.name)
        assert [rule["ID"] for rule in found["Rules"]] == ["logs", "claimcheck claims/"]

    def test_a_refusal_says_what_was_refused(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, make_bare_bucket(ministack))
        refuse(bucket, "PutPublicAccessBlock", "AccessDenied")
        change = findings(bucket)["public access"].change
        assert change is not None

        with pytest.raises(ClaimStoreError, match=r"to block all public access.*: AccessDenied"):
            change.make()

    @pytest.mark.parametrize(
        "key",
        ["invoice.pdf", CLAIM, f"old/{CLAIM}", f"contents/old/{CLAIM}", f"dynamodb.x/{CLAIM}"],
    )
    def test_no_rule_is_offered_where_something_else_would_be_removed(
        self, ministack: AwsServer, key: str
    ) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket())
        ministack.s3().put_object(Bucket=bucket.name, Key=f"claims/{key}")

        finding = findings(bucket)["lifecycle"]

        assert (finding.ok, finding.change) == (False, None)
        assert f"something else than claims is in {bucket.name}/claims/" in finding.remedy

    def test_no_rule_is_offered_where_nobody_may_look(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket())
        refuse(bucket, "ListObjectsV2", "AccessDenied")

        assert findings(bucket)["lifecycle"].change is None

    def test_a_rule_is_offered_where_claims_are(self, ministack: AwsServer) -> None:
        """Contents and records of stores, and objects elsewhere in the bucket."""
        bucket = in_bucket(ministack, ministack.make_bucket())
        ministack.s3().put_object(Bucket=bucket.name, Key="invoice.pdf")
        store = open_store(f"s3://{bucket.name}/claims", region=ministack.region)
        of_a_table = open_store(
            f"dynamodb://letsgo.claims?bucket={bucket.name}&prefix=claims", region=ministack.region
        )
        facts = ClaimFacts(
            id=CLAIM, type=None, parts=1, size=1, stored=1, created_at=1, expires_at=1
        )
        store.write(facts, [b"1"])
        of_a_table.write(facts, [b"1"])
        of_a_table.close()
        store.acquire(f"{CLAIM}@", Lease("lease", 30))
        store.acquire("once/queue/m-1@", Lease("lease", 30))
        store.close()
        assert len(ministack.objects_in(bucket.name)) == 5

        assert findings(bucket)["lifecycle"].change is not None


class TestCheck:
    def test_a_bucket_that_is_missing(self, aws: AwsServer) -> None:
        (finding,) = in_bucket(aws, "no-such-bucket-of-claims").check()

        assert (finding.ok, finding.detail) == (False, "no-such-bucket-of-claims does not exist")
        assert "`claimcheck store create`" in finding.remedy

    def test_a_bucket_in_another_region(self, aws: AwsServer) -> None:
        bucket = in_bucket(aws, aws.make_bucket(), region="eu-west-1")

        (finding,) = bucket.check()

        assert not finding.ok
        assert finding.detail == (
            f"{bucket.name} is in region {aws.region}, and the store is set to eu-west-1"
        )
        assert not bucket.create()

    def test_a_bucket_in_another_region_that_nobody_may_see(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, "claims")
        refuse(bucket, "HeadBucket", "", 403, {"x-amz-bucket-region": "eu-west-1"})

        assert "is in region eu-west-1" in bucket.check()[0].detail

    def test_a_bucket_of_another_account(self, ministack: AwsServer) -> None:
        """Who may use it: S3 refuses only what expects it to be of ours."""
        bucket = in_bucket(ministack, ministack.make_bucket())
        theirs = bucket._head

        def head(**expected: str) -> tuple[int, str | None]:
            return (403, None) if expected else theirs()

        bucket._head = head  # type: ignore[method-assign]  # neither server knows accounts here
        (finding,) = bucket.check()

        assert not finding.ok
        assert "of another account than the credentials here (0000" in finding.detail

    def test_a_bucket_that_nobody_may_see(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, "claims")
        refuse(bucket, "HeadBucket", "", 403)

        (finding,) = bucket.check()

        assert finding.detail == "claims is of another account, or s3:ListBucket is denied"
        assert "allow s3:ListBucket on arn:aws:s3:::claims" in finding.remedy
        assert not bucket.create()

    @pytest.mark.parametrize(
        ("operation", "subject", "action"),
        [
            ("GetPublicAccessBlock", "public access", "s3:GetBucketPublicAccessBlock"),
            ("GetBucketEncryption", "encryption", "s3:GetEncryptionConfiguration"),
            ("GetBucketOwnershipControls", "ownership", "s3:GetBucketOwnershipControls"),
            ("GetBucketLifecycleConfiguration", "lifecycle", "s3:GetLifecycleConfiguration"),
            ("GetBucketVersioning", "versioning", "s3:GetBucketVersioning"),
        ],
    )
    def test_a_right_that_lacks_is_a_finding(
        self, ministack: AwsServer, operation: str, subject: str, action: str
    ) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket_name())
        bucket.create()
        refuse(bucket, operation, "AccessDenied")

        finding = findings(bucket)[subject]

        assert (finding.ok, finding.detail) == (False, f"not known: {action} is denied")
        assert f"allow {action} on arn:aws:s3:::{bucket.name}" in finding.remedy

    def test_the_right_that_lacks_is_named_where_several_are_needed(
        self, ministack: AwsServer
    ) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket())
        ministack.s3().put_bucket_versioning(
            Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
        )
        refuse(bucket, "GetBucketLifecycleConfiguration", "AccessDenied")

        details = {findings(bucket)[name].detail for name in ("versioning", "lifecycle")}

        assert details == {"not known: s3:GetLifecycleConfiguration is denied"}

    def test_a_bucket_with_versions(self, aws: AwsServer) -> None:
        bucket = in_bucket(aws, aws.make_bucket())
        aws.s3().put_bucket_versioning(
            Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
        )

        finding = findings(bucket)["versioning"]

        assert not finding.ok
        assert "a claim that was removed stays as an old version, for good" in finding.detail
        assert "a lifecycle rule can drop old versions after 1 day" in finding.remedy

    def test_a_rule_that_removes_claims_too_soon(self, aws: AwsServer) -> None:
        bucket = in_bucket(aws, aws.make_bucket())
        soon: LifecycleRuleTypeDef = {**LOGS, "ID": "soon", "Filter": {"Prefix": "claims/"}}
        aws.s3().put_bucket_lifecycle_configuration(
            Bucket=bucket.name, LifecycleConfiguration={"Rules": [soon]}
        )

        finding = findings(bucket)["lifecycle"]

        assert (finding.ok, finding.change) == (False, None)
        assert "43 days, and rule 'soon' removes them after 7 days" in finding.detail

    def test_a_key_of_kms_wants_rights_on_it(self, aws: AwsServer) -> None:
        bucket, key = in_bucket(aws, aws.make_bucket()), aws.make_kms_key()
        aws.s3().put_bucket_encryption(
            Bucket=bucket.name,
            ServerSideEncryptionConfiguration={
                "Rules": [
                    {
                        "ApplyServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": key,
                        }
                    }
                ]
            },
        )

        finding = findings(bucket)["encryption"]

        assert (finding.ok, finding.detail) == (True, f"aws:kms with {key}")
        assert "kms:GenerateDataKey" in finding.remedy

    @pytest.mark.usefixtures("ministack")
    def test_nobody_listens(self) -> None:
        bucket = ClaimBucket("claims", region="us-west-2", endpoint_url="http://127.0.0.1:9")

        with pytest.raises(ClaimStoreUnavailable, match=r"bucket claims .*could not be checked"):
            bucket.check()

    def test_another_refusal_is_an_error(self, ministack: AwsServer) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket())
        refuse(bucket, "GetBucketVersioning", "InvalidAccessKeyId")

        with pytest.raises(ClaimStoreError, match=r"could not be checked: InvalidAccessKeyId"):
            bucket.check()

    def test_an_account_that_nobody_names_is_not_compared(
        self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket = in_bucket(ministack, ministack.make_bucket())
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")

        assert bucket.check()[0].ok
