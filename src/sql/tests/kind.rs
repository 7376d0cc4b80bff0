use crate::sql::kind::classify;
use crate::sql::quiet::evaluates_nothing;
use crate::sql::{Isolation, Kind};

fn begin(isolation: Option<Isolation>, read_only: Option<bool>, deferrable: bool) -> Kind {
    Kind::Begin {
        isolation,
        read_only,
        deferrable,
    }
}

fn set(name: &str, local: bool) -> Kind {
    Kind::Set {
        name: name.to_owned(),
        local,
    }
}

fn check(rows: &[(&str, Kind)]) {
    for (sql, kind) in rows {
        assert_eq!(&classify(sql), kind, "{sql}");
    }
}

#[test]
fn queries_and_changes() {
    check(&[
        ("", Kind::Empty),
        (" -- nothing", Kind::Empty),
        (";", Kind::Empty),
        ("SELECT 1", Kind::Select),
        ("/* c */ select 1", Kind::Select),
        ("((SELECT 1) UNION SELECT 2)", Kind::Select),
        ("VALUES (1)", Kind::Select),
        ("TABLE t", Kind::Select),
        ("WITH a AS (SELECT 1) SELECT * FROM a", Kind::Select),
        (
            "WITH RECURSIVE a(x) AS MATERIALIZED (INSERT INTO t VALUES (1) RETURNING 1) TABLE a",
            Kind::Select,
        ),
        ("WITH a AS (SELECT 1) (SELECT * FROM a)", Kind::Select),
        (
            "WITH a AS (SELECT 1), b AS (SELECT 2) INSERT INTO t SELECT * FROM a",
            Kind::Insert,
        ),
        ("WITH a AS (SELECT 1) UPDATE t SET x = 1", Kind::Update),
        ("WITH a AS (SELECT 1) DELETE FROM t", Kind::Delete),
        (
            "WITH a AS (SELECT 1) MERGE INTO t USING a ON true WHEN MATCHED THEN DELETE",
            Kind::Merge,
        ),
        ("INSERT INTO t VALUES (1)", Kind::Insert),
        ("update only t set a = 1", Kind::Update),
        ("Delete From t", Kind::Delete),
        (
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING",
            Kind::Merge,
        ),
        ("TRUNCATE a, b CASCADE", Kind::Truncate),
        ("COPY t FROM STDIN", Kind::CopyFrom),
        ("COPY BINARY s.t (a, b) FROM PROGRAM 'cat'", Kind::CopyFrom),
        ("COPY binary FROM STDIN", Kind::CopyFrom),
        ("COPY t TO STDOUT", Kind::CopyTo),
        (
            "COPY (SELECT * FROM t WHERE a IN (1)) TO STDOUT",
            Kind::CopyTo,
        ),
        ("CALL p(1)", Kind::Call),
        ("DO $$BEGIN END$$", Kind::Do),
        ("EXPLAIN SELECT 1", Kind::Explain { analyze: false }),
        ("EXPLAIN (SELECT 1)", Kind::Explain { analyze: false }),
        (
            "EXPLAIN ANALYZE VERBOSE DELETE FROM t",
            Kind::Explain { analyze: true },
        ),
        (
            "EXPLAIN (COSTS OFF, ANALYZE, BUFFERS) DELETE FROM t",
            Kind::Explain { analyze: true },
        ),
        (
            "EXPLAIN (ANALYZE false) DELETE FROM t",
            Kind::Explain { analyze: false },
        ),
        (
            "EXPLAIN (ANALYZE 'false') DELETE FROM t",
            Kind::Explain { analyze: true },
        ),
        ("LOCK TABLE t IN SHARE MODE", Kind::Lock),
        ("LISTEN c", Kind::Listen),
        ("UNLISTEN *", Kind::Unlisten),
        ("NOTIFY c, 'x'", Kind::Notify),
        ("LOAD 'auto_explain'", Kind::Load),
        ("nonsense", Kind::Unknown),
        ("\"select\" 1", Kind::Unknown),
        ("'select'", Kind::Unknown),
        ("(DELETE FROM t)", Kind::Unknown),
    ]);
}

