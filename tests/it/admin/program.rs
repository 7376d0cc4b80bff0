//! The console of the running program: what it says is what there is.

use std::collections::BTreeMap;

use crate::fixture::{
    Certificates, Frames, Message, Options, PgBouncer, Pgditto, Postgres, Wire, error_code,
    eventually, psql,
};

/// A row by its columns' names.
type Row = BTreeMap<String, String>;

/// A console: pgditto's or PgBouncer's.
pub struct Console(pub Wire);

impl Console {
    fn of(pgditto: &Pgditto) -> Self {
        Self(Wire::connect_to(pgditto.port, "pgbouncer", &[]))
    }

    /// What SHOW shows; NULL is an empty text.
    fn show(&mut self, what: &str) -> Vec<Row> {
        let messages = self.0.query(&format!("SHOW {what}"));
        let columns = messages.iter().find(|message| message.tag == b'T');
        let columns = columns.unwrap_or_else(|| panic!("SHOW {what}: {messages:?}"));
        let columns = pgditto::wire::backend::row_description(&columns.body).expect("well-formed");
        let names: Vec<String> = columns
            .iter()
            .map(|column| String::from_utf8_lossy(column.name).into_owned())
            .collect();
        let row = |values: Vec<Option<String>>| {
            let values = values.into_iter().map(Option::unwrap_or_default);
            names.iter().cloned().zip(values).collect()
        };
        messages
            .iter()
            .filter(|message| message.tag == b'D')
            .map(|message| row(message.row()))
            .collect()
    }

    /// The only row of `what` in which `column` has this value.
    fn row(&mut self, what: &str, column: &str, value: &str) -> Row {
        let mut rows = self.show(what);
        rows.retain(|row| row[column] == value);
        assert_eq!(rows.len(), 1, "SHOW {what}: {column} = {value}: {rows:?}");
        rows.remove(0)
    }
}

fn postgres() -> Postgres {
    let postgres = Postgres::start(&[]);
    postgres.psql_as(
        "app",
        "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'one')",
    );
    postgres
}

fn start(postgres: &Postgres, configure: impl FnOnce(&mut Options)) -> Pgditto {
    Pgditto::start(postgres, |options| {
        options.set("auth.admin_users", "app");
        configure(options);
    })
}

/// With a configuration file beside the fixture's flags.
fn start_with(postgres: &Postgres, config: &str) -> (Pgditto, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pgditto.toml");
    std::fs::write(&file, config).expect("writable");
    let pgditto = start(postgres, |options| {
        options.args(&["--config", file.to_str().expect("plain")]);
    });
    (pgditto, folder)
}

#[test]
fn every_rule_counts_the_reads_that_it_decided() {
    let postgres = postgres();
    postgres.psql_as("app", "CREATE TABLE price (x int)");
    let (pgditto, folder) = start_with(
        &postgres,
        "[[cache.rules]]\ntables = [\"item\"]\ndatabases = [\"app\"]\ncache = false\n\
         [[cache.rules]]\ndatabases = [\"other\"]\ncache = false\n[[cache.rules]]\nttl = \"5s\"\n",
    );
    let mut client = Wire::connect(pgditto.port);
    let mut console = Console::of(&pgditto);
    let mut matched = || -> Vec<String> {
        let rows = console.show("CACHE_RULES");
        rows.into_iter().map(|row| row["matched"].clone()).collect()
    };
    eventually("the rules are asked", || {
        client.query("SELECT x FROM price");
        matched() != ["0", "0", "0"]
    });
    let before: u64 = matched()[2].parse().expect("a number");
    for _ in 0..3 {
        client.query("SELECT name FROM item");
        client.query("UPDATE item SET name = 'two'");
    }
    // One look for each Execute, though a unit that goes upstream is planned again.
    let two = Frames::new()
        .prepared("SELECT x FROM price", &[])
        .prepared("SELECT x + 1 FROM price", &[]);
    client.ask(&two.sync());
    let expected = ["3".to_owned(), "0".to_owned(), (before + 2).to_string()];
    assert_eq!(matched(), expected);

    let file = folder.path().join("pgditto.toml");
    let moved = "[[cache.rules]]\nusers = [\"nobody\"]\nttl = \"1s\"\n\
                 [[cache.rules]]\nttl = \"5s\"\n";
    std::fs::write(file, moved).expect("writable");
    let reloaded = Console::of(&pgditto).0.query("RELOAD");
    assert!(
        reloaded.iter().all(|message| message.tag != b'E'),
        "{reloaded:?}"
    );
    assert_eq!(matched(), ["0".to_owned(), (before + 2).to_string()]);
}

