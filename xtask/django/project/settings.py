"""A service that knows its database by five variables and nothing else."""

import os

SECRET_KEY = "no secret is made with it"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "trading",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["RBS_PG_DATABASE"],
        "USER": os.environ["RBS_PG_USER"],
        "PASSWORD": os.environ["RBS_PG_PASSWORD"],
        "HOST": os.environ["RBS_PG_HOST"],
        "PORT": os.environ["RBS_PG_PORT"],
        "TEST": {"NAME": os.environ["XTASK_TEST_DATABASE"]},
    },
}
