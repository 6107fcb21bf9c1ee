"""The size audit: what messages weigh, what travels, and what it costs.

In tests it is a pytest plugin, `pytest --claimcheck-audit`. In production it is a listener:

    from claimcheck.audit import SizeAudit

Everything public is here; the modules below are how it is made.
"""

from claimcheck.audit.cost import Prices, Units, units_of, units_with_s3
from claimcheck.audit.recorder import SizeAudit
from claimcheck.audit.report import AuditReport, Point, SizeStats, TypeReport
from claimcheck.audit.settings import AuditSettings

__all__ = [
    "AuditReport",
    "AuditSettings",
    "Point",
    "Prices",
    "SizeAudit",
    "SizeStats",
    "TypeReport",
    "Units",
    "units_of",
    "units_with_s3",
]
