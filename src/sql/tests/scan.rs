use std::borrow::Cow;
use std::time::Duration;

use crate::config::Level;
use crate::sql::{scan, shape_text};

fn statements(sql: &str) -> Vec<&str> {
    let scan = scan(sql, true);
    assert!(scan.well_formed, "{sql}");
    scan.statements.to_vec()
}

fn same_shape(a: &str, b: &str) -> bool {
    scan(a, true).shape == scan(b, true).shape
}

#[test]
fn every_quoting_form_hides_a_semicolon() {
    for sql in [
        "SELECT 'a;b'",
        "SELECT 'it''s;'",
        r"SELECT 'a\'",
        r"SELECT E'a\';b'",
        r"SELECT e'\\'",
        r"SELECT U&'d\0061;'",
        "SELECT B'01;', x'0;F', N'a;b'",
        "SELECT $$a;b$$",
        "SELECT $t$a;$$;$u$;$t$",
        "SELECT $a$ $b$ ; $a$",
        "SELECT $ä1$;$ä1$",
        "SELECT \"a;b\"",
        "SELECT \"a\"\";b\"",
        "SELECT U&\"a;b\"",
        "SELECT 'a'\n  ';b'",
        "SELECT 'a' -- it's\n\t';b'",
        "SELECT 1 /* ; /* ; */ ; */ + 2",
        "SELECT 1 -- ;\n + 2",
        "SELECT 1 -- ;\r + 2",
        "SELECT 1+-- ;\n 2",
        "SELECT 1 */* ; */ 2",
        "SELECT a$b$c, $1, $2",
        "SELECT 1..2, 1.5e-3, .5, 1.e5, a[1:2], b::int, c := 1",
        "SELECT größe FROM straße",
    ] {
        assert_eq!(statements(sql), [sql]);
    }
}