#[test]
fn transaction_control() {
    use Isolation::*;
    check(&[
        ("BEGIN", begin(None, None, false)),
        ("begin work;", begin(None, None, false)),
        (
            "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
            begin(Some(Serializable), Some(true), true),
        ),
        (
            "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
            begin(Some(ReadCommitted), Some(false), false),
        ),
        (
            "BEGIN ISOLATION LEVEL REPEATABLE READ, NOT DEFERRABLE",
            begin(Some(RepeatableRead), None, false),
        ),
        ("BEGIN READ UNCOMMITTED", Kind::Unknown),
        (
            "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
            begin(Some(ReadUncommitted), None, false),
        ),
        ("BEGIN ,READ ONLY", Kind::Unknown),
        ("BEGIN nonsense", Kind::Unknown),
        ("START", Kind::Unknown),
        ("COMMIT", Kind::Commit { chain: false }),
        ("END TRANSACTION", Kind::Commit { chain: false }),
        ("COMMIT WORK AND CHAIN", Kind::Commit { chain: true }),
        ("COMMIT AND NO CHAIN", Kind::Commit { chain: false }),
        ("COMMIT AND", Kind::Unknown),
        ("ROLLBACK", Kind::Rollback { chain: false }),
        ("ABORT AND CHAIN", Kind::Rollback { chain: true }),
        ("ROLLBACK TO a", Kind::RollbackTo),
        ("ROLLBACK WORK TO SAVEPOINT \"A\"", Kind::RollbackTo),
        ("ROLLBACK TO savepoint", Kind::RollbackTo),
        ("SAVEPOINT a", Kind::Savepoint),
        ("RELEASE SAVEPOINT a", Kind::Release),
        ("RELEASE a", Kind::Release),
        (
            "PREPARE TRANSACTION 'it''s'",
            Kind::PrepareTransaction {
                gid: "it's".to_owned(),
            },
        ),
        (
            "COMMIT PREPARED 'x'",
            Kind::CommitPrepared { gid: "x".into() },
        ),
        ("ROLLBACK PREPARED E'x'", Kind::RollbackPrepared),
    ]);
}

#[test]
fn settings() {
    check(&[
        ("SET a = 1", set("a", false)),
        ("SET SESSION Search_Path TO a, b", set("search_path", false)),
        ("SET LOCAL \"TimeZone\" = 'UTC'", set("timezone", true)),
        ("SET app.user_id = '7'", set("app.user_id", false)),
        ("SET local.x = '7'", set("local.x", false)),
        ("SET session TO 1", set("session", false)),
        ("SET a FROM CURRENT", set("a", false)),
        ("SET TIME ZONE 'UTC'", set("timezone", false)),
        ("SET LOCAL TIME ZONE LOCAL", set("timezone", true)),
        ("SET NAMES 'utf8'", set("client_encoding", false)),
        ("SET ROLE x", set("role", false)),
        ("SET LOCAL ROLE NONE", set("role", true)),
        ("SET role = 'x'", set("role", false)),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            set("session_authorization", false),
        ),
        (
            "SET LOCAL SESSION AUTHORIZATION x",
            set("session_authorization", true),
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            set("session characteristics", false),
        ),
        ("SET XML OPTION DOCUMENT", set("xmloption", false)),
        ("SET SCHEMA 'x'", set("search_path", false)),
        ("SET SEED 0.5", set("seed", false)),
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            Kind::SetTransaction,
        ),
        ("SET LOCAL TRANSACTION READ ONLY", Kind::SetTransaction),
        ("SET CONSTRAINTS ALL DEFERRED", Kind::SetConstraints),
        ("SET nonsense", Kind::Unknown),
        ("RESET ALL", Kind::Reset { name: None }),
        (
            "RESET TIME ZONE",
            Kind::Reset {
                name: Some("timezone".to_owned()),
            },
        ),
        (
            "RESET SESSION AUTHORIZATION",
            Kind::Reset {
                name: Some("session_authorization".to_owned()),
            },
        ),
        (
            "RESET App.X",
            Kind::Reset {
                name: Some("app.x".to_owned()),
            },
        ),
        (
            "SHOW ALL",
            Kind::Show {
                name: "all".to_owned(),
            },
        ),
        (
            "SHOW TRANSACTION ISOLATION LEVEL",
            Kind::Show {
                name: "transaction_isolation".to_owned(),
            },
        ),
        (
            "SHOW pgditto.cache",
            Kind::Show {
                name: "pgditto.cache".to_owned(),
            },
        ),
        ("DISCARD ALL", Kind::DiscardAll),
        ("DISCARD TEMP", Kind::DiscardOther),
    ]);
}

