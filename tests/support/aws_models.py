"""AWS's descriptions of its services: a megabyte of JSON, which botocore reads for each client."""

from __future__ import annotations

import functools
from unittest.mock import patch

import boto3
from botocore.loaders import JSONFileLoader


def read_once() -> None:
    """Have this process, and those that it forks, read each of them once."""
    read = functools.cache(JSONFileLoader().load_file)
    patch.object(JSONFileLoader, "load_file", lambda _, path: read(path)).start()


def read_ahead() -> None:
    """Read them now, so that no process that is forked has to."""
    read_once()
    session = boto3.Session("test", "test", region_name="us-west-2")
    for service in ("sqs", "dynamodb", "s3"):
        session.client(service).close()
