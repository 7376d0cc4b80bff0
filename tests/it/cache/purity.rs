//! What must never be answered twice: whatever depends on more than tables, settings and the catalogue.

use super::House;
use super::wire::{Batch, query};
use crate::fixture::eventually;

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, x text, at timestamptz DEFAULT now());
    INSERT INTO t VALUES (1, 'today', now()), (2, 'b', now());
    CREATE SEQUENCE s;
    CREATE TABLE named (age int, date text, vol text, at timestamptz);
    INSERT INTO named VALUES (7, 'today', 'v', '2020-01-01');
    CREATE FUNCTION vol(text) RETURNS float LANGUAGE sql VOLATILE AS 'SELECT random()';
    CREATE FUNCTION vol() RETURNS float LANGUAGE sql VOLATILE AS 'SELECT random()';
    CREATE FUNCTION lying(int) RETURNS float LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN random(); END';
    CREATE VIEW clock AS SELECT id, now() AS n FROM t;
    CREATE VIEW deep AS SELECT * FROM clock;
    CREATE TABLE watched (id int);
    CREATE DOMAIN checked AS int CHECK (lying(VALUE) < 2);
";

#[test]
fn clocks_dice_and_identities() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    // What is stored is the word, and it means the day on which it is read.
    let stored = "SELECT x, x::date IN (CURRENT_DATE, CURRENT_DATE - 1) FROM t WHERE id = 1";
    assert_eq!(pair.direct.query(stored).text(), "today|t");
    for sql in [
        "SELECT now(), id FROM t",
        "SELECT clock_timestamp()",
        "SELECT statement_timestamp()",
        "SELECT transaction_timestamp()",
        "SELECT timeofday()",
        "SELECT current_timestamp, id FROM t",
        "SELECT CURRENT_DATE",
        "SELECT id FROM t WHERE at < LOCALTIMESTAMP",
        "SELECT current_time(2)",
        "SELECT localtime",
        "SELECT current_catalog",
        "SELECT current_schema",
        "SELECT current_schema()",
        "SELECT current_schemas(true)",
        "SELECT random()",
        "SELECT id FROM t ORDER BY random()",
        "SELECT gen_random_uuid()",
        "SELECT pg_backend_pid()",
        "SELECT txid_current_if_assigned()",
        "SELECT txid_current_snapshot()",
        "SELECT pg_current_xact_id()",
        "SELECT pg_current_xact_id_if_assigned()",
        "SELECT pg_current_snapshot()",
        "SELECT txid_status(3)",
        "SELECT pg_sleep(0)",
        "SELECT inet_client_port()",
        "SELECT inet_server_port()",
        "SELECT age(at) FROM t",
        "SELECT (at).age FROM named",
        "SELECT (named.date).date FROM named",
        "SELECT (date).vol FROM named",
        "SELECT pg_postmaster_start_time()",
        "SELECT pg_conf_load_time()",
        "SELECT count(*) FROM pg_stat_activity",
        "SELECT relname FROM pg_class ORDER BY oid LIMIT 1",
        "SELECT count(*) FROM pg_catalog.pg_locks",
        "SELECT count(*) FROM information_schema.tables",
        "SELECT 't'::regclass",
        "SELECT 't'::regclass::oid",
        "SELECT regclass 't', id FROM t",
        "SELECT pg_lsn '0/0', id FROM t",
        "SELECT to_regclass('t')",
        "SELECT pg_relation_size('t')",
        "SELECT has_table_privilege('t', 'select')",
        "SELECT obj_description(1, 'pg_class')",
        "SELECT col_description(1, 1)",
        "SELECT * FROM s",
        "SELECT last_value FROM s",
        "SELECT nextval('s')",
        "SELECT ctid FROM t",
        "SELECT xmin FROM t",
        "SELECT xmax FROM t",
        "SELECT cmin FROM t",
        "SELECT cmax FROM t",
        "SELECT tableoid FROM t",
        "SELECT t.xmax FROM t",
        "SELECT id FROM t WHERE t.tableoid > 0",
        "SELECT count(DISTINCT \"tableoid\") FROM t",
        "SELECT id FROM t TABLESAMPLE BERNOULLI (50)",
        "SELECT id FROM t FOR UPDATE",
        "SELECT id FROM t FOR SHARE SKIP LOCKED",
        "SELECT vol()",
        "SELECT lying(id) FROM t",
        "SELECT * FROM clock",
        "SELECT id FROM deep",
        "SELECT 1::checked",
        "SELECT public.vol() FROM t",
        "SELECT id FROM t WHERE vol() >= 0",
        "SELECT (SELECT (SELECT vol()))",
        "WITH x AS (SELECT vol() AS v) SELECT 1 FROM x",
        "SELECT x::date FROM t WHERE id = 1",
        "SELECT cast(x AS timestamp) FROM t WHERE id = 1",
        "SELECT timestamp 'now'",
        "SELECT 'now'::timestamptz, id FROM t",
        "SELECT date 'today'",
        "SELECT date 'tomorrow'",
        "SELECT ' NOW '::timestamp",
        "SELECT 'yesterday 10:00'::timestamp",
        "SELECT id FROM t WHERE at > 'now'",
        "SELECT id FROM t WHERE at BETWEEN 'today' AND 'tomorrow'",
        "SELECT E'no\\167'::timestamp",
        "SELECT U&'n\\006fw'::timestamp",
        "SELECT $$now$$::timestamp",
        "SELECT 'n'\n'ow'::timestamp",
        "SELECT '{now}'::timestamptz[]",
        "SELECT '[now,)'::tstzrange",
        "SELECT ('to' || 'day')::date",
        "SELECT date_trunc('day', now())",
        "SELECT timezone('UTC', now())",
        "SELECT extract(epoch FROM now())",
        "SELECT currval('s')",
        "SELECT lastval()",
        "SELECT pg_last_xact_replay_timestamp()",
        "SELECT pg_is_in_recovery()",
        "SELECT query_to_xml('SELECT random()', true, true, '')",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT json_populate_record(NULL::t, '{\"at\": \"now\"}')",
        "SELECT * FROM json_to_record('{\"a\": \"now\"}') AS r(a timestamptz)",
        "SELECT current_setting('transaction_isolation')",
        "SELECT current_setting('application_name')",
        "SELECT setseed(0.5)",
        "SELECT time '12:00'::timetz",
        "SELECT make_time(12, 0, 0)::timetz, id FROM t",
        "SELECT ('12' || ':00')::timetz",
        "SELECT timetz '12:00' AT TIME ZONE 'Europe/Rome'",
        "SELECT pg_notify('channel', 'payload')",
        "SELECT pg_advisory_xact_lock_shared(1)",
        "SELECT * FROM jsonb_to_record('{\"a\": \"today\"}') AS r(a date)",
        "SHOW TimeZone",
        "EXPLAIN SELECT * FROM t",
        "SELECT pg_get_viewdef('clock'::regclass)",
        "SELECT row_security_active('t')",
        "SELECT txid_current()",
        "SELECT ts_stat('SELECT to_tsvector(''a'')')",
    ] {
        pair.never_hits(sql);
    }
}

