"""What LetsGo calls its things: the queue, the table and the tags of a deployment.

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

    @property
    def claims_url(self) -> str:
        """The claim store in its table, as the settings name it."""
        usual = Deployment.from_environment().vendor_prefix
        option = "" if self.vendor_prefix == usual else f"?vendor_prefix={self.vendor_prefix}"
        return f"letsgo://{self.name}{option}"

    def made_queue(self, name: str) -> bool:
        """Whether LetsGo made a queue of this name for this deployment."""
        return re.fullmatch(rf"{re.escape(self.table)}-\d{{5}}", name) is not None


_found: dict[str, Deployment] = {}


def note_queue(queue_url: str, deployment: Deployment) -> None:
    """Note that a queue was found by its deployment."""
    _found[queue_url] = deployment


def deployment_of(queue_url: str) -> Deployment | None:
    """The deployment that a queue belongs to; None where nothing says that it is LetsGo's.

    A sender has found the queue by its deployment. A Lambda function has not: there the name tells,
    which LetsGo gives to the queue of the deployment that the environment names.
    """
    if queue_url in _found:
        return _found[queue_url]
    own = Deployment.from_environment()
    return own if own.made_queue(queue_url.rpartition("/")[2]) else None


def setting(environ: Mapping[str, str], name: str) -> str | None:
    """A setting from the environment; an empty one counts as unset.

    Files and secrets often end with a line break, which no setting means.
    """
    return environ.get(name, "").strip() or None