#[test]
fn prepared_statements_and_cursors() {
    let name = |name: &str| name.to_owned();
    check(&[
        ("PREPARE p AS SELECT 1", Kind::Prepare { name: name("p") }),
        (
            "PREPARE \"P\"(int) AS SELECT $1",
            Kind::Prepare { name: name("P") },
        ),
        (
            "PREPARE transaction AS SELECT 1",
            Kind::Prepare {
                name: name("transaction"),
            },
        ),
        ("EXECUTE p(1)", Kind::Execute { name: name("p") }),
        (
            "DEALLOCATE p",
            Kind::Deallocate {
                name: Some(name("p")),
            },
        ),
        (
            "DEALLOCATE PREPARE p",
            Kind::Deallocate {
                name: Some(name("p")),
            },
        ),
        (
            "DEALLOCATE PREPARE",
            Kind::Deallocate {
                name: Some(name("prepare")),
            },
        ),
        ("DEALLOCATE ALL", Kind::Deallocate { name: None }),
        (
            "DEALLOCATE \"all\"",
            Kind::Deallocate {
                name: Some(name("all")),
            },
        ),
        (
            "DECLARE c CURSOR FOR SELECT 1",
            Kind::Declare { hold: false },
        ),
        (
            "DECLARE c BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
            Kind::Declare { hold: true },
        ),
        ("DECLARE c CURSOR", Kind::Unknown),
        ("FETCH 5 FROM c", Kind::Fetch),
        ("MOVE NEXT IN c", Kind::Fetch),
        ("CLOSE ALL", Kind::CloseCursor),
    ]);
}

#[test]
fn definitions() {
    check(&[
        ("CREATE TABLE t (a int)", Kind::Ddl),
        ("CREATE TABLE t AS SELECT 1", Kind::Ddl),
        ("SELECT 1 INTO t", Kind::Ddl),
        ("SELECT 1 AS into FROM t", Kind::Select),
        (
            "WITH w AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM w",
            Kind::Select,
        ),
        ("SELECT * INTO TEMP TABLE x FROM t", Kind::TemporaryDdl),
        ("SELECT * INTO pg_temp.x FROM t", Kind::TemporaryDdl),
        ("CREATE TEMP TABLE t (a int)", Kind::TemporaryDdl),
        (
            "CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t AS SELECT 1",
            Kind::TemporaryDdl,
        ),
        ("CREATE TABLE pg_temp.t (a int)", Kind::TemporaryDdl),
        ("CREATE TEMP TABLE t () INHERITS (parent)", Kind::Ddl),
        (
            "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
            Kind::TemporaryDdl,
        ),
        (
            "CREATE TEMPORARY RECURSIVE VIEW v (a) AS SELECT 1",
            Kind::TemporaryDdl,
        ),
        ("CREATE TEMP SEQUENCE s", Kind::TemporaryDdl),
        ("CREATE UNLOGGED TABLE t (a int)", Kind::Ddl),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
            Kind::Maintenance,
        ),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            Kind::Ddl,
        ),
        ("CREATE EXTENSION x", Kind::Ddl),
        ("ALTER SYSTEM SET a = 1", Kind::Ddl),
        ("DROP TABLE t", Kind::Ddl),
        ("GRANT a TO b", Kind::Ddl),
        ("REVOKE ALL ON t FROM b", Kind::Ddl),
        ("IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y", Kind::Ddl),
        ("SECURITY LABEL ON TABLE t IS 'x'", Kind::Ddl),
        ("VACUUM FULL t", Kind::Maintenance),
        ("ANALYZE", Kind::Maintenance),
        ("REINDEX TABLE t", Kind::Maintenance),
        ("COMMENT ON TABLE t IS 'x'", Kind::Maintenance),
        ("CLUSTER t USING i", Kind::Maintenance),
        ("CHECKPOINT", Kind::Maintenance),
        ("REFRESH MATERIALIZED VIEW m", Kind::RefreshMaterializedView),
    ]);
}

