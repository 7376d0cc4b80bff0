//! What writes to temporary tables run, and what their names mean when the tables are gone.

use super::House;

const SCHEMA: &str = "
    CREATE TABLE t (x int); CREATE TABLE log (x int); CREATE SEQUENCE s;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN NEW; END';
    CREATE FUNCTION noted(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES ($1); RETURN $1; END';
    CREATE FUNCTION noted() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN 1; END';
    CREATE DOMAIN loud AS int CHECK (noted(VALUE) > 0);
    CREATE TABLE by_default (x int DEFAULT noted(), y int);
    CREATE TABLE by_check (x int CHECK (noted(x) > 0));
    CREATE TABLE by_domain (x loud);
";

#[test]
fn what_is_attached_to_a_temporary_table_is_known_to_run() {
    let house = House::new(SCHEMA);
    let mut reader = house.pair();
    let read = "SELECT count(*) FROM log";
    for (make, write) in [
        (
            &[
                "CREATE TEMP TABLE m (x int)",
                "CREATE TRIGGER n AFTER INSERT ON m FOR EACH ROW EXECUTE FUNCTION note()",
            ][..],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &[
                "CREATE TEMP TABLE m (x int)",
                "CREATE RULE r AS ON INSERT TO m DO INSTEAD INSERT INTO log VALUES (NEW.x)",
            ],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m (x int DEFAULT noted(), y int)"],
            "INSERT INTO m (y) VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m (x int DEFAULT 1 + noted(), y int)"],
            "INSERT INTO m (y) VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m (x int CHECK (noted(x) > 0))"],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m (x loud)"],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m AS SELECT 1::loud AS x"],
            "UPDATE m SET x = 2",
        ),
        (&["SELECT 1::loud AS x INTO TEMP m"], "UPDATE m SET x = 2"),
        (
            &["CREATE TEMP TABLE m (LIKE by_default INCLUDING DEFAULTS)"],
            "INSERT INTO m (y) VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m (LIKE by_check INCLUDING ALL)"],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &["CREATE TEMP TABLE m (LIKE by_domain)"],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &[
                "CREATE TEMP TABLE m (y int)",
                "ALTER TABLE m ADD x int DEFAULT noted()",
            ],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &[
                "CREATE TEMP TABLE a (x int)",
                "CREATE TEMP VIEW m AS SELECT * FROM log",
            ],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &[
                "CREATE TEMP TABLE m (x int)",
                "DO $$BEGIN DROP TABLE m; CREATE TEMP VIEW m AS SELECT * FROM log; END$$",
            ],
            "INSERT INTO m VALUES (1)",
        ),
        (
            &[
                "CREATE TEMP TABLE m (x int)",
                "CREATE TABLE child (y int) INHERITS (log)",
            ],
            "WITH w AS (INSERT INTO m VALUES (1) RETURNING x) INSERT INTO child SELECT x FROM w",
        ),
    ] {
        for way in ["autocommit", "transaction", "read back"] {
            let mut writer = house.via();
            let mut told = |sql: &str| {
                let reply = writer.query(sql);
                assert_eq!(reply.error(), None, "{sql}: {reply:?}");
            };
            if way == "transaction" {
                told("BEGIN");
            }
            for sql in make {
                told(sql);
            }
            if way == "read back" {
                told("SET work_mem = '5MB'");
            }
            if way == "transaction" {
                // What the cache holds is looked at after the commit.
                told(write);
                reader.invalidates_by(read, |_| told("COMMIT"), &format!("{make:?} {write} {way}"));
            } else {
                reader.invalidates_by(read, |_| told(write), &format!("{make:?} {write} {way}"));
            }
            told("DISCARD TEMP; DROP TABLE IF EXISTS child");
            house.serves();
        }
    }
}