/// A `timetz` is made of a time, or of a text, at the offset that the time zone has today.
#[test]
fn the_offset_of_today_is_asked_for_anew() {
    let house = House::new(
        "CREATE TABLE k (tm time, tz timetz, j jsonb); INSERT INTO k VALUES ('12:00', '12:00+00', '\"12:00:00\"');
         CREATE TABLE opens (day int, tm time); INSERT INTO opens VALUES (1, '12:00');
         CREATE TABLE many (x timetz[]); CREATE VIEW zoned AS SELECT tm AT TIME ZONE 'UTC' AS z FROM opens;
         CREATE VIEW texts AS SELECT (tm AT TIME ZONE 'UTC')::text AS z FROM opens;
         CREATE TABLE at (id int, ts timestamptz, plain timestamp); INSERT INTO at VALUES (1, '2024-01-01', '2024-01-01');
         CREATE TABLE item (j jsonb); INSERT INTO item VALUES ('\"12:00:00\"')",
    );
    let mut pair = house.pair();
    for sql in [
        "SELECT coalesce(tm, tz) FROM k",
        "SELECT tm FROM k UNION ALL SELECT tz FROM k",
        "SELECT tm = tz FROM k",
        "SELECT greatest(tm, tz) FROM k",
        "SELECT CASE WHEN tm IS NULL THEN tz ELSE tm END FROM k",
        "SELECT tm IN (SELECT tz FROM k) FROM k",
        "SELECT (tm, tm) OVERLAPS (tz, tz) FROM k",
        "SELECT tz = '12:00' FROM k",
        "SELECT tz AT TIME ZONE 'Europe/Rome' FROM k",
        "SELECT timezone('Europe/Rome', tz) FROM k",
        "SELECT tm AT TIME ZONE 'Europe/Rome' FROM opens",
        "SELECT time '12:00' AT TIME ZONE 'Europe/Rome'",
        "SELECT make_time(12, 0, 0) AT TIME ZONE 'Europe/Rome'",
        "SELECT timezone('Europe/Rome', tm) FROM opens",
        "SELECT z FROM zoned",
        "SELECT z FROM texts",
        "SELECT x FROM many",
        "SELECT timetz_larger(tm, tm) FROM opens",
        "SELECT jsonb_path_query_tz(j, '$.datetime() ? (@ < \"12:00:00+00\".datetime())') FROM item",
    ] {
        pair.never_hits(sql);
    }
    pair.becomes_hit("SELECT tm FROM opens WHERE day = 1");
    if house.postgres.major() >= 15 {
        pair.becomes_hit("SELECT ts AT TIME ZONE 'Europe/Rome', plain AT TIME ZONE 'UTC' FROM at");
    }
}