#[test]
fn channels_are_read_to_the_last_word() {
    use crate::sql::{Channel, channel};
    let named = |name: &str, written: &'static str| {
        let name = name.to_owned();
        Some(Channel::Named { name, written })
    };
    assert_eq!(channel("LISTEN Orders"), named("orders", "Orders"));
    assert_eq!(
        channel("unlisten \"O\"\"k\" ;"),
        named("O\"k", "\"O\"\"k\"")
    );
    assert_eq!(channel("UNLISTEN *"), Some(Channel::All));
    let long = format!("LISTEN {}", "a".repeat(64));
    for other in [
        "LISTEN *",
        "LISTEN",
        "UNLISTEN",
        "LISTEN a b",
        "LISTEN U&\"a\"",
        "LISTEN 'a'",
        "LISTEN \"\"",
        &long,
    ] {
        assert_eq!(channel(other), None, "{other}");
    }
}

#[test]
fn definitions_that_evaluate_nothing() {
    for sql in [
        "ALTER POLICY p ON t USING (a = 2)",
        "CREATE POLICY p ON t",
        "GRANT SELECT ON t TO r",
        "REVOKE ALL ON t FROM r",
        "DROP TABLE IF EXISTS t CASCADE",
        "CREATE TABLE t (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED)",
        "CREATE UNLOGGED TABLE IF NOT EXISTS t (a int DEFAULT f(1))",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "CREATE SEQUENCE s",
        "CREATE SCHEMA s",
        "CREATE SCHEMA IF NOT EXISTS AUTHORIZATION r",
        "CREATE ROLE r",
        "ALTER ROLE r SET a.b = 'c'",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO r",
        "ALTER TABLE ONLY t RENAME a TO b",
        "ALTER TABLE IF EXISTS s.t * DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t SET SCHEMA s",
        "ALTER VIEW v OWNER TO r",
    ] {
        assert!(evaluates_nothing(sql), "{sql}");
    }
    for sql in [
        "CREATE TABLE t AS SELECT 1",
        "CREATE TABLE t (a) AS EXECUTE p",
        "CREATE TABLE t PARTITION OF u FOR VALUES FROM (f(1)) TO (f(2))",
        "CREATE TABLE t (a int, EXCLUDE USING gist (f(a) WITH =))",
        "CREATE SCHEMA s CREATE TABLE t AS SELECT 1",
        "CREATE SCHEMA AUTHORIZATION r CREATE INDEX ON t (f(a))",
        "CREATE USER MAPPING FOR r SERVER s",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plperl AS ''",
        "CREATE EXTENSION e",
        "CREATE MATERIALIZED VIEW m AS SELECT 1",
        "CREATE DOMAIN d AS int DEFAULT f()",
        "ALTER TABLE t ADD a int DEFAULT f()",
        "ALTER TABLE t DROP a, ADD b int DEFAULT f()",
        "ALTER TABLE t ALTER a TYPE int USING f(a)",
        "ALTER TABLE t VALIDATE CONSTRAINT c",
        "ALTER TABLE t SET LOGGED",
        "ALTER EXTENSION e UPDATE",
        "ALTER DOMAIN d ADD CHECK (f(VALUE))",
        "SELECT 1 INTO t",
        "IMPORT FOREIGN SCHEMA s FROM SERVER r INTO t",
        "ALTER USER MAPPING FOR r SERVER s",
    ] {
        assert!(!evaluates_nothing(sql), "{sql}");
    }
}

