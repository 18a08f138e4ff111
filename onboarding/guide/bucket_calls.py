"""Buckets: the calls that make one private and encrypted, and those that look whether an existing one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboarding.guide.plan import Call, Look

CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_OWNED = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
ENCRYPTION = "AES256"
_BY_DEFAULT = "ServerSideEncryptionConfiguration.Rules.0.ApplyServerSideEncryptionByDefault"
ENCRYPTION_PATH = f"{_BY_DEFAULT}.SSEAlgorithm"
_ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": ENCRYPTION}}]}
NOT_CLOSED = ("NoSuchPublicAccessBlockConfiguration",)
NOT_ENCRYPTED = ("ServerSideEncryptionConfigurationNotFoundError",)


@dataclass(frozen=True)
class Bucket:
    """A bucket of an AWS account, and the calls about it."""

    account: str
    name: str

    def _call(self, key: str, title: str, operation: str, look: Look, effect: str = "read", **params: Any) -> Call:
        return Call(
            key=key,
            title=title,
            service="s3",
            operation=operation,
            params={"Bucket": self.name, **params},
            effect=effect,  # type: ignore[arg-type]  # one of the effects, by the callers below
            account=self.account,
            look=look,
            undo="Can be deleted in S3 when it is empty." if operation == "CreateBucket" else "",
        )

    def _look(self, operation: str, **values: Any) -> Look:
        return Look(operation=operation, params={"Bucket": self.name}, **values)

    def place(self, *, make: bool) -> Call:
        """The bucket itself, in us-east-1; made if it is not there and `make`."""
        look = self._look(
            "GetBucketLocation",
            missing=("NoSuchBucket",),
            same={"LocationConstraint": None},
            differs=f"Bucket {self.name} is in {{found}}; AMC needs us-east-1.",
            todo="Choose a bucket in us-east-1, or have the portal make one.",
            absent=f"There is no bucket {self.name} in AWS account {self.account}.",
        )
        title = f"Bucket {self.name}, in us-east-1"
        if make:
            return self._call("bucket", title, "CreateBucket", look, "create")
        return self._call("bucket", title, "GetBucketLocation", look)

    def closed(self, *, make: bool) -> Call:
        """Closed to the public; made so if `make`, else only looked at."""
        look = self._look(
            "GetPublicAccessBlock",
            missing=NOT_CLOSED,
            same={f"PublicAccessBlockConfiguration.{name}": value for name, value in CLOSED.items()},
            differs=f"Bucket {self.name} is not closed to the public.",
            absent=f"Bucket {self.name} is not closed to the public.",
            todo="Turn on “Block all public access” under the bucket's permissions in S3, then try again. If something "
            "in it has to be public, choose another bucket.",
        )
        title = f"Bucket {self.name} is closed to the public"
        if make:
            return self._call(
                "private", title, "PutPublicAccessBlock", look, "update", PublicAccessBlockConfiguration=CLOSED
            )
        return self._call("private", title, "GetPublicAccessBlock", look)

    def owned(self) -> Call:
        """Nothing in it can belong to another account, and access lists do not count."""
        return self._call(
            "owned",
            f"Everything in bucket {self.name} belongs to its owner",
            "PutBucketOwnershipControls",
            self._look(
                "GetBucketOwnershipControls",
                missing=("OwnershipControlsNotFoundError",),
                same={"OwnershipControls.Rules.0.ObjectOwnership": "BucketOwnerEnforced"},
            ),
            "update",
            OwnershipControls=_OWNED,
        )

    def encrypted(self, *, make: bool) -> Call:
        """Encrypted at rest; made so if `make`, else only looked at: with S3's keys or a key of the customer's."""
        title = f"Bucket {self.name} is encrypted"
        operation, missing = "GetBucketEncryption", NOT_ENCRYPTED
        if make:
            look = self._look(operation, missing=missing, same={ENCRYPTION_PATH: ENCRYPTION})
            return self._call(
                "encrypted", title, "PutBucketEncryption", look, "update", ServerSideEncryptionConfiguration=_ENCRYPTED
            )
        look = self._look(
            operation,
            missing=missing,
            absent=f"Bucket {self.name} is not encrypted by default.",
            todo="Turn on default encryption in the bucket's properties in S3, then try again.",
        )
        return self._call("encrypted", title, operation, look)

    def encrypted_with(self, key: str) -> Call:
        """Looks whether it is encrypted with this KMS key of the customer's (an ARN), or with S3's own where empty.

        Whoever writes to it needs to be allowed to use the key.
        """
        same = {ENCRYPTION_PATH: "aws:kms", f"{_BY_DEFAULT}.KMSMasterKeyID": key} if key else {}
        how = f"the key {key}" if key else "S3's own key"
        look = self._look(
            "GetBucketEncryption",
            missing=NOT_ENCRYPTED,
            same=same or {ENCRYPTION_PATH: ENCRYPTION},
            differs=f"Bucket {self.name} is encrypted with {{found}}, not with {how}.",
            absent=f"Bucket {self.name} is not encrypted by default.",
            todo="Change the answer about the bucket: give the ARN of the KMS key that its default encryption has, or "
            "none for S3's own key. Or change the default encryption in the bucket's properties in S3.",
        )
        return self._call("encrypted", f"Bucket {self.name} is encrypted with {how}", "GetBucketEncryption", look)

    def unversioned(self) -> Call:
        """What is deleted is gone: no older versions are kept."""
        return self._call(
            "versions",
            f"Bucket {self.name} keeps no older versions",
            "GetBucketVersioning",
            self._look(
                "GetBucketVersioning",
                same={"Status": None},
                differs=f"Bucket {self.name} keeps older versions of what is deleted (versioning: {{found}}).",
                todo="Choose a name that is not taken, so that the portal makes the bucket, or use this one as an "
                "existing bucket.",
            ),
        )


def exactly(path: str, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a look compares so that the list at `path` holds these rules and nothing else."""
    same = {f"{path}.{number}.{name}": value for number, rule in enumerate(rules) for name, value in rule.items()}
    return {**same, f"{path}.{len(rules)}": None}
