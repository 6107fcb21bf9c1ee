"""LetsGo's local mode, both ends: messages are posted to a worker on this machine."""
