"""One session of everything an application does with asyncpg. usage: session.py URL"""

import asyncio
import datetime
import decimal
import io
import sys
import time
import uuid

import asyncpg

URL = sys.argv[1]


def connect():
    return asyncpg.connect(URL, timeout=20)


def expect(what, actual, wanted):
    if actual != wanted:
        sys.exit(f"{what}: {actual!r} instead of {wanted!r}")


async def expect_error(what, error, call):
    try:
        await call
    except error:
        return
    sys.exit(f"{what}: no {error.__name__}")


async def prepare_tables(db, other):
    await db.execute("DROP SCHEMA IF EXISTS drv_asyncpg CASCADE")
    await db.execute("CREATE SCHEMA drv_asyncpg")
    await db.execute("CREATE TABLE drv_asyncpg.item (id int PRIMARY KEY, name text, price numeric)")


async def reads_repeat_and_see_writes(db, other):
    select = "SELECT name, price FROM drv_asyncpg.item WHERE id = $1"
    await db.execute("INSERT INTO drv_asyncpg.item VALUES (1, 'tea', 3.50), (2, 'cup', 8)")
    for number in range(5):
        price = decimal.Decimal(number) + decimal.Decimal("0.25")
        await db.execute("UPDATE drv_asyncpg.item SET price = $1 WHERE id = 1", price)
        for reader in (db, other, db, other, other):
            # All rows, and one: the driver asks for the latter with a row limit.
            expect("a read after a write", [tuple(row) for row in await reader.fetch(select, 1)], [("tea", price)])
            expect("one row after a write", tuple(await reader.fetchrow(select, 1)), ("tea", price))
        expect("the other row", await other.fetchval(select, 2, column=0), "cup")
        expect("no row", await other.fetchrow(select, 3), None)
        # The simple protocol, too.
        expect("a simple query", await other.execute("SELECT name FROM drv_asyncpg.item"), "SELECT 2")


async def one_row_of_many(db, other):
    select = "SELECT id FROM drv_asyncpg.item ORDER BY id"
    for _ in range(3):
        expect("the first of many", await db.fetchval(select), 1)
        expect("all of them", [row[0] for row in await other.fetch(select)], [1, 2])
    async with db.transaction():
        expect("the first of many in a transaction", await db.fetchval(select), 1)
        expect("all of them in a transaction", len(await db.fetch(select)), 2)


async def transactions(db, other):
    count = "SELECT count(*) FROM drv_asyncpg.item"
    before = await other.fetchval(count)
    async with db.transaction():
        await db.execute("INSERT INTO drv_asyncpg.item VALUES (10, 'pot', 20)")
        expect("own write in the transaction", await db.fetchval(count), before + 1)
        expect("not committed", await other.fetchval(count), before)
    expect("committed", await other.fetchval(count), before + 1)

    transaction = db.transaction()
    await transaction.start()
    await db.execute("DELETE FROM drv_asyncpg.item")
    expect("own delete", await db.fetchval(count), 0)
    await transaction.rollback()
    expect("rolled back", await db.fetchval(count), before + 1)

    async with db.transaction():
        await db.execute("INSERT INTO drv_asyncpg.item VALUES (11, 'jug', 9)")
        savepoint = db.transaction()
        await savepoint.start()
        await db.execute("INSERT INTO drv_asyncpg.item VALUES (12, 'pan', 9)")
        await savepoint.rollback()
        expect("back to the savepoint", await db.fetchval(count), before + 2)
    expect("the outer transaction", await other.fetchval(count), before + 2)

    async with db.transaction(isolation="repeatable_read", readonly=True):
        expect("a snapshot", await db.fetchval(count), before + 2)
        await other.execute("INSERT INTO drv_asyncpg.item VALUES (13, 'lid', 1)")
        expect("the same snapshot", await db.fetchval(count), before + 2)
    expect("a new snapshot", await db.fetchval(count), before + 3)


async def prepared_statements(db, other):
    statement = await db.prepare("SELECT $1::int * 2 AS double")
    expect("a description", statement.get_attributes()[0].name, "double")
    for number in range(20):
        expect("a prepared statement", await statement.fetchval(number), number * 2)
    for number in range(300):
        query = f"SELECT {number} + $1::int"
        for _ in range(2):
            expect("one of many", await db.fetchval(query, 1), number + 1)
    await db.executemany(
        "INSERT INTO drv_asyncpg.item VALUES ($1, $2)", [(100 + at, "many") for at in range(50)]
    )
    expect("executemany", await other.fetchval("SELECT count(*) FROM drv_asyncpg.item WHERE name = 'many'"), 50)


async def cursors(db, other):
    async with db.transaction():
        # Reads a portal in parts, with Execute's row limit.
        rows = [row[0] async for row in db.cursor("SELECT generate_series(1, 100)", prefetch=7)]
        expect("a cursor", rows, list(range(1, 101)))