#[test]
fn statements_that_would_notice_a_read() {
    use crate::sql::{Stillness, analyse};
    for (sql, wanted) in [
        ("VACUUM t", Stillness::Before),
        ("vacuum (full, analyze)", Stillness::Before),
        ("CLUSTER t USING i", Stillness::Before),
        ("CREATE INDEX CONCURRENTLY ON t (a)", Stillness::Before),
        ("REINDEX TABLE CONCURRENTLY t", Stillness::Before),
        ("DROP INDEX CONCURRENTLY i", Stillness::Before),
        (
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
            Stillness::Before,
        ),
        ("LOCK t", Stillness::Before),
        ("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", Stillness::Before),
        ("LOCK t NOWAIT", Stillness::During),
        (
            "LOCK TABLE ONLY s.t, u IN ACCESS EXCLUSIVE MODE NOWAIT",
            Stillness::During,
        ),
        (
            "LOCK TABLE t IN ROW EXCLUSIVE MODE NOWAIT",
            Stillness::NotNeeded,
        ),
        (
            "LOCK TABLE t IN ACCESS SHARE MODE NOWAIT",
            Stillness::NotNeeded,
        ),
        ("ANALYZE t", Stillness::NotNeeded),
        ("CREATE INDEX ON t (a)", Stillness::NotNeeded),
        ("CREATE TABLE t (a int)", Stillness::NotNeeded),
        ("SELECT 'VACUUM t'", Stillness::NotNeeded),
    ] {
        assert_eq!(analyse(sql).stillness, wanted, "{sql}");
    }
}

#[test]
fn statements_after_which_no_role_has_the_name() {
    use crate::sql::analyse;
    for (sql, wanted) in [
        ("DROP ROLE a", &["a"][..]),
        ("drop user if exists A, \"B c\" , d;", &["a", "B c", "d"]),
        ("DROP GROUP a", &["a"]),
        ("ALTER ROLE a RENAME TO b", &["a"]),
        ("ALTER USER \"A\" /* b */ RENAME TO b", &["A"]),
        ("ALTER ROLE a PASSWORD 'rename to b'", &[]),
        ("ALTER ROLE a SET work_mem = 1", &[]),
        ("DROP USER MAPPING FOR a SERVER b", &[]),
        ("CREATE ROLE a", &[]),
        ("DROP TABLE role", &[]),
    ] {
        assert_eq!(analyse(sql).frees_roles, wanted, "{sql}");
    }
}

#[test]
fn settings_that_go_back_to_their_default() {
    use crate::sql::analyse;
    for (sql, wanted) in [
        ("SET x TO DEFAULT", true),
        ("set local app.x = default;", true),
        ("SET TIME ZONE DEFAULT", true),
        ("SET TIME ZONE LOCAL", true),
        ("SET LOCAL TIME ZONE LOCAL ; ", true),
        ("SET LOCAL TIME ZONE 'UTC'", false),
        ("SET TIME ZONE UTC", false),
        ("SET SESSION AUTHORIZATION DEFAULT", true),
        ("SET x TO 'default'", false),
        ("SET x TO \"default\"", false),
        ("SET default_tablespace TO x", false),
        ("RESET x", false),
    ] {
        assert_eq!(analyse(sql).to_default, wanted, "{sql}");
    }
}