#[test]
fn parameters_that_mean_the_clock() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    for value in [
        "now",
        "today",
        "TOMORROW",
        " yesterday",
        "now ",
        "today 10:00",
        "Now",
    ] {
        for sql in [
            "SELECT $1::timestamptz, id FROM t",
            "SELECT id FROM t WHERE at > $1 OR at <= $1",
        ] {
            let batch = Batch::whole(sql, &[Some(value.as_bytes())]);
            for _ in 0..3 {
                let (reply, served) = house.look_batch(&mut pair.via, &batch);
                assert_eq!(reply.error(), None, "{value}: {reply:?}");
                assert_ne!(served, super::Served::Hit, "{value}: {sql}");
            }
        }
    }
    // Moments themselves are as good as any value.
    let batch = Batch::whole("SELECT id FROM t WHERE at > $1", &[Some(b"2024-01-01")]);
    pair.look_batch(&batch);
    assert_eq!(pair.look_batch(&batch), super::Served::Hit);
    pair.becomes_hit("SELECT id FROM t WHERE at > '2024-01-01' AND x <> 'nowhere'");
}

/// The clock in one element of what is bound, or behind another type.
#[test]
fn parameters_of_which_a_part_means_the_clock() {
    let house = House::new(&format!(
        "{SCHEMA} CREATE DOMAIN moment AS timestamptz; CREATE TYPE stamped AS (at timestamptz, n int);"
    ));
    let mut pair = house.pair();
    let array = "SELECT id FROM t WHERE at <> ALL ($1)";
    for (sql, value) in [
        ("SELECT $1::timestamptz[], id FROM t", "{2024-01-01,today}"),
        (
            "SELECT $1::date[], id FROM t",
            "{{2024-01-01},{ \"Tomorrow\" }}",
        ),
        ("SELECT id FROM t WHERE at = ANY ($1)", "{now}"),
        (array, "{2024-01-01,\" Today 10:00\"}"),
        ("SELECT lower($1::tstzrange), id FROM t", "[now,)"),
        (
            "SELECT upper($1::tsrange), id FROM t",
            "(2024-01-01,tomorrow]",
        ),
        ("SELECT id FROM t WHERE at <@ $1::tstzrange", "[yesterday,)"),
        ("SELECT $1::stamped, id FROM t", "(now,1)"),
        ("SELECT ($1::stamped[])[1], id FROM t", "{\"(today,1)\"}"),
        ("SELECT $1::moment, id FROM t", "now"),
        ("SELECT $1::text::date, id FROM t", "today"),
        ("SELECT to_json($1::timestamptz), id FROM t", "now"),
        ("SELECT ($1::text[])[1]::date, id FROM t", "{today}"),
    ] {
        let text = Batch::whole(sql, &[Some(value.as_bytes())]);
        for _ in 0..3 {
            let (reply, served) = house.look_batch(&mut pair.via, &text);
            assert_eq!(reply.error(), None, "{sql}: {reply:?}");
            assert_ne!(served, super::Served::Hit, "{value}: {sql}");
        }
    }
    // A binary array of texts.
    let mut bytes = Vec::new();
    for number in [1_u32, 0, 25, 1, 1, 5] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(b"today");
    let mut binary = Batch::default();
    binary.parse("", "SELECT ($1::text[])::date[], id FROM t", &[1009]);
    binary.bind("", "", &[1], &[Some(&bytes)], &[]);
    binary.describe(b'P', "").execute("", 0).sync();
    for _ in 0..3 {
        let (reply, served) = house.look_batch(&mut pair.via, &binary);
        assert_eq!(reply.error(), None, "{reply:?}");
        assert_ne!(served, super::Served::Hit);
    }
    // Moments are as good as any value in these places, too.
    let moments = Batch::whole(array, &[Some(b"{2024-01-01,2024-01-02}")]);
    pair.look_batch(&moments);
    assert_eq!(pair.look_batch(&moments), super::Served::Hit);
}

