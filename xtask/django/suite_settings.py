"""Settings of Django's own test-suite: two databases on one server."""

import os


def database(ending):
    """One of them, by the name that its tests use."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["RBS_PG_DATABASE"],
        "USER": os.environ["RBS_PG_USER"],
        "PASSWORD": os.environ["RBS_PG_PASSWORD"],
        "HOST": os.environ["RBS_PG_HOST"],
        "PORT": os.environ["RBS_PG_PORT"],
        "TEST": {"NAME": os.environ["XTASK_TEST_DATABASE"] + ending},
    }


DATABASES = {"default": database(""), "other": database("_other")}
# What the suite's own settings for SQLite say.
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