#[test]
fn statements_are_cut_at_the_top_level_only() {
    assert_eq!(statements(""), [""; 0]);
    assert_eq!(statements(" ; ;; -- x\n"), [""; 0]);
    assert_eq!(statements("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
    assert_eq!(
        statements("/* a */ SELECT 1 /* b */ ; -- c\n SELECT 2; /* d */"),
        ["SELECT 1", "SELECT 2"]
    );
    assert_eq!(
        statements(r"SELECT 'a\'; SELECT 2"),
        [r"SELECT 'a\'", "SELECT 2"]
    );
    assert_eq!(statements("SELECT 'a'  'b;'"), ["SELECT 'a'  'b;'"]);
    let rule = "CREATE RULE r AS ON INSERT TO t DO (INSERT INTO a VALUES (1); DELETE FROM b)";
    assert_eq!(statements(&format!("{rule}; SELECT 1")), [rule, "SELECT 1"]);
    for routine in [
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END AS end; SELECT t.case; END",
        "create or replace procedure p() begin /* x */ atomic insert into t values (1); end",
    ] {
        assert_eq!(
            statements(&format!("{routine}; SELECT 1")),
            [routine, "SELECT 1"]
        );
    }
    assert_eq!(
        statements("BEGIN; SELECT 1; END"),
        ["BEGIN", "SELECT 1", "END"]
    );
    assert_eq!(
        statements("CREATE TABLE begin (atomic int); END"),
        ["CREATE TABLE begin (atomic int)", "END"]
    );
}

#[test]
fn backslashes_follow_the_setting() {
    assert_eq!(scan(r"SELECT 'a\'; SELECT 2 --'", true).statements.len(), 2);
    assert_eq!(
        scan(r"SELECT 'a\'; SELECT 2 --'", false).statements.len(),
        1
    );
}

#[test]
fn unclosed_things_are_reported() {
    for sql in [
        "SELECT 'a",
        "SELECT 'a''",
        r"SELECT E'a\'",
        r"SELECT E'a\",
        "SELECT \"a",
        "SELECT \"a\"\"",
        "SELECT $$a",
        "SELECT $a$ $$",
        "SELECT $a",
        "/* a",
        "/* /* */",
        "SELECT (1",
        "SELECT 1)",
        "SELECT \u{0}",
        "SELECT $",
        "SELECT \\",
        "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;",
    ] {
        assert!(!scan(sql, true).well_formed, "{sql}");
    }
    assert!(!same_shape("SELECT 'a'", "SELECT 'a"));
}

#[test]
fn shapes_ignore_literals_comments_space_and_case() {
    for (a, b) in [
        ("SELECT 1", "select  2 -- x"),
        ("SELECT 1", "SELECT 1;"),
        ("SELECT 'a'", "SELECT /* */ $$b$$"),
        ("SELECT 'a'", "SELECT E'b'"),
        ("SELECT 1.5", "SELECT 1e7"),
        ("SELECT a FROM T", "Select A\nFrom t"),
        ("SELECT 1; SELECT 2", "SELECT 1;; SELECT 3;"),
    ] {
        assert!(same_shape(a, b), "{a} / {b}");
    }
}

#[test]
fn shapes_keep_what_matters() {
    for (a, b) in [
        ("SELECT 1", "SELECT '1'"),
        ("SELECT 1", "SELECT 1.0"),
        ("SELECT 1", "SELECT $1"),
        ("SELECT $1", "SELECT $2"),
        ("SELECT a", "SELECT b"),
        ("SELECT a", "SELECT \"a\""),
        ("SELECT \"a\"", "SELECT \"A\""),
        ("SELECT a b", "SELECT ab"),
        ("SELECT a < b", "SELECT a > b"),
        ("SELECT a @- b", "SELECT a @ -b"),
        ("SELECT 1 a", "SELECT 1, a"),
        ("SELECT 1; SELECT 2", "SELECT 1 SELECT 2"),
        ("SELECT 'a'", "SELECT N'a'"),
        ("SELECT 'a'", "SELECT B'1'"),
        ("SELECT Ä", "SELECT ä"),
        ("SELECT 'a'\n'b'", "SELECT 'a' 'b'"),
        ("SELECT \"a\", \"b\"", "SELECT \"a, b\""),
    ] {
        assert!(!same_shape(a, b), "{a} / {b}");
    }
}

#[test]
fn a_long_text_has_the_shape_of_its_normal_form() {
    let columns = (0..2_000)
        .map(|n| format!("column_{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    let a = format!("SELECT {columns} FROM t WHERE a = 1");
    let b = format!("select {} from T where A = 2", columns.to_uppercase());
    assert!(same_shape(&a, &b));
    assert!(!same_shape(&a, &format!("{a} AND b = 2")));
}

#[test]
fn clock_constants_are_noticed() {
    for sql in [
        "SELECT 'now'",
        "SELECT ' NoW '::date",
        "SELECT 'today 12:00'",
        "SELECT '2024-01-01 now'",
        r"SELECT E'\x6eow'",
        r"SELECT U&'\006eow'",
        "SELECT U&'!006eow' UESCAPE '!'",
        "SELECT $$tomorrow$$",
        "SELECT $x$yesterday$x$",
        "SELECT 'no'\n'w'",
        "SELECT N'now'",
        "SELECT '{now}'::date[]",
    ] {
        assert!(scan(sql, true).clock_literal, "{sql}");
    }
    for sql in [
        "SELECT now()",
        "SELECT \"now\"",
        "SELECT 'known'",
        "SELECT 1 -- now",
        "SELECT '2024-01-01'",
    ] {
        assert!(!scan(sql, true).clock_literal, "{sql}");
    }
    assert!(scan(r"SELECT '\x6eow'", false).clock_literal);
    assert!(!scan(r"SELECT '\x6eow'", true).clock_literal);
}

#[test]
fn only_comments_that_say_nothing_leave_the_key() {
    for (sql, key) in [
        ("SELECT 1", "SELECT 1"),
        (" SELECT 1 ; ", " SELECT 1 ; "),
        (
            "SELECT 1 /*traceparent='00-ab-01',route='%2Fa'*/",
            "SELECT 1",
        ),
        ("SELECT 1 /*a='b'*/;", "SELECT 1;"),
        ("/*a='b', c='d\\'e'*/ SELECT 1", "SELECT 1"),
        ("/* pgditto: ttl=1s */ SELECT 1", "SELECT 1"),
        (
            "/* pgditto: ttl=1s *//*a='b'*/ SELECT 1 -- x",
            "SELECT 1 -- x",
        ),
        ("SELECT 1 -- x\n/*a='b'*/ /* y */", "SELECT 1 -- x /* y */"),
        ("/*+ SeqScan(t) */ SELECT 1", "/*+ SeqScan(t) */ SELECT 1"),
        ("/*+ a='b' */ SELECT 1", "/*+ a='b' */ SELECT 1"),
        ("SELECT 1 /* hello */", "SELECT 1 /* hello */"),
        ("SELECT /*a='b'*/ 1", "SELECT /*a='b'*/ 1"),
        (
            "SELECT 1 /*a='b'*/; SELECT 2",
            "SELECT 1 /*a='b'*/; SELECT 2",
        ),
        ("SELECT 1 /*a='b' c*/", "SELECT 1 /*a='b' c*/"),
        ("SELECT 1 /*a='b',*/", "SELECT 1 /*a='b',*/"),
        ("SELECT '/*a=''b''*/'", "SELECT '/*a=''b''*/'"),
        ("/*a='b'*/", ""),
    ] {
        assert_eq!(scan(sql, true).key_text, key, "{sql}");
    }
    assert!(matches!(
        scan("/*a='b'*/ SELECT 1 /*a='b'*/", true).key_text,
        Cow::Borrowed("SELECT 1")
    ));
}

#[test]
fn hints_are_read() {
    let hints = scan(
        "/* pgditto: ttl=30s, level=ttl, tags=a|b, colour=red */ SELECT 1 /*PGDITTO: tags=c*/;",
        true,
    )
    .hints;
    assert_eq!(hints.ttl, Some(Duration::from_secs(30)));
    assert_eq!(hints.level, Some(Level::Ttl));
    assert_eq!(hints.tags, ["a", "b", "c"]);
    assert!(!hints.no_cache);
    assert!(scan("/*NO QUERY CACHE*/ SELECT 1", true).hints.no_cache);
    assert!(
        scan("SELECT /* pgditto: no_cache */ 1", true)
            .hints
            .no_cache
    );
    assert_eq!(
        scan("SELECT /* pgditto: level=ttl */ 1", true).hints.level,
        None
    );
    assert_eq!(
        scan("SELECT '/* pgditto: no_cache */'", true).hints,
        Default::default()
    );
    assert_eq!(
        scan("/* pgditto: ttl=often */ SELECT 1", true).hints,
        Default::default()
    );
}

#[test]
fn shape_text_is_one_readable_line() {
    assert_eq!(
        shape_text("SELECT  *\n FROM T /* x */ WHERE a=$1 AND b = 'x' AND c IN (1,2.5) -- y\n;"),
        "select * from t where a=$1 and b = ? and c in (?,?)"
    );
    assert_eq!(shape_text("SELECT \"A\nb\""), "select \"A b\"");
    let long = shape_text(&"ä, ".repeat(10_000));
    assert!(long.len() < 1_100 && long.ends_with('…'));
}
