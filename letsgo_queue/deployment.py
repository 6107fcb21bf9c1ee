"""LetsGo's names: of the queue, the table and the tags of a deployment.

    letsgo-main          the table of deployment `main`
    letsgo-main-12345    its queue, which has the tag LetsGoDeployment=main

https://github.com/47chapters/letsgo/blob/main/packages/constants/src/index.ts has the names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

DEFAULT_DEPLOYMENT = "main"
DEFAULT_REGION = "us-west-2"
DEFAULT_VENDOR_PREFIX = "letsgo"

DEPLOYMENT_TAG = "LetsGoDeployment"

VISIBILITY_TIMEOUT = 360
"""Seconds, for LetsGo's queues. Lambda takes no queue whose timeout is below its function's, and
LetsGo's function has 60 s."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of LetsGo.

    Attributes:
        name: `LETSGO_DEPLOYMENT`.
        vendor_prefix: `LETSGO_VENDOR_PREFIX`: what the names start with; LetsGo's `VendorPrefix`.
    """

    name: str = DEFAULT_DEPLOYMENT
    vendor_prefix: str = DEFAULT_VENDOR_PREFIX

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The deployment that the environment names."""
        return cls(
            setting(environ, "LETSGO_DEPLOYMENT") or DEFAULT_DEPLOYMENT,
            setting(environ, "LETSGO_VENDOR_PREFIX") or DEFAULT_VENDOR_PREFIX,
        )

    @property
    def table(self) -> str:
        """The name of its table, with which the names of its queues start too."""
        return f"{self.vendor_prefix}-{self.name}"

    def has_queue(self, url: str) -> bool:
        """Whether LetsGo made a queue for this deployment.

        Its name tells, since that is the same for all who use the queue: a sender may have found it
        by its tag, and a Lambda function knows no more than its ARN.
        """
        name = url.rpartition("/")[2]
        return re.fullmatch(rf"{re.escape(self.table)}-\d{{5}}", name) is not None


def setting(environ: Mapping[str, str], name: str) -> str | None:
    """A setting from the environment; an empty one counts as unset.

    Files and secrets often end with a line break, which no setting means.
    """
    return environ.get(name, "").strip() or None
