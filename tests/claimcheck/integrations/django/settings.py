"""The settings of the project in these tests. What a process needs comes by the environment."""

from __future__ import annotations

import json
import os

SECRET_KEY = "tests"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "claimcheck.integrations.django",
    "tests.claimcheck.integrations.django",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", ":memory:"),
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": os.environ.get("SHOP_CACHE", "/nonexistent"),
    }
}
TASKS = {
    "default": {
        "BACKEND": "claimcheck.integrations.django.SqsBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": json.loads(
            os.environ.get(
                "SHOP_OPTIONS", '{"urls": {"default": "memory://d", "mail": "memory://m"}}'
            )
        ),
    }
}