async def copy(db, other):
    await db.execute("CREATE TABLE drv_asyncpg.bulk (id int, name text)")
    rows = [(number, f"row {number}\twith a tab") for number in range(1000)]
    await db.copy_records_to_table("bulk", schema_name="drv_asyncpg", records=rows)
    out = io.BytesIO()
    await other.copy_from_query("SELECT * FROM drv_asyncpg.bulk ORDER BY id", output=out, format="csv")
    lines = out.getvalue().decode().splitlines()
    expect("COPY out", lines, [f"{number},{name}" for number, name in rows])

    async def half():
        yield b"1,half\n"
        raise LookupError

    given_up = db.copy_to_table("bulk", schema_name="drv_asyncpg", source=half(), format="csv")
    await expect_error("COPY given up", LookupError, given_up)
    wrong = db.copy_to_table(
        "bulk", schema_name="drv_asyncpg", source=io.BytesIO(b"no number,x\n"), format="csv"
    )
    await expect_error("COPY of wrong data", asyncpg.DataError, wrong)
    expect("after COPY", await db.fetchval("SELECT count(*) FROM drv_asyncpg.bulk"), 1000)


async def errors(db, other):
    await expect_error("syntax", asyncpg.PostgresSyntaxError, db.fetch("SELEC 1"))
    duplicate = "INSERT INTO drv_asyncpg.item VALUES ($1, 'again', 0)"
    await expect_error("unique", asyncpg.UniqueViolationError, db.execute(duplicate, 1))
    expect("after errors", await db.fetchval("SELECT 1"), 1)
    transaction = db.transaction()
    await transaction.start()
    await expect_error("unique", asyncpg.UniqueViolationError, db.execute(duplicate, 1))
    await expect_error("a failed transaction", asyncpg.InFailedSQLTransactionError, db.fetch("SELECT 1"))
    await transaction.rollback()
    expect("after the rollback", await db.fetchval("SELECT 1"), 1)


async def cancel_and_timeouts(db, other):
    begin = time.monotonic()
    # asyncpg cancels on the server what its own timeout gives up.
    await expect_error("cancel", asyncio.TimeoutError, db.fetch("SELECT pg_sleep(30)", timeout=0.5))
    expect("after the cancel", await db.fetchval("SELECT 1"), 1)
    expect("cancelled early", time.monotonic() - begin < 15, True)
    left = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(30)'"
    expect("nothing goes on", await other.fetchval(left), 0)

    await db.execute("SET statement_timeout = '100ms'")
    await expect_error("timeout", asyncpg.QueryCanceledError, db.fetch("SELECT pg_sleep(30)"))
    expect("the setting stays", await db.fetchval("SHOW statement_timeout"), "100ms")
    await db.execute("RESET statement_timeout")
    expect("the setting goes", await db.fetchval("SHOW statement_timeout"), "0")


async def notices_and_notifications(db, other):
    heard = []
    db.add_log_listener(lambda _, message: heard.append(message.message))
    await db.execute("DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$")
    # The driver calls its listeners a moment later.
    await asyncio.sleep(0)
    expect("a notice", heard, ["hear, hear"])

    payloads = asyncio.Queue()
    await db.add_listener("drv_asyncpg", lambda *event: payloads.put_nowait(event[3]))
    await other.execute("NOTIFY drv_asyncpg, 'first'")
    await other.fetch("SELECT pg_notify('drv_asyncpg', 'second')")
    for wanted in ("first", "second"):
        expect("a notification", await asyncio.wait_for(payloads.get(), 20), wanted)
    await db.reset()


async def types(db, other):
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
        ("jsonb", '{"a": [1, null, "ü"]}'),
        ("int4[]", [1, None, 3]),
        ("text[]", ["a,b", '"', "", None]),
        ("int4range", asyncpg.Range(1, 5)),
        ("text", None),
    ]
    columns = ", ".join(f"c{at} {type_}" for at, (type_, _) in enumerate(values))
    await db.execute(f"CREATE TABLE drv_asyncpg.type ({columns})")
    marks = ", ".join(f"${at + 1}" for at in range(len(values)))
    wanted = tuple(value for _, value in values)
    await db.execute(f"INSERT INTO drv_asyncpg.type VALUES ({marks})", *wanted)
    for reader in (db, other, db, other):
        expect("types", tuple(await reader.fetchrow("SELECT * FROM drv_asyncpg.type")), wanted)


async def pools():
    async with asyncpg.create_pool(URL, min_size=8, max_size=8) as pool:
        # Every acquisition ends with the driver's reset of the session.
        async def work(number):
            async with pool.acquire() as db:
                return await db.fetchval("SELECT $1::int + 1", number)

        expect("a pool", await asyncio.gather(*map(work, range(100))), list(range(1, 101)))


async def main():
    db, other = await connect(), await connect()
    for session in (
        prepare_tables,
        reads_repeat_and_see_writes,
        one_row_of_many,
        transactions,
        prepared_statements,
        cursors,
        copy,
        errors,
        cancel_and_timeouts,
        notices_and_notifications,
        types,
    ):
        await session(db, other)
        print("ok", session.__name__, flush=True)
    await db.close()
    await other.close()
    await pools()
    print("ok pools")


asyncio.run(asyncio.wait_for(main(), 120))