/// The real one's console.
fn real_console(real: &PgBouncer) -> Console {
    let parameters = [("user", "postgres"), ("database", "pgbouncer")];
    Console(Wire::try_login(real.port, 0, &parameters, "").expect("an admin"))
}

impl Console {
    /// The tag or the error's text that a command is answered with.
    fn order(&mut self, command: &str) -> String {
        said(&self.0.query(command))
    }
}

fn said(messages: &[Message]) -> String {
    let error = messages.iter().find(|message| message.tag == b'E');
    let done = messages.iter().find(|message| message.tag == b'C');
    match (error, done) {
        (Some(error), _) => error.field(b'M'),
        (None, Some(done)) => {
            let tag = pgditto::wire::backend::command_tag(&done.body).expect("well-formed");
            String::from_utf8_lossy(tag).into_owned()
        }
        (None, None) => String::new(),
    }
}

#[test]
fn orders_are_answered_as_pgbouncer_answers_them() {
    let postgres = postgres();
    let real = PgBouncer::start(&postgres, "pool_mode = transaction");
    let pgditto = start(&postgres, |_| {});
    let (mut ours, mut theirs) = (Console::of(&pgditto), real_console(&real));
    for command in [
        "DISABLE",
        "ENABLE",
        "DISABLE app",
        "DISABLE app",
        "ENABLE app",
        "ENABLE app",
        "PAUSE app",
        "PAUSE app",
        "RESUME",
        "RESUME app",
        "RESUME app",
        "PAUSE",
        "PAUSE",
        "PAUSE app",
        "KILL app",
        "RESUME app",
        "RESUME",
        "RESUME",
        "PAUSE app",
        "SUSPEND",
        "RESUME app",
        "SUSPEND",
        "SUSPEND",
        "PAUSE",
        "PAUSE app",
        "KILL app",
        "RESUME",
        "KILL app",
        "RESUME",
        "RESUME app",
        "RECONNECT",
        "RECONNECT app",
        "WAIT_CLOSE",
        "WAIT_CLOSE app",
        "PAUSE pgbouncer",
        "KILL pgbouncer",
        "DISABLE pgbouncer",
        "RECONNECT pgbouncer",
        "WAIT_CLOSE pgbouncer",
    ] {
        assert_eq!(ours.order(command), theirs.order(command), "{command}");
    }
    assert!(ours.order("SUSPEND app").starts_with("invalid command"));
}

#[test]
fn a_disabled_database_takes_no_new_client_and_keeps_those_it_has() {
    let postgres = postgres();
    let real = PgBouncer::start(&postgres, "pool_mode = transaction");
    let pgditto = start(&postgres, |_| {});
    let app = |port| {
        let parameters = [("user", "app"), ("database", "app")];
        Wire::try_login(port, 0, &parameters, "secret")
    };
    let mut before = app(pgditto.port).expect("in");
    let mut refusals = Vec::new();
    for (mut console, port) in [
        (real_console(&real), real.port),
        (Console::of(&pgditto), pgditto.port),
    ] {
        assert_eq!(console.order("DISABLE app"), "DISABLE");
        assert_eq!(console.row("DATABASES", "name", "app")["disabled"], "1");
        refusals.push(app(port).err().expect("disabled"));
        assert_eq!(console.order("ENABLE app"), "ENABLE");
        assert_eq!(console.row("DATABASES", "name", "app")["disabled"], "0");
        app(port).expect("enabled again");
    }
    let texts = refusals.iter().map(|refusal| refusal.field(b'M'));
    assert_eq!(
        texts.collect::<Vec<_>>(),
        ["database \"app\" is disabled"; 2]
    );
    assert_eq!(refusals[1].code(), "57P03");
    assert_eq!(before.value("SELECT name FROM item"), "one");
}

