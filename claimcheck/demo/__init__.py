"""The demo: real messages of every size, from enqueue to a worker and out of the store again."""
