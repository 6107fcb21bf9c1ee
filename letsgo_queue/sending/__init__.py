"""Sending: the client, one message's way to the queue, and that of many."""