#[test]
fn a_pause_holds_for_users_who_come_after_it() {
    let postgres = postgres();
    postgres.psql("CREATE ROLE later LOGIN PASSWORD 'secret'");
    let (pgditto, _folder) = start_with(
        &postgres,
        "[[users]]\nname = \"later\"\npassword = \"secret\"\n",
    );
    let mut console = Console::of(&pgditto);
    for (pause, resume) in [("PAUSE", "RESUME"), ("PAUSE app", "RESUME app")] {
        assert_eq!(console.order(pause), "PAUSE");
        let port = pgditto.port;
        let late = std::thread::spawn(move || {
            let parameters = [("user", "later"), ("database", "app")];
            let mut late = Wire::try_login(port, 0, &parameters, "secret").expect("let in");
            late.value("/* pgditto: no_cache */ SELECT session_user")
        });
        eventually("it waits", || {
            let mut pools = console.show("POOLS");
            pools.retain(|pool| pool["user"] == "later" && pool["cl_waiting"] == "1");
            pools.len() == 1
        });
        let there = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'later'";
        assert_eq!(postgres.psql(there), "0");
        assert_eq!(console.order(resume), "RESUME");
        assert_eq!(late.join().expect("an answer"), "later");
        assert_eq!(console.order("RECONNECT"), "RECONNECT");
        eventually("its connection is gone", || postgres.psql(there) == "0");
    }
}

#[test]
fn suspend_answers_what_is_under_way_and_begins_nothing_before_resume() {
    let postgres = postgres();
    let pgditto = start(&postgres, |_| {});
    let mut holder = Wire::connect(pgditto.port);
    let mut busy = Wire::connect(pgditto.port);
    let mut other = Wire::connect(pgditto.port);
    holder.query("BEGIN; LOCK TABLE item");
    busy.send(
        Frames::new()
            .query("INSERT INTO item VALUES (2, 'two')")
            .bytes(),
    );
    eventually("it waits for the lock", || {
        postgres.psql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"
    });
    let (mut console, mut watcher) = (Console::of(&pgditto), Console::of(&pgditto));
    console.0.send(Frames::new().query("SUSPEND").bytes());
    let state =
        |console: &mut Console, key: &str| console.row("STATE", "key", key)["value"].clone();
    eventually("suspended", || state(&mut watcher, "suspended") == "yes");
    assert_eq!(state(&mut watcher, "active"), "no");

    // What comes now is read, and waits.
    let received = || {
        let metrics = pgditto.metrics();
        metrics.sum(
            "pgbouncer_stats_received_bytes_total",
            &[("database", "app")],
        )
    };
    let before = received();
    other.send(Frames::new().query("CREATE TABLE late ()").bytes());
    eventually("it was read", || received() > before);
    assert_eq!(postgres.psql("SELECT to_regclass('late') IS NULL"), "t");

    // The lock's holder cannot end its transaction now; without it the statement ends.
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'item'::regclass AND granted",
    );
    assert_eq!(said(&busy.until_ready()), "INSERT 0 1");
    assert_eq!(said(&console.0.until_ready()), "SUSPEND");
    assert_eq!(postgres.psql("SELECT to_regclass('late') IS NULL"), "t");
    assert_eq!(console.order("RESUME"), "RESUME");
    assert_eq!(said(&other.until_ready()), "CREATE TABLE");
    assert_eq!(state(&mut watcher, "suspended"), "no");
}

#[test]
fn a_suspension_ends_when_the_last_operator_leaves() {
    let postgres = postgres();
    let pgditto = start(&postgres, |_| {});
    let mut client = Wire::connect(pgditto.port);
    let mut console = Console::of(&pgditto);
    assert_eq!(console.order("SUSPEND"), "SUSPEND");
    drop(console);
    assert_eq!(client.value("SELECT name FROM item"), "one");
    pgditto.await_log("the last operator has left");
}

#[test]
fn wait_close_waits_for_connections_that_are_old_and_in_use() {
    let postgres = postgres();
    let pgditto = start(&postgres, |_| {});
    let mut client = Wire::connect(pgditto.port);
    client.query("BEGIN; INSERT INTO item VALUES (2, 'two')");
    let mut console = Console::of(&pgditto);
    let mut waiter = Console::of(&pgditto);
    console.order("RECONNECT app");
    let old = |console: &mut Console| {
        let servers = console.show("SERVERS");
        let old = servers
            .iter()
            .filter(|server| server["close_needed"] == "1");
        old.count()
    };
    assert_eq!(old(&mut console), 1);
    waiter.0.send(Frames::new().query("WAIT_CLOSE app").bytes());
    client.query("COMMIT");
    assert_eq!(said(&waiter.0.until_ready()), "WAIT_CLOSE");
    assert_eq!(old(&mut console), 0);
}

