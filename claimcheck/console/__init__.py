"""Adds to `letsgo-queue console`: it opens sealed bodies, and shows claims and the audit."""
