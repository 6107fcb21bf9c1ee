"""The console: queues and their messages in a browser, from one process on loopback.

    letsgo-queue console --queue sqlite:///work.db

It needs the extra `console`. What it shows of claims comes from `claimcheck`, by an entry point of
the group `letsgo_queue.console`: see `extension.py`.
"""