#[test]
fn clients_and_servers_are_shown_as_pgbouncer_shows_them() {
    let postgres = postgres();
    let real = PgBouncer::start(&postgres, "pool_mode = transaction");
    let pgditto = start(&postgres, |_| {});
    for (mut console, port) in [
        (real_console(&real), real.port),
        (Console::of(&pgditto), pgditto.port),
    ] {
        let parameters = [
            ("user", "app"),
            ("database", "app"),
            ("application_name", "the application"),
        ];
        let mut client = Wire::try_login(port, 0, &parameters, "secret").expect("in");
        client.query("BEGIN");
        let backend = client.value("SELECT pg_backend_pid()");
        let shown = console.row("CLIENTS", "database", "app");
        let server = console.row("SERVERS", "remote_pid", &backend);
        for (column, value) in [
            ("type", "C"),
            ("state", "active"),
            ("addr", "127.0.0.1"),
            ("port", &client.local_port().to_string()),
            ("local_addr", "127.0.0.1"),
            ("local_port", &port.to_string()),
            ("wait", "0"),
            ("wait_us", "0"),
            ("close_needed", "0"),
            ("link", &server["ptr"]),
            ("remote_pid", "0"),
            ("tls", ""),
            ("application_name", "the application"),
        ] {
            assert_eq!(shown[column], value, "{column}: {shown:?}");
        }
        for (column, value) in [
            ("type", "S"),
            ("database", "app"),
            ("state", "active"),
            ("addr", "127.0.0.1"),
            ("port", &postgres.port.to_string()),
            ("local_addr", "127.0.0.1"),
            ("wait", "0"),
            ("close_needed", "0"),
            ("link", &shown["ptr"]),
            ("tls", ""),
            ("application_name", "the application"),
        ] {
            assert_eq!(server[column], value, "{column}: {server:?}");
        }
        let port_in_server =
            "SELECT client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        assert_eq!(server["local_port"], client.value(port_in_server));
        for row in [&shown, &server] {
            for column in ["connect_time", "request_time"] {
                let time = &row[column];
                assert!(time.starts_with("20") && time.ends_with(" UTC"), "{time}");
            }
            assert!(row["request_time"] >= row["connect_time"], "{row:?}");
        }
        let mut sockets = console.show("SOCKETS");
        sockets.retain(|socket| socket["database"] == "app");
        let states: Vec<&str> = sockets.iter().map(|socket| &*socket["state"]).collect();
        assert_eq!(states, ["cl_active", "sv_active"]);
        client.query("COMMIT");
        let server = console.row("SERVERS", "remote_pid", &backend);
        assert_eq!((&*server["state"], &*server["link"]), ("idle", ""));
        let pool = console.row("POOLS", "database", "app");
        assert_eq!((&*pool["cl_active"], &*pool["sv_idle"]), ("1", "1"));
        let database = console.row("DATABASES", "name", "app");
        assert_eq!(database["current_connections"], "1");
    }
}