#[test]
fn a_clock_is_found_behind_policies_defaults_and_functions_at_any_depth() {
    let house = House::new(&format!(
        "{SCHEMA}
         CREATE FUNCTION late(timestamptz) RETURNS bool LANGUAGE sql STABLE AS 'SELECT $1 < now()';
         CREATE FUNCTION later(timestamptz) RETURNS bool LANGUAGE plpgsql STABLE AS 'BEGIN RETURN late($1); END';
         CREATE FUNCTION moment(timestamptz DEFAULT now()) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS 'SELECT $1';
         CREATE VIEW inlined AS SELECT id, at FROM t WHERE late(at);
         CREATE VIEW called AS SELECT id FROM inlined WHERE later(at);
         CREATE VIEW by_default AS SELECT moment() AS m, id FROM t;
         CREATE VIEW joined AS SELECT a.id FROM t a JOIN called c USING (id);
         CREATE TABLE by_policy (id int, at timestamptz); INSERT INTO by_policy VALUES (1, '2024-01-01');
         ALTER TABLE by_policy ENABLE ROW LEVEL SECURITY; ALTER TABLE by_policy FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON by_policy USING (at < now());
         CREATE TABLE by_view (id int); INSERT INTO by_view VALUES (1);
         ALTER TABLE by_view ENABLE ROW LEVEL SECURITY; ALTER TABLE by_view FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON by_view USING (id IN (SELECT id FROM joined));
         CREATE TABLE by_other (id int); INSERT INTO by_other VALUES (1);
         ALTER TABLE by_other ENABLE ROW LEVEL SECURITY; ALTER TABLE by_other FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON by_other USING (EXISTS (SELECT FROM by_policy));
         CREATE TABLE parent (id int) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF parent DEFAULT;
         ALTER TABLE parent ENABLE ROW LEVEL SECURITY; ALTER TABLE parent FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON parent USING (late('2024-01-01'));"
    ));
    let mut pair = house.pair();
    for sql in [
        "SELECT id FROM t WHERE late(at)",
        "SELECT id FROM t WHERE later(at)",
        "SELECT moment(), id FROM t",
        "SELECT * FROM inlined",
        "SELECT count(*) FROM called",
        "SELECT * FROM by_default",
        "SELECT id FROM joined",
        "SELECT (SELECT max(id) FROM joined)",
        "WITH w AS (SELECT * FROM called) SELECT count(*) FROM w",
        "SELECT count(*) FROM by_policy",
        "SELECT count(*) FROM by_view",
        "SELECT count(*) FROM by_other",
        "SELECT count(*) FROM parent",
        "SELECT t.id FROM t LEFT JOIN by_other USING (id)",
    ] {
        pair.never_hits(sql);
    }
    // What a default stored is a value like any other.
    pair.becomes_hit("SELECT at FROM t ORDER BY id");
    pair.invalidates(
        "SELECT at FROM t ORDER BY id",
        "INSERT INTO t (id) VALUES (9)",
    );
}

