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
        vendor_prefix: `LETSGO_VENDOR_PREFIX`, with which all names start; LetsGo's `VendorPrefix`.
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
        """The name of its table. The names of its queues start with it."""
        return f"{self.vendor_prefix}-{self.name}"

    def has_queue(self, url: str) -> bool:
        """Whether LetsGo made a queue for this deployment.

        It looks at the queue's name, which is the same for everybody who uses the queue. A sender
        may have found the queue by its tag, while a Lambda function knows only its ARN.
        """
        name = url.rpartition("/")[2]
        return re.fullmatch(rf"{re.escape(self.table)}-\d{{5}}", name) is not None


def setting(environ: Mapping[str, str], name: str) -> str | None:
    """A setting from the environment; an empty one counts as unset.

    Whitespace around it is removed: files and secrets often end with a line break.
    """
    return environ.get(name, "").strip() or None
