"""The claim check itself: it knows no queue client."""