#[test]
fn what_hstore_makes_a_date_of_may_follow_the_clock() {
    let house = House::new(
        "CREATE TABLE day (id int, d date); INSERT INTO day VALUES (1, '2020-02-02');
         CREATE TABLE told (id int, w text); INSERT INTO told VALUES (1, 'd=>today');",
    );
    house.superuser_seen("CREATE EXTENSION hstore");
    house.serves();
    let mut pair = house.pair();
    pair.becomes_hit("SELECT w::hstore -> 'd' FROM told");
    pair.never_hits("SELECT (populate_record(day, w::hstore)).d FROM day, told");
    pair.never_hits("SELECT populate_record(day, w::hstore) FROM day, told");
    pair.never_hits("SELECT day #= w::hstore FROM day, told");
    pair.never_hits("SELECT day #= 'd=>today' FROM day");
}

#[test]
fn what_dblink_reads_is_never_kept() {
    let house = House::new("CREATE TABLE far (id int); INSERT INTO far VALUES (1);");
    house.superuser_seen("CREATE EXTENSION dblink");
    house.serves();
    let path = format!(
        "host=127.0.0.1 port={} dbname={} user=app",
        house.postgres.port, house.database
    );
    house.superuser_seen(&format!(
        "CREATE FUNCTION distant() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER AS
             $$SELECT n FROM dblink('{path}', 'SELECT count(*) FROM far') AS d(n int)$$;
         CREATE VIEW behind AS SELECT n FROM distant() AS f(n); GRANT SELECT ON behind TO app"
    ));
    house.serves();
    let mut pair = house.pair();
    for (n, sql) in ["SELECT * FROM distant()", "SELECT n FROM behind"]
        .into_iter()
        .enumerate()
    {
        pair.never_hits(sql);
        house.outside("INSERT INTO far VALUES (2)");
        assert_eq!(pair.via.query(sql).text(), (n + 2).to_string());
        house.before.take();
    }
    // As it stands in the client's own text, where no function of a user's is in the way.
    let mut postgres = house.pair_as("postgres", &[]);
    let rows = format!("dblink('{path}', 'SELECT count(*) FROM far') AS d(n int)");
    for sql in [
        format!("SELECT * FROM {rows}"),
        format!("SELECT n FROM {rows} WHERE n > 0"),
        format!("SELECT (SELECT n FROM {rows}), id FROM far WHERE id = 1"),
        format!("WITH w AS (SELECT n FROM {rows}) SELECT max(n) FROM w"),
    ] {
        postgres.never_hits(&sql);
        let before = postgres.via.query(&sql).text();
        house.outside("INSERT INTO far VALUES (2)");
        assert_ne!(postgres.via.query(&sql).text(), before, "{sql}");
        house.before.take();
        postgres.never_hits(&sql);
    }
}

#[test]
fn cursors_and_suspended_portals() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let sql = "SELECT id FROM t ORDER BY id";
    pair.becomes_hit(sql);
    pair.both("BEGIN");
    let mut open = Batch::default();
    open.parse("", sql, &[])
        .bind("p", "", &[], &[], &[])
        .execute("p", 1)
        .sync();
    assert_ne!(pair.look_batch(&open), super::Served::Hit);
    let mut rest = Batch::default();
    rest.execute("p", 0).sync();
    assert_ne!(pair.look_batch(&rest), super::Served::Hit);
    pair.both("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id");
    for client in [&mut pair.via, &mut pair.direct] {
        assert_eq!(client.query("FETCH c").text(), "1");
        assert_eq!(client.query("FETCH c").text(), "2");
    }
    pair.both("COMMIT");
    house.before.take();
    pair.hit(sql);
}

