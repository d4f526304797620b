"""The tables."""

import django.db.models.constraints
import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='CircuitBreaker',
            fields=[
                ('symbol', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('state', models.CharField(default='CLOSED', max_length=10)),
            ],
            options={
                'db_table': 'circuit_breaker_state',
            },
        ),
        migrations.CreateModel(
            name='Client',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=255, unique=True)),
                ('balance', models.DecimalField(decimal_places=8, default=0, max_digits=20)),
                ('config', models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name='Operation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('symbol', models.CharField(max_length=20)),
                ('status', models.CharField(default='PLANNED', max_length=20)),
                ('quantity', models.DecimalField(decimal_places=8, max_digits=20)),
                ('stop_price', models.DecimalField(decimal_places=8, max_digits=20, null=True)),
                ('stop_check_count', models.IntegerField(db_default=0, default=0)),
                ('opened_at', models.DateTimeField()),
                ('client', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='trading.client')),
            ],
        ),
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.IntegerField()),
                ('timestamp', models.DateTimeField()),
                ('operation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='orders', to='trading.operation')),
            ],
            options={
                'db_table': 'order',
            },
        ),
        migrations.CreateModel(
            name='Outbox',
            fields=[
                ('outbox_id', models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ('correlation_id', models.CharField(max_length=64, unique=True)),
                ('published', models.BooleanField(default=False)),
            ],
            options={
                'db_table': 'outbox',
                'indexes': [models.Index(condition=models.Q(('published', False)), fields=['correlation_id'], name='idx_outbox_unpublished')],
            },
        ),
        migrations.CreateModel(
            name='PatternInstance',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('pattern', models.CharField(max_length=50)),
                ('timeframe', models.CharField(max_length=10)),
                ('start_ts', models.DateTimeField()),
                ('client', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, to='trading.client')),
            ],
        ),
        migrations.CreateModel(
            name='StopEvent',
            fields=[
                ('event_id', models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ('event_seq', models.BigIntegerField(null=True, unique=True)),
                ('payload_json', models.JSONField()),
                ('occurred_at', models.DateTimeField()),
                ('operation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='trading.operation')),
            ],
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(condition=models.Q(('status', 'ACTIVE'), ('stop_price__isnull', False)), fields=['status'], name='idx_operation_status_stop'),
        ),
        migrations.AddConstraint(
            model_name='operation',
            constraint=models.CheckConstraint(condition=models.Q(('quantity__gt', 0)), name='operation_has_quantity'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.UniqueConstraint(deferrable=django.db.models.constraints.Deferrable['DEFERRED'], fields=('operation', 'position'), name='order_position'),
        ),
        migrations.AddConstraint(
            model_name='patterninstance',
            constraint=models.UniqueConstraint(fields=('client', 'pattern', 'timeframe', 'start_ts'), name='pattern_seen_once', nulls_distinct=False),
        ),
    ]