#[test]
fn statements_that_change_what_sessions_begin_with() {
    use crate::sql::analyse;
    for (sql, wanted) in [
        ("ALTER ROLE a SET work_mem = 1", true),
        ("alter user CURRENT_USER set app.x to 'b'", true),
        ("ALTER ROLE ALL SET a = 1", true),
        ("ALTER ROLE ALL IN DATABASE d RESET ALL", true),
        (
            "ALTER USER \"a b\" /* c */ IN DATABASE d SET TIME ZONE 'UTC'",
            true,
        ),
        ("ALTER ROLE U&\"d!0061\" UESCAPE '!' RESET a", true),
        ("ALTER ROLE a RESET work_mem;", true),
        ("ALTER DATABASE a SET work_mem FROM CURRENT", true),
        ("ALTER DATABASE a RESET work_mem", true),
        ("ALTER DATABASE a SET TABLESPACE b", false),
        ("ALTER DATABASE a OWNER TO b", false),
        ("ALTER ROLE a PASSWORD 'set'", false),
        ("ALTER ROLE a RENAME TO b", false),
        ("ALTER FUNCTION a() SET work_mem = 1", false),
        ("ALTER TABLE a SET SCHEMA b", false),
    ] {
        assert_eq!(analyse(sql).changes_defaults, wanted, "{sql}");
    }
}

#[test]
fn statements_that_want_a_database_without_anybody() {
    use crate::sql::analyse;
    for (sql, wanted) in [
        ("DROP DATABASE a", Some("a")),
        ("drop database if exists A with (force)", Some("a")),
        ("/* b */ DROP DATABASE \"A b\";", Some("A b")),
        ("ALTER DATABASE a RENAME TO b", Some("a")),
        ("ALTER DATABASE a SET TABLESPACE b", Some("a")),
        ("ALTER DATABASE a SET work_mem = 1", None),
        ("ALTER DATABASE a OWNER TO b", None),
        ("CREATE DATABASE a", Some("template1")),
        ("CREATE DATABASE a WITH OWNER b TEMPLATE = c", Some("c")),
        ("CREATE DATABASE a TEMPLATE c ENCODING 'UTF8'", Some("c")),
        ("CREATE DATABASE a TEMPLATE DEFAULT", Some("template1")),
        ("CREATE DATABASE a TEMPLATE 'c'", None),
        ("DROP TABLE database", None),
        ("SELECT 'DROP DATABASE a'", None),
    ] {
        assert_eq!(analyse(sql).vacates.as_deref(), wanted, "{sql}");
    }
}

#[test]
fn prepared_statements_that_are_run_by_name() {
    use crate::sql::analyse;
    for (sql, wanted) in [
        ("EXECUTE a(1)", Some("a")),
        ("EXPLAIN EXECUTE A", Some("a")),
        ("EXPLAIN ANALYZE VERBOSE EXECUTE \"A b\"(1)", Some("A b")),
        ("EXPLAIN (ANALYZE, FORMAT json) EXECUTE a", Some("a")),
        ("CREATE TABLE t AS EXECUTE a", Some("a")),
        (
            "create temp table if not exists t (x) with (fillfactor = 50) on commit drop as /* c */ execute a (1) with no data",
            Some("a"),
        ),
        ("EXPLAIN CREATE TABLE t AS EXECUTE a", Some("a")),
        ("EXPLAIN EXPLAIN EXECUTE a", None),
        ("EXPLAIN SELECT 1 AS execute", None),
        ("CREATE TABLE t AS SELECT 'as execute a'", None),
        ("CREATE TABLE t AS SELECT 1", None),
        ("PREPARE a AS SELECT 1", None),
    ] {
        assert_eq!(analyse(sql).executes.as_deref(), wanted, "{sql}");
    }
}
