"""What a service takes for granted of its database."""

import os
import threading
from datetime import datetime, timezone
from decimal import Decimal

from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Count, F, Sum
from django.test import TestCase, TransactionTestCase

from .models import (
    CircuitBreaker,
    Client,
    Operation,
    Order,
    Outbox,
    PatternInstance,
    StopEvent,
)

NOON = datetime(2026, 2, 3, 12, 0, 0, 123456, tzinfo=timezone.utc)


def operation(client, **given):
    """An operation that may be saved."""
    given = {"symbol": "BTCUSDC", "quantity": Decimal("0.00000001"), "opened_at": NOON} | given
    return Operation(client=client, **given)


def index_is_valid(name):
    """Whether an index is there and used."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", [name])
        return cursor.fetchone()[0]


class Migrations(TestCase):
    """The schema is what the models say, in the schema `public`."""

    def test_models_and_migrations_agree(self):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)

    def test_every_index_is_valid(self):
        for name in ["idx_order_time", "idx_operation_status_stop", "idx_outbox_unpublished"]:
            self.assertTrue(index_is_valid(name), name)

    def test_tables_are_in_public(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_schema(), to_regclass('public.trading_client')::text")
            schema, table = cursor.fetchone()
        self.assertEqual(schema, "public")
        self.assertTrue(table.endswith("trading_client"), table)

    def test_keys_are_identities(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attidentity FROM pg_attribute"
                " WHERE attrelid = 'trading_client'::regclass AND attname = 'id'"
            )
            self.assertEqual(cursor.fetchone()[0], "d")

    def test_permissions_were_seeded(self):
        self.assertTrue(Permission.objects.filter(codename="add_operation").exists())


class Values(TestCase):
    """What is written is read."""

    def setUp(self):
        self.client_row = Client.objects.create(name="João da Silva", balance=Decimal("1.5"))

    def test_money_is_exact(self):
        amounts = [Decimal("0.1"), Decimal("0.2"), Decimal("123456789012.12345678")]
        for amount in amounts:
            operation(self.client_row, quantity=amount).save()
        total = Operation.objects.aggregate(total=Sum("quantity"))["total"]
        self.assertEqual(total, sum(amounts))
        Client.objects.update(balance=F("balance") - Decimal("0.00000001"))
        self.client_row.refresh_from_db()
        self.assertEqual(self.client_row.balance, Decimal("1.49999999"))

    def test_times_keep_their_microseconds(self):
        saved = operation(self.client_row)
        saved.save()
        saved.refresh_from_db()
        self.assertEqual(saved.opened_at, NOON)
        self.assertEqual(Operation.objects.filter(opened_at__date=NOON.date()).count(), 1)

    def test_a_default_of_the_database_is_used(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO trading_operation (client_id, symbol, status, quantity, opened_at)"
                " VALUES (%s, 'X', 'ACTIVE', 1, now()) RETURNING stop_check_count",
                [self.client_row.pk],
            )
            self.assertEqual(cursor.fetchone()[0], 0)

    def test_json_is_searched_and_changed(self):
        told = {"side": "SELL", "fills": [{"price": "1.10"}], "note": "posição encerrada"}
        saved = operation(self.client_row)
        saved.save()
        event = StopEvent.objects.create(operation=saved, payload_json=told, occurred_at=NOON)
        found = StopEvent.objects.filter(
            payload_json__side="SELL",
            payload_json__fills__contains=[{"price": "1.10"}],
            payload_json__has_key="note",
        )
        self.assertEqual(found.get().pk, event.pk)
        event.refresh_from_db()
        self.assertEqual(event.payload_json, told)

    def test_text_is_found_with_its_accents(self):
        self.assertTrue(Client.objects.filter(name__icontains="JOÃO").exists())
        self.assertTrue(Client.objects.filter(name__iregex=r"^jo.o\s").exists())
        self.assertFalse(Client.objects.filter(name__contains="Joao").exists())

    def test_keys_may_be_words_and_uuids(self):
        CircuitBreaker.objects.create(symbol="ETHUSDC")
        CircuitBreaker(symbol="ETHUSDC", state="OPEN").save()
        self.assertEqual(CircuitBreaker.objects.get(pk="ETHUSDC").state, "OPEN")
        outbox = Outbox.objects.create(correlation_id="one")
        self.assertEqual(Outbox.objects.get(pk=str(outbox.pk)).correlation_id, "one")

    def test_users_log_in(self):
        User.objects.create_user("operator", password="a long one")
        self.assertTrue(self.client.login(username="operator", password="a long one"))


class Queries(TestCase):
    """The ORM's harder questions."""

    def setUp(self):
        self.client_row = Client.objects.create(name="one")

    def test_rows_are_made_many_at_once_and_upserted(self):
        rows = [CircuitBreaker(symbol=f"S{number}") for number in range(500)]
        CircuitBreaker.objects.bulk_create(rows, batch_size=100)
        rows = [CircuitBreaker(symbol=f"S{number}", state="OPEN") for number in range(490, 510)]
        CircuitBreaker.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["symbol"], update_fields=["state"]
        )
        self.assertEqual(CircuitBreaker.objects.count(), 510)
        self.assertEqual(CircuitBreaker.objects.filter(state="OPEN").count(), 20)

    def test_counts_are_grouped_and_joined(self):
        first = operation(self.client_row)
        first.save()
        operation(self.client_row, symbol="ETHUSDC").save()
        for position in range(3):
            Order.objects.create(operation=first, position=position, timestamp=NOON)
        counted = Operation.objects.annotate(count=Count("orders")).order_by("symbol")
        self.assertEqual([row.count for row in counted], [3, 0])
        self.assertEqual(Client.objects.filter(operation__orders__position=2).count(), 1)

    def test_rows_are_read_through_a_cursor_of_the_server(self):
        Client.objects.bulk_create([Client(name=f"c{number}") for number in range(250)])
        read = Client.objects.order_by("pk").iterator(chunk_size=100)
        self.assertEqual(sum(1 for _ in read), 251)

    def test_order_and_pages_are_stable(self):
        Client.objects.bulk_create([Client(name=name) for name in ["b", "a", "c"]])
        names = Client.objects.order_by("name").values_list("name", flat=True)
        self.assertEqual(list(names[1:3]), ["b", "c"])


