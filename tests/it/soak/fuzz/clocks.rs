//! Reads of the clock in every place where one can be hidden. Asked twice, each must have moved on.

use super::ground::Ground;
use crate::cache::wire::{Batch, Wire};

const CLOCKS: &[&str] = &[
    "SELECT now()",
    "SELECT clock_timestamp()",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT LOCALTIME",
    "SELECT 'now'::timestamptz",
    "SELECT CAST(' NOW ' AS timestamp)",
    "SELECT timestamptz 'now'",
    "SELECT E'n\\x6fw'::timestamptz",
    "SELECT U&'n\\006fw'::timestamptz",
    "SELECT $$now$$::timestamptz",
    "SELECT ('no' || 'w')::timestamptz",
    "SELECT v::timestamptz FROM clocks",
    "SELECT (v)::text::timestamp FROM clocks",
    "SELECT (j->>'t')::timestamptz FROM clocks",
    "SELECT '{now}'::timestamptz[]",
    "SELECT ARRAY['now']::timestamptz[]",
    "SELECT '[now,)'::tstzrange",
    "SELECT '(now,1)'::stamped",
    "SELECT ROW('now', 1)::stamped",
    "SELECT 'now'::moment",
    "SELECT v::moment FROM clocks",
    "SELECT json_populate_record(NULL::stamped, '{\"t\": \"now\"}')",
    "SELECT jsonb_populate_record(NULL::stamped, j) FROM clocks",
    "SELECT t FROM jsonb_to_record('{\"t\": \"now\"}') AS x(t timestamptz)",
    "SELECT t FROM json_to_recordset('[{\"t\": \"now\"}]') AS x(t timestamptz)",
    "SELECT t FROM clocks, jsonb_to_record(j) AS x(t timestamptz)",
    "SELECT coalesce(NULL, 'now')::timestamptz",
    "SELECT CASE WHEN true THEN 'now' END::timestamptz",
    "SELECT coalesce('now', v)::timestamptz FROM clocks",
    "SELECT greatest(timestamptz '2000-01-01', 'now')",
    "SELECT extract(epoch FROM timestamptz 'now')",
    "SELECT date_trunc('microseconds', timestamptz 'now')",
    "SELECT timestamptz '2000-01-01' + (timestamptz 'now' - timestamptz '2000-01-01')",
    "SELECT age('now'::timestamptz, '2000-01-01')",
    "SELECT max(x) FROM (VALUES ('now'::timestamptz)) v(x)",
    "SELECT x::timestamptz FROM (VALUES ('now')) v(x)",
    "SELECT x::timestamptz FROM unnest(ARRAY['now']) x",
    "SELECT x::timestamptz FROM regexp_split_to_table('now', ',') x",
    "SELECT (string_to_array('now', ','))[1]::timestamptz",
    "SELECT lower('NOW')::timestamptz",
    "SELECT array_agg(v)::timestamptz[] FROM clocks",
    "SELECT (array_agg(v)::text)::timestamptz[] FROM clocks",
    "SELECT * FROM v_clock",
    "SELECT * FROM v_clock_column",
    "SELECT f_clock()",
    "SELECT f_clock_immutable('now')",
    "SELECT timestamptz(v) FROM clocks",
    "SELECT \"timestamp\"(v) FROM clocks",
    "SELECT pg_catalog.timestamptz(v) FROM clocks",
    "SELECT make_timestamptz(2020, 1, 1, 1, 1, 1) - 'now'",
    "SELECT ts - 'now' FROM clocks",
    "SELECT 'now' - ts FROM clocks",
    "SELECT ts - v::timestamp FROM clocks",
    "SELECT jsonb_build_object('a', 'now'::timestamptz)",
    "SELECT to_json(timestamptz 'now')",
    "WITH c AS MATERIALIZED (SELECT 'now'::timestamptz AS t) SELECT t FROM c",
    "SELECT (SELECT timestamptz 'now')",
    "SELECT format('%s', timestamptz 'now')",
    "SELECT random()",
    "SELECT gen_random_uuid()",
    "SELECT txid_current()",
    "SELECT nextval('ticks')",
    "SELECT query_to_xml('SELECT now()', true, true, '')",
    "SELECT string_agg(clock_timestamp()::text, ',')",
    "SELECT id FROM clocks WHERE nextval('ticks') % 2 = 0",
];

/// Places that PostgreSQL has since 14.
const CLOCKS_OF_14: &[&str] = &[
    "SELECT '{[now,)}'::tstzmultirange",
    "SELECT x::timestamptz FROM string_to_table('now', ',') x",
];

/// The same hidden behind a parameter, whose text is `now`.
const PARAMETERS: &[&str] = &[
    "SELECT $1::timestamptz",
    "SELECT $1::text::timestamptz",
    "SELECT ts - $1 FROM clocks",
    "SELECT $1::moment",
    "SELECT ($1 || '')::timestamptz",
    "SELECT timestamptz(lower($1))",
    "SELECT jsonb_build_object('t', $1::text)::text, ('{' || $1 || '}')::timestamptz[]",
    "SELECT jsonb_populate_record(NULL::stamped, jsonb_build_object('t', $1::text))",
];

const SCHEMA: &str = "CREATE DOMAIN moment AS timestamptz; CREATE TYPE stamped AS (t timestamptz, n int);
    CREATE TABLE clocks (id int, v text, j jsonb, ts timestamp);
    INSERT INTO clocks VALUES (1, 'now', '{\"t\": \"now\"}', '2000-01-01');
    CREATE SEQUENCE ticks;
    CREATE FUNCTION f_clock() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT clock_timestamp()';
    CREATE FUNCTION f_clock_immutable(text) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS 'SELECT $1::timestamptz';
    CREATE VIEW v_clock AS SELECT now() AS t;
    CREATE VIEW v_clock_column AS SELECT v::timestamptz AS t FROM clocks;";

/// # Panics
/// When a clock stands still.
pub fn check(ground: &Ground) {
    let (database, _) = ground.twins();
    let mut direct = Wire::connect(ground.postgres.port, "app", &database, &[]);
    let made = direct.query(SCHEMA);
    assert_eq!(made.error(), None, "{made:?}");
    let mut via = Wire::connect(ground.pgditto.port, "app", &database, &[]);
    ground.serves(&mut via);
    let mut still = Vec::new();
    let mut look = |sql: &str, batch: &Batch, client: &mut Wire, who: &str| {
        let answers: Vec<_> = (0..3)
            .map(|_| {
                let reply = client.try_batch(batch).expect("an answer");
                assert_eq!(reply.error(), None, "{who}: {sql}");
                reply.text()
            })
            .collect();
        // A sequence may come to the same answer by turns, but not three times in a row.
        if answers[0] == answers[1] && answers[1] == answers[2] {
            still.push(format!("{who}: {sql}"));
        }
    };
    for (who, client) in [("PostgreSQL", &mut direct), ("pgditto", &mut via)] {
        let newer = if ground.postgres.major() >= 14 {
            CLOCKS_OF_14
        } else {
            &[]
        };
        for sql in CLOCKS.iter().chain(newer) {
            look(sql, Batch::default().query(sql), client, who);
            look(sql, &Batch::whole(sql, &[]), client, who);
        }
        for sql in PARAMETERS {
            look(sql, &Batch::whole(sql, &[Some(b"now")]), client, who);
        }
    }
    assert!(
        still.is_empty(),
        "clocks that stand still:\n{}",
        still.join("\n")
    );
}
