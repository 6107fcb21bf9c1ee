"""The worker, and what it is made of."""

from letsgo_queue.worker.worker import Worker

__all__ = ["Worker"]
