use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pgditto::admin::{House, Show, console};
use pgditto::client::{Connection, Greeting, Reception, Stream, UserDirectory, greet};
use pgditto::config::{AuthConfig, AuthType, ClientSslMode, Config, ListenConfig};
use pgditto::wire::{TransactionStatus, backend, frontend, tag};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::house::Played;
use super::raw::{Raw, answer, tags};
use crate::fixture::PgBouncer;

/// A console in front of a played house, until the test's runtime ends.
struct Served {
    house: Arc<Played>,
    port: u16,
    cancelled: Arc<Notify>,
}

async fn serve() -> Served {
    let house = Played::new();
    let cancelled = Arc::new(Notify::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (door, bell) = (Arc::clone(&house), Arc::clone(&cancelled));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(visit(stream, Arc::clone(&door), Arc::clone(&bell)));
        }
    });
    Served {
        house,
        port,
        cancelled,
    }
}

async fn visit(stream: tokio::net::TcpStream, house: Arc<Played>, cancelled: Arc<Notify>) {
    let config = Config {
        auth: AuthConfig {
            auth_type: AuthType::Trust,
            ..AuthConfig::default()
        },
        ..Config::default()
    };
    let users = UserDirectory::from_config(&config);
    let listen = ListenConfig::default();
    let reception = Reception {
        tls: None,
        sslmode: ClientSslMode::Disable,
        listen: &listen,
        auth: AuthType::Trust,
        rules: None,
        users: &users,
        lookup: None,
        members: None,
        passthrough: None,
        passthrough_without_tls: Default::default(),
    };
    let greeting = greet(Stream::tcp(stream).unwrap(), reception);
    let Ok(Greeting::Login(login)) = greeting.await else {
        return;
    };
    let visitor = console::Visitor {
        user: &login.user,
        pid: 4_194_400,
        key: Bytes::from_static(b"\x01\x02\x03\x04"),
        cancelled: &cancelled,
    };
    let connection: Connection = login.connection;
    let house: Arc<dyn House> = house;
    console::serve(connection, visitor, house).await.unwrap();
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

async fn psql(port: u16, user: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new("psql");
    command
        .args(["-X", "-h", "127.0.0.1", "-U", user, "-d", "pgbouncer"])
        .args(["-p", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let run = tokio::time::timeout(Duration::from_secs(20), run);
    let output = run.await.unwrap().unwrap().expect("psql is missing");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        ok: output.status.success(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_show_begins_with_pgbouncers_own_columns() {
    let (ours, real) = (serve().await, PgBouncer::console_only());
    let (mut ours, _) = Raw::connect(ours.port, "adm").await;
    let (mut real, _) = Raw::connect(real.port, "adm").await;
    let mut compared = Vec::new();
    for show in Show::ALL {
        let sql = format!("SHOW {}", show.as_str());
        let theirs = real.query(&sql).await;
        let own = ours.query(&sql).await;
        assert_eq!(own.error, None, "{sql}");
        let columns = show.columns().iter();
        let columns = columns.map(|c| (c.name.to_owned(), c.kind.oid(), c.kind.type_len()));
        assert_eq!(own.columns, columns.collect::<Vec<_>>(), "{sql}");
        for row in &own.rows {
            assert_eq!(row.len(), own.columns.len(), "{sql}");
        }
        if theirs.error.is_none() {
            let count = theirs.columns.len();
            assert_eq!(own.columns[..count], theirs.columns, "{sql}");
            assert_eq!(own.tags, theirs.tags, "{sql}");
            compared.push(show.as_str());
        }
    }
    assert_eq!(
        compared,
        [
            "CONFIG",
            "DATABASES",
            "POOLS",
            "CLIENTS",
            "SERVERS",
            "SOCKETS",
            "ACTIVE_SOCKETS",
            "USERS",
            "LISTS",
            "MEM",
            "VERSION",
            "STATS",
            "STATS_TOTALS",
            "STATS_AVERAGES",
            "TOTALS",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_totals_and_config_have_pgbouncers_rows_first() {
    let (ours, real) = (serve().await, PgBouncer::console_only());
    let (mut ours, _) = Raw::connect(ours.port, "adm").await;
    let (mut real, _) = Raw::connect(real.port, "adm").await;
    for sql in ["SHOW LISTS", "SHOW TOTALS"] {
        let (theirs, own) = (real.query(sql).await.rows, ours.query(sql).await.rows);
        let names = |rows: &[Vec<Option<String>>]| -> Vec<Option<String>> {
            rows.iter().map(|row| row[0].clone()).collect()
        };
        assert_eq!(names(&own)[..theirs.len()], names(&theirs), "{sql}");
    }
    // The exporter reads these two, and refuses any other number of columns.
    let config = ours.query("SHOW CONFIG").await;
    assert_eq!(config.columns.len(), 4);
    for key in ["max_client_conn", "max_user_connections"] {
        let row = config
            .rows
            .iter()
            .find(|row| row[0].as_deref() == Some(key));
        let value = row.and_then(|row| row[1].clone()).unwrap();
        value.parse::<f64>().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_with_pgbouncers_tags() {
    let (served, real) = (serve().await, PgBouncer::console_only());
    let (mut ours, _) = Raw::connect(served.port, "adm").await;
    let (mut real, _) = Raw::connect(real.port, "adm").await;
    for sql in [
        "SHOW HELP",
        "RELOAD",
        "pause",
        "RESUME;",
        "PAUSE shop",
        "RESUME shop",
        "RECONNECT",
        "KILL shop",
        "RESUME shop",
        "SET max_client_conn=50",
        "set max_client_conn = '60';",
    ] {
        let (theirs, own) = (real.query(sql).await, ours.query(sql).await);
        assert_eq!(theirs.error, None, "{sql}");
        assert_eq!(own.error, None, "{sql}");
        let same = own.tags[0].eq_ignore_ascii_case(&theirs.tags[0]);
        assert!(same, "{sql}: {:?} and {:?}", own.tags, theirs.tags);
        if sql == "SHOW HELP" {
            assert_eq!(own.notices, theirs.notices);
        }
    }
    assert_eq!(
        served.house.commands(),
        [
            "reload",
            "pause None",
            "resume None",
            "pause Some(\"shop\")",
            "resume Some(\"shop\")",
            "reconnect None",
            "kill Some(\"shop\")",
            "resume Some(\"shop\")",
            "set max_client_conn=50",
            "set max_client_conn=60",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_shows_pools_and_several_commands_at_once() {
    let served = serve().await;
    let said = psql(served.port, "adm", &["-A", "-c", "show pools;"]).await;
    assert!(said.ok, "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("database|user|cl_active|cl_waiting|cl_active_cancel_req"));
    assert!(
        lines[1].starts_with("shop|app|2|1|0|0|4|0|0|5|0|0|0|2|123|transaction|"),
        "{}",
        lines[1]
    );
    let both = psql(
        served.port,
        "stat",
        &["-At", "-c", "SHOW VERSION; SHOW STATE"],
    )
    .await;
    let version = concat!("pgditto ", env!("CARGO_PKG_VERSION"));
    assert!(both.out.starts_with(version), "{}", both.out);
    assert!(both.out.contains("active|yes"), "{}", both.out);
    let help = psql(served.port, "app", &["-c", "SHOW HELP"]).await;
    assert!(help.err.contains("Console usage") && help.err.contains("CACHE FLUSH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_command_says_where_help_is() {
    let served = serve().await;
    let said = psql(
        served.port,
        "adm",
        &["-v", "VERBOSITY=verbose", "-c", "SELECT * FROM t"],
    )
    .await;
    assert!(!said.ok);
    assert!(said.err.contains("42601"), "{}", said.err);
    assert!(said.err.contains("SHOW HELP"), "{}", said.err);
    let (mut raw, _) = Raw::connect(served.port, "adm").await;
    // The first error ends the string; nothing of it is done if it is not understood.
    let answer = raw.query("PAUSE; nonsense; RESUME").await;
    assert!(answer.tags.is_empty() && answer.error.is_some());
    assert!(served.house.commands().is_empty());
    let answer = raw.query("PAUSE; PAUSE nowhere; RESUME").await;
    assert_eq!(answer.tags, ["PAUSE"]);
    assert_eq!(answer.error.unwrap().0, "3D000");
    assert_eq!(served.house.commands(), ["pause None"]);
    let answer = raw.query("SET max_client_con = 5").await;
    assert_eq!(answer.error.unwrap().0, "42704");
    assert!(answer.hint.unwrap().contains("max_client_conn"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_change_anything_and_strangers_are_turned_away() {
    let served = serve().await;
    for user in ["stat", "app"] {
        let (mut raw, _) = Raw::connect(served.port, user).await;
        assert_eq!(raw.query("SHOW STATS").await.error, None);
        for sql in [
            "PAUSE",
            "RESUME",
            "RECONNECT",
            "KILL shop",
            "KILL_CLIENT 41",
            "RELOAD",
            "SHUTDOWN",
            "SHUTDOWN WAIT_FOR_CLIENTS",
            "SET max_client_conn = 5",
            "CACHE FLUSH",
            "CACHE FLUSH TAG x",
        ] {
            let error = raw.query(sql).await.error.unwrap();
            assert_eq!(error.0, "42501", "{user}: {sql}");
        }
    }
    assert!(served.house.commands().is_empty());
    let (_, frames) = Raw::connect(served.port, "mallory").await;
    let (code, message) = answer(&frames).error.unwrap();
    assert_eq!((code.as_str(), message.as_str()), ("28000", "not allowed"));
    let said = psql(served.port, "mallory", &["-c", "SHOW POOLS"]).await;
    assert!(said.err.contains("not allowed"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_commands_reach_the_house() {
    let served = serve().await;
    let (mut raw, _) = Raw::connect(served.port, "adm").await;
    for (sql, tag) in [
        ("KILL_CLIENT 41", "KILL_CLIENT"),
        ("CACHE FLUSH", "CACHE FLUSH"),
        ("CACHE FLUSH TABLE public.item", "CACHE FLUSH"),
        ("CACHE FLUSH TAG prices", "CACHE FLUSH"),
        ("CACHE FLUSH SHAPE 0000000000000007", "CACHE FLUSH"),
        ("SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN"),
    ] {
        assert_eq!(raw.query(sql).await.tags, [tag], "{sql}");
    }
    assert_eq!(
        served.house.commands(),
        [
            "kill_client 41",
            "flush All",
            "flush Table { schema: Some(\"public\"), name: \"item\" }",
            "flush Tag(\"prices\")",
            "flush Shape(\"0000000000000007\")",
            "shutdown WaitForServers",
        ]
    );
    assert_eq!(raw.query("KILL_CLIENT 5").await.error.unwrap().0, "42704");
    let reloaded = raw.query("RELOAD").await;
    assert!(reloaded.notices[0].contains("listen.listen_port"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_costly_statements_are_shown_without_literals() {
    let served = serve().await;
    let (mut raw, _) = Raw::connect(served.port, "stat").await;
    for sql in ["SHOW SLOW", "SHOW QUERIES"] {
        let answer = raw.query(sql).await;
        let row = format!("{:?}", answer.rows);
        assert!(row.contains("select random()"), "{row}");
        assert!(!row.contains("secret"), "{row}");
        assert!(row.contains("volatile_function"), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_prepares_everything_reads_binary() {
    let served = serve().await;
    let url = format!(
        "host=127.0.0.1 port={} user=stat dbname=pgbouncer",
        served.port
    );
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let rows = client.query("SHOW POOLS", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>("database"), "shop");
    assert_eq!(rows[0].get::<_, i32>("sv_idle"), 5);
    let rows = client.query("SHOW PINS;", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>("client_id"), 41);
    let one = client.query_one("SELECT 1", &[]).await.unwrap();
    assert_eq!(one.get::<_, i32>(0), 1);
    assert_eq!(
        client
            .execute("SET extra_float_digits = 3", &[])
            .await
            .unwrap(),
        0
    );
    let error = client.query("PAUSE", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    let error = client.query("SELECT 1; SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42601");
    client
        .batch_execute("BEGIN; SHOW STATS; COMMIT")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_read_piece_by_piece_and_an_error_skips_to_sync() {
    let served = serve().await;
    let (mut raw, _) = Raw::connect(served.port, "adm").await;
    let out = &mut raw.output;
    frontend::parse(out, b"s", b"SHOW LISTS", &[]);
    frontend::describe(out, frontend::Target::Statement, b"s");
    frontend::bind_raw(out, b"p", b"s", &[0, 0, 0, 0, 0, 0]);
    frontend::execute(out, b"p", 5);
    frontend::execute(out, b"p", 5);
    frontend::execute(out, b"p", 0);
    frontend::close(out, frontend::Target::Statement, b"s");
    frontend::sync(out);
    let frames = raw.exchange().await;
    assert_eq!(tags(&frames), "1tT2DDDDDsDDDDDsDDDDC3Z");

    let out = &mut raw.output;
    frontend::parse(out, b"", b"nonsense", &[]);
    frontend::bind_raw(out, b"", b"", &[0, 0, 0, 0, 0, 0]);
    frontend::execute(out, b"", 0);
    frontend::sync(out);
    assert_eq!(tags(&raw.exchange().await), "EZ");

    for (code, expected) in [(b"none".as_slice(), "26000"), (b"", "26000")] {
        frontend::bind_raw(&mut raw.output, b"", code, &[0, 0, 0, 0, 0, 0]);
        frontend::sync(&mut raw.output);
        let frames = raw.exchange().await;
        assert_eq!(answer(&frames).error.unwrap().0, expected);
    }
    frontend::execute(&mut raw.output, b"gone", 0);
    frontend::sync(&mut raw.output);
    let frames = raw.exchange().await;
    assert_eq!(answer(&frames).error.unwrap().0, "34000");

    let out = &mut raw.output;
    frontend::parse(out, b"", b"", &[]);
    frontend::bind_raw(out, b"", b"", &[0, 0, 0, 0, 0, 0]);
    frontend::describe(out, frontend::Target::Portal, b"");
    frontend::execute(out, b"", 0);
    frontend::sync(out);
    assert_eq!(tags(&raw.exchange().await), "12nIZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_reports_what_drivers_need() {
    let served = serve().await;
    let (mut raw, frames) = Raw::connect(served.port, "adm").await;
    let parameters: Vec<(String, String)> = frames
        .iter()
        .filter(|frame| frame.tag() == tag::backend::PARAMETER_STATUS)
        .map(|frame| backend::parameter_status(frame.body()).unwrap())
        .map(|(name, value)| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(name), text(value))
        })
        .collect();
    let value = |name: &str| {
        let found = parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    };
    assert!(value("server_version").starts_with("14.0 (pgditto "));
    assert_eq!(value("client_encoding"), "UTF8");
    assert_eq!(value("standard_conforming_strings"), "on");
    assert_eq!(value("is_superuser"), "on");
    assert_eq!(value("integer_datetimes"), "on");
    let frames = {
        frontend::query(&mut raw.output, b"BEGIN");
        raw.exchange().await
    };
    let last = frames.last().unwrap();
    let status = backend::ready_status(last.body()).unwrap();
    assert_eq!(status, TransactionStatus::InBlock);
    assert_eq!(tags(&raw.query_frames("").await), "IZ");
}

impl Raw {
    async fn query_frames(&mut self, sql: &str) -> Vec<pgditto::wire::Frame> {
        frontend::query(&mut self.output, sql.as_bytes());
        self.exchange().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_ends_with_a_cancel_request() {
    let served = serve().await;
    let (mut raw, _) = Raw::connect(served.port, "adm").await;
    frontend::query(&mut raw.output, b"PAUSE never; SHOW STATE");
    raw.send().await;
    while served.house.commands().is_empty() {
        tokio::task::yield_now().await;
    }
    served.cancelled.notify_one();
    let frames = raw.exchange().await;
    assert_eq!(tags(&frames), "EZ");
    assert_eq!(answer(&frames).error.unwrap().0, "57014");
    assert_eq!(raw.query("SHOW STATE").await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_ends_only_its_own_connection() {
    let served = serve().await;
    for garbage in [
        &b"Q\0\0\0\x02"[..],
        b"Q\x7f\xff\xff\xff",
        b"\0\0\0\0\x04",
        b"z\0\0\0\x04",
    ] {
        let (mut raw, _) = Raw::connect(served.port, "adm").await;
        raw.output.extend_from_slice(garbage);
        let frames = raw.exchange().await;
        assert_eq!(answer(&frames).error.unwrap().0, "08P01", "{garbage:?}");
    }
    for survived in [
        &b"Q\0\0\0\x08\xff\xfe\xfd\0"[..],
        b"Q\0\0\0\x06'\0",
        b"F\0\0\0\x04",
        b"P\0\0\0\x05\0S\0\0\0\x04",
        b"B\0\0\0\x04S\0\0\0\x04",
    ] {
        let (mut raw, _) = Raw::connect(served.port, "adm").await;
        raw.output.extend_from_slice(survived);
        assert_eq!(tags(&raw.exchange().await), "EZ", "{survived:?}");
        assert_eq!(raw.query("SHOW STATE").await.error, None);
    }
}