#[test]
fn a_clients_tls_its_statements_and_its_wait_are_shown() {
    let postgres = postgres();
    let certificates = Certificates::for_names(&["localhost"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let certificate = file("server.pem", &certificates.certificate_pem);
    let key = file("server.key", &certificates.key_pem);
    let pgditto = start(&postgres, |options| {
        options
            .set("client_tls.client_tls_sslmode", "allow")
            .set("client_tls.client_tls_cert_file", certificate)
            .set("client_tls.client_tls_key_file", key)
            .set("listen.unix_socket_dir", folder.path().display())
            .set("cache.mode", "off")
            .set("pool.default_pool_size", 1);
    });
    let mut console = Console::of(&pgditto);
    let mut client = Wire::connect(pgditto.port);
    client.query("BEGIN; SELECT 1");
    let mut sockets = console.show("ACTIVE_SOCKETS");
    sockets.retain(|socket| socket["database"] == "app");
    let states: Vec<&str> = sockets.iter().map(|socket| &*socket["state"]).collect();
    assert_eq!(states, ["cl_active", "sv_active"]);
    client.query("COMMIT");
    let pids = Frames::new()
        .parse("named", "SELECT 1")
        .parse("other", "SELECT 2")
        .parse("", "SELECT pg_backend_pid()")
        .bind("", "", &[])
        .execute("", 0)
        .bind("", "named", &[])
        .execute("", 0);
    client.ask(&pids.sync());
    let shown = eventually("the unit is over", || {
        let shown = console.row("CLIENTS", "database", "app");
        (shown["prepared_statements"] != "0").then_some(shown)
    });
    assert_eq!(shown["prepared_statements"], "2");
    let server = console.row("SERVERS", "database", "app");
    assert!(
        matches!(&*server["prepared_statements"], "1" | "2"),
        "{server:?}"
    );

    let mut waiting = Wire::connect_to(pgditto.port, "app", &[("application_name", "waits")]);
    client.query("BEGIN; INSERT INTO item VALUES (3, 'three')");
    waiting.send(Frames::new().query("SELECT name FROM item").bytes());
    let row = eventually("it waits for the only connection", || {
        let row = console.row("CLIENTS", "application_name", "waits");
        (row["state"] == "waiting" && row["wait_us"] != "0").then_some(row)
    });
    assert_eq!(row["link"], "");
    assert_eq!(console.row("POOLS", "database", "app")["cl_waiting"], "1");
    client.query("COMMIT");
    waiting.until_ready();

    let ask = |conninfo: String, name: &str| {
        let conninfo = format!("{conninfo} port={} user=app password=secret", pgditto.port);
        let application = format!("{conninfo} dbname=pgbouncer application_name={name}");
        let output = psql(&application, &["-At", "-c", "SHOW CLIENTS"], "");
        assert!(output.success, "{}", output.stderr);
        let mine = |line: &&str| line.split('|').nth(17) == Some(name);
        let line = output.stdout.lines().find(mine).expect("itself").to_owned();
        line.split('|').map(str::to_owned).collect::<Vec<_>>()
    };
    let encrypted = ask("host=127.0.0.1 sslmode=require".into(), "encrypted");
    assert!(encrypted[16].starts_with("TLSv1.3/TLS_"), "{encrypted:?}");
    let local = ask(format!("host={}", folder.path().display()), "local");
    assert_eq!((&*local[4], &*local[6], &*local[16]), ("unix", "unix", ""));
    assert_ne!(local[15], "0", "the process at the other end: {local:?}");
}

#[test]
fn statistics_count_as_pgbouncer_counts() {
    let postgres = postgres();
    let real = PgBouncer::start(&postgres, "pool_mode = transaction");
    let pgditto = start(&postgres, |options| {
        options.set("cache.mode", "off");
    });
    let mut counts = Vec::new();
    for (mut console, port) in [
        (real_console(&real), real.port),
        (Console::of(&pgditto), pgditto.port),
    ] {
        let parameters = [("user", "app"), ("database", "app")];
        let mut client = Wire::try_login(port, 0, &parameters, "secret").expect("in");
        for _ in 0..3 {
            client.query("SELECT name FROM item");
        }
        client.query("BEGIN");
        client.query("UPDATE item SET name = 'two'");
        client.query("COMMIT");
        client.ask(&Frames::new().prepared("SELECT name FROM item", &[]).sync());
        let stats = console.row("STATS_TOTALS", "database", "app");
        for time in ["xact_time", "query_time", "bytes_received", "bytes_sent"] {
            assert_ne!(stats[time], "0", "{time}: {stats:?}");
        }
        counts.push((stats["xact_count"].clone(), stats["query_count"].clone()));
    }
    assert_eq!(counts[1], counts[0]);
    let mut client = Wire::connect(pgditto.port);
    client.ask(&Frames::new().parse("s", "SELECT 1").sync());
    client.ask(&Frames::new().bind("", "s", &[]).execute("", 0).sync());
    client.ask(&Frames::new().bind("", "s", &[]).execute("", 0).sync());
    let stats = Console::of(&pgditto).row("STATS_TOTALS", "database", "app");
    assert_eq!(stats["client_parse_count"], "1");
    assert_eq!(stats["server_parse_count"], "1");
    assert_eq!(stats["bind_count"], "2");
}

#[test]
fn start_up_says_how_old_an_answer_may_be_and_foreign_writers_are_told_of_once() {
    let postgres = postgres();
    let pgditto = start(&postgres, |options| {
        options
            .set("cache.ttl", "45s")
            .set("cache.catalog_watch_interval", "50ms");
    });
    let bound = pgditto.await_log("there is no other bound");
    assert!(bound.contains("WARN") && bound.contains("45s"), "{bound}");

    let mut ours = Wire::connect(pgditto.port);
    ours.query("BEGIN; INSERT INTO item VALUES (2, 'two')");
    let foreign_writers = || {
        let metrics = pgditto.metrics();
        let name = "pgditto_foreign_writers_total";
        assert!(metrics.series(name).next().is_some(), "{name} is exported");
        metrics.sum(name, &[])
    };
    assert_eq!(foreign_writers(), 0.0);
    // The same sample sees ours and theirs, and counts one.
    let mut foreign = Wire::connect(postgres.port);
    foreign.query("BEGIN; INSERT INTO item VALUES (3, 'three')");
    let pid = foreign.value("SELECT pg_backend_pid()");
    eventually("it is seen", || foreign_writers() > 0.0);
    assert_eq!(foreign_writers(), 1.0);
    foreign.query("COMMIT; BEGIN; UPDATE item SET name = 'four' WHERE id = 3");
    eventually("so is the next", || foreign_writers() > 1.0);
    assert_eq!(foreign_writers(), 2.0);
    let warning = pgditto.await_log("that is not pgditto's");
    assert!(warning.contains(&format!("pid={pid}")), "{warning}");
    let log = pgditto.log();
    let warnings = log
        .iter()
        .filter(|line| line.contains("that is not pgditto's"));
    assert_eq!(warnings.count(), 1);
}

/// Counters that stand at zero for ever look like good news.
#[test]
fn pins_cancels_refusals_errors_and_invalidations_are_counted_by_reason() {
    let postgres = postgres();
    let pgditto = start(&postgres, |options| {
        options.set("cache.catalog_watch_interval", "50ms");
    });
    let count = |name: &str, labels: &[(&str, &str)]| pgditto.metrics().sum(name, labels);
    let mut client = Wire::connect(pgditto.port);
    client.query("PREPARE kept AS SELECT 1");
    assert_eq!(
        count("pgditto_pins_total", &[("reason", "sql_prepare")]),
        1.0
    );
    assert_eq!(
        count("pgditto_pinned_sessions", &[("reason", "sql_prepare")]),
        1.0
    );
    let pin = Console::of(&pgditto).row("PINS", "reason", "sql_prepare");
    assert_eq!(pin["server_pid"], client.value("SELECT pg_backend_pid()"));

    let cancel = |pid: u32, key: &[u8]| {
        let mut request = bytes::BytesMut::new();
        pgditto::wire::frontend::cancel_request(&mut request, pid, key);
        let mut stream = Wire::open(pgditto.port);
        stream.send(&request);
        // It is done when it is closed.
        assert!(stream.read().is_none());
    };
    client.send(Frames::new().query("SELECT pg_sleep(60)").bytes());
    eventually("it runs", || {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        postgres.psql(running) == "1"
    });
    cancel(client.pid, &client.key);
    assert_eq!(error_code(&client.until_ready()), "57014");
    cancel(client.pid, b"none");
    let cancels = |outcome: &str| count("pgditto_cancels_total", &[("outcome", outcome)]);
    assert_eq!((cancels("forwarded"), cancels("unknown")), (1.0, 1.0));

    let parameters = [("user", "app"), ("database", "nowhere")];
    let refused = Wire::try_login(pgditto.port, 0, &parameters, "secret").err();
    assert_eq!(refused.expect("no such database").code(), "3D000");
    let refusals = |reason: &str| count("pgditto_client_refusals_total", &[("reason", reason)]);
    assert_eq!(refusals("unknown_database"), 1.0);
    let own = [("origin", "proxy"), ("class", "3D")];
    assert_eq!(count("pgditto_errors_total", &own), 1.0);

    let invalidations = |reason: &str| count("pgditto_invalidations_total", &[("reason", reason)]);
    client.query("INSERT INTO item VALUES (5, 'five')");
    assert_eq!(invalidations("keys"), 1.0);
    client.query("CREATE TABLE other ()");
    assert_eq!(invalidations("catalogue"), 1.0);
    eventually("the catalogue is known", || {
        client.query("SELECT name FROM item");
        count("pgditto_hits_total", &[]) > 0.0
    });
    assert_eq!(invalidations("catalogue_outside"), 0.0);
    postgres.psql_as("app", "CREATE TABLE another ()");
    eventually("it is found", || invalidations("catalogue_outside") == 1.0);
    assert_eq!(invalidations("guard"), 0.0);
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgditto %'",
    );
    eventually("its loss is counted", || invalidations("guard") == 1.0);
}
