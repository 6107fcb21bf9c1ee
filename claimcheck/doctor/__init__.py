"""Whether a queue, its store and its workers are set up right: what `claimcheck doctor` says.

    for finding in examine(queue="https://sqs...", function="orders-worker"):
        print(finding.level, finding.name, finding.detail, finding.command)

Nothing is changed and no message is received. With `round_trip` three claims are written to the
store, opened and completed; the queue is left alone even then, as workers would get the messages.
"""

from claimcheck.doctor.findings import Finding, Level
from claimcheck.doctor.run import examine

__all__ = ["Finding", "Level", "examine"]
