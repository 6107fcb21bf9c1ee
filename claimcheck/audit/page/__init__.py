"""A report as one HTML page that loads nothing and sends nothing."""

from claimcheck.audit.page.document import page, policy

__all__ = ["page", "policy"]
