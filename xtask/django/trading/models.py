"""What a trading service keeps: money to eight places, events, and an outbox."""

import uuid

from django.db import models
from django.db.models import Q


class Client(models.Model):
    """Whose money it is."""

    name = models.CharField(max_length=255, unique=True)
    balance = models.DecimalField(max_digits=20, decimal_places=8, default=0)
    config = models.JSONField(default=dict)


class Operation(models.Model):
    """One position, from its opening to its end."""

    client = models.ForeignKey(Client, on_delete=models.CASCADE)
    symbol = models.CharField(max_length=20)
    status = models.CharField(max_length=20, default="PLANNED")
    quantity = models.DecimalField(max_digits=20, decimal_places=8)
    stop_price = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    stop_check_count = models.IntegerField(default=0, db_default=0)
    opened_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["status"],
                name="idx_operation_status_stop",
                condition=Q(status="ACTIVE") & Q(stop_price__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gt=0), name="operation_has_quantity"),
        ]


class Order(models.Model):
    """Its name is a word of SQL, also as a table."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="orders")
    position = models.IntegerField()
    timestamp = models.DateTimeField()

    class Meta:
        db_table = "order"
        constraints = [
            models.UniqueConstraint(
                fields=["operation", "position"],
                name="order_position",
                deferrable=models.Deferrable.DEFERRED,
            ),
        ]


class PatternInstance(models.Model):
    """A pattern is seen once, also where it is nobody's."""

    client = models.ForeignKey(Client, on_delete=models.CASCADE, null=True)
    pattern = models.CharField(max_length=50)
    timeframe = models.CharField(max_length=10)
    start_ts = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["client", "pattern", "timeframe", "start_ts"],
                name="pattern_seen_once",
                nulls_distinct=False,
            ),
        ]


class StopEvent(models.Model):
    """What happened to a stop, as it was told."""

    event_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    event_seq = models.BigIntegerField(unique=True, null=True)
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE)
    payload_json = models.JSONField()
    occurred_at = models.DateTimeField()


class Outbox(models.Model):
    """What is still to be told to others."""

    outbox_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    correlation_id = models.CharField(max_length=64, unique=True)
    published = models.BooleanField(default=False)

    class Meta:
        db_table = "outbox"
        indexes = [
            models.Index(
                fields=["correlation_id"], name="idx_outbox_unpublished", condition=Q(published=False)
            ),
        ]


class CircuitBreaker(models.Model):
    """One row a symbol, named by it."""

    symbol = models.CharField(max_length=20, primary_key=True)
    state = models.CharField(max_length=10, default="CLOSED")

    class Meta:
        db_table = "circuit_breaker_state"
