"""What each process of a crew would load: the process that they are forked from imports this."""

from __future__ import annotations

import claimcheck.stores.dynamodb
import claimcheck.stores.s3_objects
import claimcheck.stores.sqlite
import letsgo_queue.transports.sqs
import tests.faults.actors
from tests.support.aws_models import read_ahead

__all__ = ["claimcheck", "letsgo_queue", "tests"]

read_ahead()