class Constraints(TransactionTestCase):
    """What must not be saved is not, and at the right moment."""

    def setUp(self):
        self.client_row = Client.objects.create(name="one")

    def test_nulls_are_not_distinct(self):
        seen = {"pattern": "HAMMER", "timeframe": "1h", "start_ts": NOON}
        PatternInstance.objects.create(client=None, **seen)
        with self.assertRaises(IntegrityError):
            PatternInstance.objects.create(client=None, **seen)

    def test_a_foreign_key_waits_for_the_commit(self):
        with transaction.atomic():
            late = operation(self.client_row, id=4711)
            Order.objects.create(operation_id=4711, position=1, timestamp=NOON)
            late.save(force_insert=True)
        self.assertEqual(late.orders.count(), 1)
        with self.assertRaises(IntegrityError), transaction.atomic():
            Order.objects.create(operation_id=-1, position=1, timestamp=NOON)
        self.assertEqual(Order.objects.count(), 1)

    def test_a_unique_key_waits_for_the_commit(self):
        saved = operation(self.client_row)
        saved.save()
        for position in [1, 2]:
            Order.objects.create(operation=saved, position=position, timestamp=NOON)
        with transaction.atomic():
            Order.objects.update(position=3 - F("position"))
        self.assertEqual(sorted(Order.objects.values_list("position", flat=True)), [1, 2])

    def test_a_check_is_kept(self):
        with self.assertRaises(IntegrityError):
            operation(self.client_row, quantity=0).save()


class Transactions(TransactionTestCase):
    """Several at once, all or nothing."""

    def setUp(self):
        self.client_row = Client.objects.create(name="one", balance=10)

    def elsewhere(self, work):
        """Runs something on a connection of its own and gives its result or its error."""
        found = []

        def run():
            try:
                found.append(work())
            except DatabaseError as error:
                found.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(timeout=30)
        return found[0]

    def test_a_savepoint_is_rolled_back_alone(self):
        with transaction.atomic():
            Client.objects.create(name="kept")
            with self.assertRaises(IntegrityError), transaction.atomic():
                Client.objects.create(name="one")
            Client.objects.create(name="kept too")
        self.assertEqual(Client.objects.count(), 3)

    def test_nothing_is_left_of_a_transaction_that_failed(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Client.objects.create(name="gone")
            1 / 0
        self.assertFalse(Client.objects.filter(name="gone").exists())

    def test_what_waits_for_the_commit_runs_after_it(self):
        told = []
        with transaction.atomic():
            transaction.on_commit(lambda: told.append(Client.objects.count()))
            Client.objects.create(name="two")
            self.assertEqual(told, [])
        self.assertEqual(told, [2])

    def test_a_locked_row_is_refused_or_passed_over(self):
        def nowait():
            with transaction.atomic():
                return Client.objects.select_for_update(nowait=True).get()

        def passed_over():
            with transaction.atomic():
                return list(Client.objects.select_for_update(skip_locked=True))

        with transaction.atomic():
            Client.objects.select_for_update().get()
            self.assertIsInstance(self.elsewhere(nowait), DatabaseError)
            self.assertEqual(self.elsewhere(passed_over), [])
        self.assertEqual(len(self.elsewhere(passed_over)), 1)

    def test_who_waits_for_a_row_sees_what_was_written(self):
        def withdraw():
            with transaction.atomic():
                row = Client.objects.select_for_update().get()
                row.balance -= 1
                row.save()
                return row.balance

        threads = [threading.Thread(target=self.elsewhere, args=[withdraw]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.client_row.refresh_from_db()
        self.assertEqual(self.client_row.balance, 6)

    def test_the_five_variables_name_the_database(self):
        self.assertEqual(connection.settings_dict["HOST"], os.environ["RBS_PG_HOST"])
        self.assertEqual(connection.settings_dict["USER"], os.environ["RBS_PG_USER"])