/// A session forgets slowly which temporary tables it has: what else has the name is written to as well.
#[test]
fn the_name_of_a_temporary_table_that_is_gone_means_what_it_meant_before() {
    let house = House::new(SCHEMA);
    let mut reader = house.pair();
    let read = "SELECT count(*) FROM t";
    let make = "CREATE TEMP TABLE t (x int)";
    for writes in [
        &["BEGIN", make, "ROLLBACK", "INSERT INTO t VALUES (1)"][..],
        &[
            "BEGIN",
            "SAVEPOINT s",
            make,
            "ROLLBACK TO s",
            "INSERT INTO t VALUES (1)",
            "COMMIT",
        ],
        &[
            "BEGIN",
            make,
            "DROP TABLE t",
            "INSERT INTO t VALUES (1)",
            "COMMIT",
        ],
        &[
            "BEGIN",
            make,
            "DROP TABLE pg_temp.t",
            "INSERT INTO public.t VALUES (1)",
            "COMMIT",
        ],
        &[make, "DROP TABLE t", "INSERT INTO t VALUES (1)"],
        &[
            make,
            "INSERT INTO t VALUES (5)",
            "DISCARD TEMP",
            "INSERT INTO t VALUES (1)",
        ],
        &[
            "PREPARE p AS INSERT INTO t VALUES (1)",
            "EXECUTE p",
            make,
            "EXECUTE p",
            "DISCARD ALL",
            "INSERT INTO t VALUES (1)",
        ],
        &[
            "BEGIN",
            make,
            "DROP TABLE t",
            "DROP TABLE t",
            "CREATE TABLE t (x int)",
            "INSERT INTO t SELECT 1 FROM generate_series(1, 50)",
            "COMMIT",
        ],
        &[
            "CREATE TEMP TABLE IF NOT EXISTS t (x int)",
            "DROP TABLE t",
            "TRUNCATE t",
        ],
    ] {
        let mut writer = house.via();
        reader.invalidates_by(
            read,
            |_| {
                for sql in writes {
                    let reply = writer.query(sql);
                    assert_eq!(reply.error(), None, "{sql}: {reply:?}");
                }
            },
            &format!("{writes:?}"),
        );
        house.serves();
    }
}

/// The table is nothing that anybody else could read; what its query changes is.
#[test]
fn what_the_query_of_a_temporary_table_changes_is_known() {
    let house = House::new(
        "CREATE TABLE log (n int PRIMARY KEY, v int); INSERT INTO log SELECT g, 1 FROM generate_series(1, 50) g;
         CREATE TABLE plain (n int); INSERT INTO plain VALUES (1)",
    );
    let mut reader = house.pair();
    let (all, other) = (
        "SELECT count(*), sum(v) FROM log",
        "SELECT count(*) FROM plain",
    );
    let mut writer = house.via();
    let prepared = writer
        .query("PREPARE p AS WITH q AS (DELETE FROM log WHERE n = 40 RETURNING *) SELECT * FROM q");
    assert_eq!(prepared.error(), None, "{prepared:?}");
    for (sql, exact) in [
        (
            "CREATE TEMP TABLE a AS WITH q AS (DELETE FROM log WHERE n = 2 RETURNING *) SELECT * FROM q",
            true,
        ),
        (
            "CREATE TEMP TABLE b AS WITH q AS (UPDATE log SET v = v + 1 WHERE n = 1 RETURNING 1) SELECT * FROM q",
            true,
        ),
        (
            "CREATE TEMP TABLE c AS WITH q AS (INSERT INTO log VALUES (99, 1) RETURNING 1) SELECT * FROM q",
            true,
        ),
        (
            "WITH q AS (UPDATE log SET v = v + 1 WHERE n = 1 RETURNING v) SELECT * INTO TEMP d FROM q",
            true,
        ),
        ("CREATE TEMP TABLE e AS EXECUTE p", false),
    ] {
        reader.becomes_hit(other);
        let write = |_: &mut super::Pair<'_>| {
            let reply = writer.query(sql);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
        };
        reader.invalidates_by(all, write, sql);
        if exact {
            reader.hit(other);
        }
    }
}

#[test]
fn a_temporary_view_that_calls_what_writes_is_known_to_write() {
    let house = House::new(
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE TABLE log (n int);
         CREATE FUNCTION w(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES ($1); RETURN true; END'",
    );
    let mut reader = house.pair();
    let read = "SELECT count(*) FROM log";
    let view = "CREATE TEMP VIEW tv AS SELECT w(1)";
    for (nth, sqls) in [
        &["SELECT * FROM tv"][..],
        &["TABLE tv"],
        &["SELECT count(*) FROM t, pg_temp.tv WHERE w"],
        &["EXPLAIN ANALYZE SELECT * FROM tv"],
        &[
            "BEGIN",
            "DECLARE c CURSOR FOR SELECT * FROM tv",
            "FETCH ALL FROM c",
            "COMMIT",
        ],
        &["CREATE TEMP TABLE z AS SELECT * FROM tv"],
        &[
            "DROP VIEW tv",
            "CREATE TEMP VIEW tv AS SELECT w(1); SELECT * FROM tv",
        ],
    ]
    .into_iter()
    .enumerate()
    {
        for in_one_transaction in [false, true] {
            if in_one_transaction && nth != 0 {
                continue;
            }
            let mut writer = house.via();
            let mut told = |sql: &str| {
                let reply = writer.query(sql);
                assert_eq!(reply.error(), None, "{sql}: {reply:?}");
            };
            if in_one_transaction {
                told("BEGIN");
            }
            told(view);
            reader.invalidates_by(
                read,
                |_| {
                    sqls.iter().for_each(|sql| told(sql));
                    if in_one_transaction {
                        told("COMMIT");
                    }
                },
                &format!("{sqls:?}"),
            );
        }
    }
}
