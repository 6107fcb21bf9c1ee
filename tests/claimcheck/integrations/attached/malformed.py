"""Arguments that botocore refuses, and that `attach` must leave to it."""

from __future__ import annotations

from typing import Any

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    *(
        (method, {"Entries": wrong})
        for method in (
            "send_message_batch",
            "delete_message_batch",
            "change_message_visibility_batch",
        )
        for wrong in (["text"], "text", 5, {"a": 1})
    ),
    ("receive_message", {"AttributeNames": 5}),
    ("receive_message", {"AttributeNames": "All"}),
    ("receive_message", {"MessageSystemAttributeNames": 5}),
]
"""Methods of a client, and what they are given beside the queue."""
