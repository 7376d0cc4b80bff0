"""One session of everything an application does with psycopg 3. usage: session.py URL"""

import datetime
import decimal
import sys
import threading
import time
import uuid

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

URL = sys.argv[1]


def connect(**options):
    return psycopg.connect(URL, connect_timeout=20, **options)


def expect(what, actual, wanted):
    if actual != wanted:
        sys.exit(f"{what}: {actual!r} instead of {wanted!r}")


def expect_error(what, error, call):
    try:
        call()
    except error:
        return
    sys.exit(f"{what}: no {error.__name__}")


def prepare_tables():
    with connect(autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS drv_psycopg CASCADE")
        db.execute("CREATE SCHEMA drv_psycopg")
        db.execute("CREATE TABLE drv_psycopg.item (id int PRIMARY KEY, name text, price numeric)")


def reads_repeat_and_see_writes():
    select = "SELECT name, price FROM drv_psycopg.item WHERE id = %s"
    with connect(autocommit=True) as db, connect(autocommit=True) as other:
        db.execute("INSERT INTO drv_psycopg.item VALUES (1, 'tea', 3.50), (2, 'cup', 8)")
        for round_ in range(5):
            price = decimal.Decimal(round_) + decimal.Decimal("0.25")
            db.execute("UPDATE drv_psycopg.item SET price = %s WHERE id = 1", [price])
            for reader in (db, other, db, other, other):
                expect("a read after a write", reader.execute(select, [1]).fetchone(), ("tea", price))
            # Another parameter is another answer.
            expect("the other row", other.execute(select, [2]).fetchone(), ("cup", decimal.Decimal(8)))
            expect("no row", other.execute(select, [3]).fetchone(), None)


def transactions():
    count = "SELECT count(*) FROM drv_psycopg.item"
    with connect() as db, connect(autocommit=True) as other:
        before = other.execute(count).fetchone()[0]
        db.execute("INSERT INTO drv_psycopg.item VALUES (10, 'pot', 20)")
        expect("own write in the transaction", db.execute(count).fetchone()[0], before + 1)
        expect("not committed", other.execute(count).fetchone()[0], before)
        db.commit()
        expect("committed", other.execute(count).fetchone()[0], before + 1)

        db.execute("DELETE FROM drv_psycopg.item")
        expect("own delete", db.execute(count).fetchone()[0], 0)
        db.rollback()
        expect("rolled back", db.execute(count).fetchone()[0], before + 1)
        db.rollback()

        with db.transaction():
            db.execute("INSERT INTO drv_psycopg.item VALUES (11, 'jug', 9)")
            try:
                with db.transaction():
                    db.execute("INSERT INTO drv_psycopg.item VALUES (12, 'pan', 9)")
                    raise LookupError
            except LookupError:
                pass
            expect("back to the savepoint", db.execute(count).fetchone()[0], before + 2)
        expect("the outer transaction", other.execute(count).fetchone()[0], before + 2)

        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        expect("a snapshot", db.execute(count).fetchone()[0], before + 2)
        other.execute("INSERT INTO drv_psycopg.item VALUES (13, 'lid', 1)")
        expect("the same snapshot", db.execute(count).fetchone()[0], before + 2)
        db.commit()
        expect("a new snapshot", db.execute(count).fetchone()[0], before + 3)
        db.commit()


def prepared_statements():
    with connect(autocommit=True) as db:
        for number in range(20):
            row = db.execute("SELECT %s::int * 2", [number], prepare=True).fetchone()
            expect("a prepared statement", row, (number * 2,))
        # Enough different ones that the driver closes the oldest.
        db.prepared_max = 5
        for number in range(20):
            query = sql.SQL("SELECT {} + %s::int").format(sql.Literal(number))
            for _ in range(2):
                row = db.execute(query, [1], prepare=True).fetchone()
                expect("one of many prepared statements", row, (number + 1,))
        with connect(autocommit=True) as other:
            other.execute("ALTER TABLE drv_psycopg.item ADD COLUMN note text DEFAULT 'none'")
        row = db.execute("SELECT note FROM drv_psycopg.item WHERE id = %s", [1], prepare=True).fetchone()
        expect("a new column", row, ("none",))


def pipelines():
    with connect(autocommit=True) as db:
        with db.pipeline():
            cursors = [db.execute("SELECT %s::int", [number]) for number in range(10)]
            expect("a pipeline", [cursor.fetchone()[0] for cursor in cursors], list(range(10)))
        try:
            with db.pipeline() as pipeline:
                db.execute("SELECT 1")
                db.execute("SELECT 1 / %s::int", [0])
                pipeline.sync()
        except psycopg.errors.DivisionByZero:
            pass
        else:
            sys.exit("an error in a pipeline is lost")
        expect("after the pipeline", db.execute("SELECT 1").fetchone(), (1,))


def copy():
    with connect() as db:
        rows = [(number, f"row {number}\twith a tab") for number in range(1000)]
        db.execute("CREATE TABLE drv_psycopg.bulk (id int, name text)")
        with db.cursor().copy("COPY drv_psycopg.bulk FROM STDIN") as stream:
            for row in rows:
                stream.write_row(row)
        db.commit()
        with db.cursor().copy("COPY drv_psycopg.bulk (id, name) FROM STDIN (FORMAT binary)") as stream:
            stream.set_types(["int4", "text"])
            stream.write_row((1000, "binary"))
        db.commit()
        with db.cursor().copy("COPY (SELECT * FROM drv_psycopg.bulk ORDER BY id) TO STDOUT") as stream:
            stream.set_types(["int4", "text"])
            expect("COPY out", list(stream.rows()), rows + [(1000, "binary")])
        db.commit()

        def give_up():
            with db.cursor().copy("COPY drv_psycopg.bulk FROM STDIN") as stream:
                stream.write_row((1, "half"))
                raise LookupError

        expect_error("COPY given up", LookupError, give_up)
        db.rollback()

        def wrong_data():
            with db.cursor().copy("COPY drv_psycopg.bulk FROM STDIN") as stream:
                stream.write("no number\n")

        expect_error("COPY of wrong data", psycopg.errors.DataError, wrong_data)
        db.rollback()
        expect("after COPY", db.execute("SELECT count(*) FROM drv_psycopg.bulk").fetchone(), (1001,))


def errors():
    with connect(autocommit=True) as db:
        expect_error("syntax", psycopg.errors.SyntaxError, lambda: db.execute("SELEC 1"))
        duplicate = "INSERT INTO drv_psycopg.item VALUES (1, 'again', 0)"
        expect_error("unique", psycopg.errors.UniqueViolation, lambda: db.execute(duplicate))
        expect("after errors", db.execute("SELECT 1").fetchone(), (1,))
    with connect() as db:
        expect_error("unique", psycopg.errors.UniqueViolation, lambda: db.execute(duplicate))
        failed = psycopg.errors.InFailedSqlTransaction
        expect_error("a failed transaction", failed, lambda: db.execute("SELECT 1"))
        db.rollback()
        expect("after the rollback", db.execute("SELECT 1").fetchone(), (1,))


def cancel_and_timeouts():
    with connect(autocommit=True) as db:
        timer = threading.Timer(0.5, db.cancel_safe)
        timer.start()
        begin = time.monotonic()
        sleep = "SELECT pg_sleep(30)"
        expect_error("cancel", psycopg.errors.QueryCanceled, lambda: db.execute(sleep))
        expect("cancelled early", time.monotonic() - begin < 15, True)
        timer.join()
        expect("after the cancel", db.execute("SELECT 1").fetchone(), (1,))

        db.execute("SET statement_timeout = '100ms'")
        expect_error("timeout", psycopg.errors.QueryCanceled, lambda: db.execute(sleep))
        expect("the setting stays", db.execute("SHOW statement_timeout").fetchone(), ("100ms",))
        db.execute("RESET statement_timeout")
        expect("the setting goes", db.execute("SHOW statement_timeout").fetchone(), ("0",))


def notices_and_notifications():
    with connect(autocommit=True) as db, connect(autocommit=True) as other:
        heard = []
        db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        db.execute("DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$")
        expect("a notice", heard, ["hear, hear"])

        db.execute("LISTEN drv_psycopg")
        other.execute("NOTIFY drv_psycopg, 'first'")
        other.execute("SELECT pg_notify('drv_psycopg', 'second')")
        payloads = [notify.payload for notify in db.notifies(timeout=20, stop_after=2)]
        expect("notifications", payloads, ["first", "second"])
        db.execute("UNLISTEN *")


def types():
    utc = datetime.timezone.utc
    values = [
        ("int2", -7),
        ("int4", 2**31 - 1),
        ("int8", -(2**63)),
        ("float8", 0.1),
        ("numeric", decimal.Decimal("12345678901234567890.0123456789")),
        ("bool", True),
        ("text", "grüße, 世界 🐘 'quoted' \\ back"),
        ("bytea", bytes(range(256))),
        ("date", datetime.date(2024, 2, 29)),
        ("timestamp", datetime.datetime(1999, 12, 31, 23, 59, 59, 999999)),
        ("timestamptz", datetime.datetime(2024, 3, 31, 1, 30, tzinfo=utc)),
        ("interval", datetime.timedelta(days=3, seconds=7, microseconds=9)),
        ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        ("jsonb", {"a": [1, None, "ü"]}),
        ("int4[]", [1, None, 3]),
        ("text[]", ["a,b", '"', "", None]),
        ("text", None),
    ]
    with connect(autocommit=True) as db:
        db.execute("SET TIME ZONE 'UTC'")
        columns = ", ".join(f"c{at} {type_}" for at, (type_, _) in enumerate(values))
        db.execute(f"CREATE TABLE drv_psycopg.type ({columns})")
        marks = ", ".join(["%b"] * len(values))
        parameters = [Jsonb(value) if type_ == "jsonb" else value for type_, value in values]
        db.execute(f"INSERT INTO drv_psycopg.type VALUES ({marks})", parameters)
        wanted = tuple(value for _, value in values)
        for binary in (False, True, False, True):
            for _ in range(3):
                row = db.execute("SELECT * FROM drv_psycopg.type", binary=binary).fetchone()
                expect(f"types, binary={binary}", row, wanted)
        with connect(autocommit=True) as other:
            other.execute("SET TIME ZONE 'Asia/Kolkata'")
            select = "SELECT c10::text FROM drv_psycopg.type"
            expect("UTC", db.execute(select).fetchone(), ("2024-03-31 01:30:00+00",))
            expect("Kolkata", other.execute(select).fetchone(), ("2024-03-31 07:00:00+05:30",))


def server_cursors():
    with connect() as db:
        with db.cursor("named") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT generate_series(1, 100)")
            expect("a server-side cursor", [row[0] for row in cursor], list(range(1, 101)))


for session in (
    prepare_tables,
    reads_repeat_and_see_writes,
    transactions,
    prepared_statements,
    pipelines,
    copy,
    errors,
    cancel_and_timeouts,
    notices_and_notifications,
    types,
    server_cursors,
):
    session()
    print("ok", session.__name__, flush=True)
