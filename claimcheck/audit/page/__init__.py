"""A report as one HTML page that loads nothing and sends nothing."""

from claimcheck.audit.page.document import page

__all__ = ["page"]