/// Its answer is as old as its Bind. Nobody else is given it, whoever asks, and however.
#[test]
fn a_portal_bound_before_a_write_keeps_its_snapshot() {
    let house = House::new(SCHEMA);
    let mut pair = house.pair();
    let mut reader = house.pair();
    let mut writer = house.via();
    let sql = "SELECT count(*) FROM t";
    let mut undescribed = Batch::default();
    undescribed.parse("", sql, &[]).bind("", "", &[], &[], &[]);
    undescribed.execute("", 0).sync();
    let mut reads = [undescribed, Batch::whole(sql, &[]), Batch(query(sql))];
    let mut id = 10;
    for portal in ["", "old"] {
        for in_block in [true, false] {
            reader.becomes_hit(sql);
            let mut bind = Batch::default();
            bind.parse("", sql, &[]).bind(portal, "", &[], &[], &[]);
            let mut run = Batch::default();
            run.execute(portal, 0).sync();
            if in_block {
                pair.both("BEGIN");
                bind.sync();
                pair.look_batch(&bind);
            } else {
                bind.flush();
                for client in [&mut pair.via, &mut pair.direct] {
                    client.send(&bind.0);
                    assert_eq!(client.kinds(2), "12");
                }
            }
            let old = reader.direct.query(sql).text();
            let written = writer.query(&format!("INSERT INTO t (id) VALUES ({id})"));
            assert_eq!(written.error(), None, "{written:?}");
            id += 1;
            for client in [&mut pair.via, &mut pair.direct] {
                let ran = client.batch(&run);
                assert_eq!((ran.text(), ran.error()), (old.clone(), None), "{ran:?}");
            }
            house.before.take();
            // However they are asked, and whichever is asked first: what is kept now is not the old answer.
            reads.rotate_left(1);
            assert_ne!(reader.look_batch(&reads[0]), super::Served::Hit);
            for batch in &reads {
                reader.look_batch(batch);
            }
            reader.look(sql);
            if in_block {
                pair.both("COMMIT");
            }
            for batch in &reads {
                eventually("a hit", || pair.look_batch(batch) == super::Served::Hit);
            }
            pair.becomes_hit(sql);
        }
    }
}

#[test]
fn foreign_tables() {
    let house = House::new("CREATE TABLE far (id int); INSERT INTO far VALUES (1);");
    let port = house.postgres.port;
    house.superuser(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname '{}');
         CREATE USER MAPPING FOR PUBLIC SERVER loop OPTIONS (user 'app', password 'secret', password_required 'false');
         CREATE FOREIGN TABLE near (id int) SERVER loop OPTIONS (table_name 'far');
         CREATE TABLE mixed (id int) PARTITION BY LIST (id);
         CREATE FOREIGN TABLE mixed_1 PARTITION OF mixed DEFAULT SERVER loop OPTIONS (table_name 'far');
         CREATE VIEW behind AS SELECT * FROM near;
         GRANT ALL ON near, mixed, behind TO app",
        house.database
    ));
    let mut pair = house.pair();
    eventually("the foreign table is known", || {
        let (_, served) = house.look(&mut pair.via, "SELECT count(*) FROM near");
        served == super::Served::Bypass("foreign_table".into())
    });
    for sql in [
        "SELECT id FROM near",
        "SELECT count(*) FROM mixed",
        "SELECT * FROM behind",
    ] {
        pair.never_hits(sql);
    }
    // What goes out through it comes in from outside.
    assert_eq!(pair.via.query("SELECT id FROM near").text(), "1");
    pair.write("INSERT INTO near VALUES (2)");
    assert_eq!(pair.via.query("SELECT count(*) FROM near").text(), "2");
}

#[test]
fn a_text_beside_an_array_of_a_domain_may_be_checked_by_the_clock() {
    let domains = [
        ("date", "VALUE > CURRENT_DATE - 100000", "2026-11-22"),
        (
            "timestamptz",
            "VALUE < now() + interval '999 years'",
            "2026-11-22",
        ),
        ("timestamptz", "VALUE > date '1000-01-01'", "2026-11-22"),
        ("text", "VALUE::date > '1000-01-01'", "2026-11-22"),
        (
            "int",
            "current_setting('app.least', true) IS DISTINCT FROM 'x' || VALUE",
            "7",
        ),
    ];
    let pure = ("int", "VALUE > 0 AND VALUE % 7 <> 3", "7");
    let mut schema = String::new();
    for (n, (base, check, _)) in domains.iter().chain([&pure]).enumerate() {
        schema += &format!(
            "CREATE DOMAIN d{n} AS {base} CHECK ({check}); CREATE TABLE t{n} (ds d{n}[]);"
        );
    }
    let house = House::new(&schema);
    let mut pair = house.pair();
    let read =
        |n: usize, value: &str| format!("SELECT count(*) FROM t{n} WHERE ds = '{{{value}}}'");
    for (n, (_, _, value)) in domains.iter().enumerate() {
        pair.never_hits(&read(n, value));
    }
    pair.becomes_hit(&read(domains.len(), pure.2));
}
