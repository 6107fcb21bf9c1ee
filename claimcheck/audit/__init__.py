"""The size audit: how large messages are, what travels, and what it costs.

In tests it is a pytest plugin, `pytest --claimcheck-audit`. In production it is a listener:

    from claimcheck.audit import SizeAudit

Every public name is here. A module is loaded when one of its names is first used, so importing the
package costs next to nothing.
"""

from typing import TYPE_CHECKING

from letsgo_queue.lazy import lazy_names

if TYPE_CHECKING:
    from claimcheck.audit.advice import Advice, advise
    from claimcheck.audit.recorder import SizeAudit
    from claimcheck.audit.report import AuditReport, Point, SizeStats, TypeReport
    from claimcheck.audit.settings import AuditSettings
    from claimcheck.core.cost import Place, Units, units_of, units_with_s3
    from claimcheck.core.prices import Prices
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "claimcheck.audit.advice": ("Advice", "advise"),
            "claimcheck.audit.recorder": ("SizeAudit",),
            "claimcheck.audit.report": ("AuditReport", "Point", "SizeStats", "TypeReport"),
            "claimcheck.audit.settings": ("AuditSettings",),
            "claimcheck.core.cost": ("Place", "Units", "units_of", "units_with_s3"),
            "claimcheck.core.prices": ("Prices",),
        },
    )

__all__ = [
    "Advice",
    "AuditReport",
    "AuditSettings",
    "Place",
    "Point",
    "Prices",
    "SizeAudit",
    "SizeStats",
    "TypeReport",
    "Units",
    "advise",
    "units_of",
    "units_with_s3",
]
