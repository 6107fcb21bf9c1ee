"""Checks that a queue, its store and its workers are set up right, for `claimcheck doctor`.

    for finding in examine(queue="https://sqs...", function="orders-worker"):
        print(finding.level, finding.name, finding.detail, finding.command)

It changes nothing, and receives no message. With `round_trip` it writes three claims to the store,
opens and completes them; even then it leaves the queue alone, as workers would get the messages.
"""

from claimcheck.doctor.findings import Finding, Level
from claimcheck.doctor.run import examine

__all__ = ["Finding", "Level", "examine"]
