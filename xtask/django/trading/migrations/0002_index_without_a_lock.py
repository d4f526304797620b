"""An index that is built beside the writers, as it is on a live database."""

from django.db import migrations


class Migration(migrations.Migration):
    """Outside a transaction, because PostgreSQL wants it so."""

    atomic = False
    dependencies = [("trading", "0001_initial")]
    operations = [
        migrations.RunSQL(
            'CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_order_time ON "order" ("timestamp" DESC)',
            "DROP INDEX CONCURRENTLY IF EXISTS idx_order_time",
        ),
    ]
