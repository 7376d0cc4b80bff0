//! Prepared statements of the protocol behind a pool: whose copy on which connection is used, and what becomes of
//! them when code that nobody sees drops them, or when a table changes.

use pgditto::wire::backend;
use pgditto::wire::tag::backend as tag;

use crate::fixture::{Frames, Message, Pgditto, Postgres, Wait, Wire, error_code, eventually};

struct House {
    postgres: Postgres,
    pgditto: Pgditto,
}

/// A server with `setup` in it, and a pool of so many connections before it.
fn house(setup: &str, connections: usize) -> House {
    let postgres = Postgres::start(&[]);
    postgres.psql_as("app", setup);
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Ready)
            .set("pool.default_pool_size", connections);
    });
    House { postgres, pgditto }
}

impl House {
    fn client(&self) -> Wire {
        Wire::connect(self.pgditto.port)
    }

    fn direct(&self) -> Wire {
        Wire::connect(self.postgres.port)
    }
}

/// A transcript in which relations have no numbers.
fn show(messages: &[Message]) -> Vec<String> {
    let show = |message: &Message| match message.tag {
        tag::ROW_DESCRIPTION => {
            let columns = backend::row_description(&message.body).expect("columns");
            let columns = columns
                .iter()
                .map(|c| (c.name.escape_ascii().to_string(), c.type_oid));
            format!("T {:?}", columns.collect::<Vec<_>>())
        }
        _ => format!("{message:?}"),
    };
    messages.iter().map(show).collect()
}

fn parse(sql: &str) -> Frames {
    Frames::new().parse("s", sql).sync()
}

fn run() -> Frames {
    Frames::new().bind("", "s", &[]).execute("", 0).sync()
}

const DROPPING: &str = "CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN DEALLOCATE ALL; RETURN 1; END $$;
    CREATE FUNCTION dynamic(what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'DEALL' || what; RETURN 1; END $$;
    CREATE TABLE watched (a int);
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DEALLOCATE ALL; RETURN NEW; END $$;
    CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch()";

#[test]
fn statements_that_unseen_code_drops_are_there_for_others() {
    for dropping in [
        "SELECT hidden()",
        "DO $$ BEGIN DEALLOCATE ALL; END $$",
        "DO $$ BEGIN EXECUTE 'DEALLOCATE PREPARE ALL'; END $$",
        "BEGIN; SELECT hidden(); COMMIT",
        "SELECT dynamic('OCATE ALL')",
        "INSERT INTO watched VALUES (1)",
    ] {
        let house = house(DROPPING, 1);
        let (mut one, mut two) = (house.client(), house.client());
        assert_eq!(error_code(&two.ask(&parse("SELECT 42"))), "");
        assert_eq!(two.ask(&run())[1].row(), [Some("42".to_owned())]);
        one.rows(dropping);
        for _ in 0..2 {
            let ours = two.ask(&run());
            assert_eq!(error_code(&ours), "", "{dropping}: {ours:?}");
            assert_eq!(ours[1].row(), [Some("42".to_owned())]);
        }
        two.rows("BEGIN");
        assert_eq!(error_code(&two.ask(&run())), "", "{dropping}");
        two.rows("COMMIT");
    }
}

#[test]
fn statements_that_unseen_code_drops_are_gone_for_its_own_session() {
    let house = house(DROPPING, 1);
    let play = |mut wire: Wire| {
        let mut said = Vec::new();
        let mut ask = |frames: &Frames| said.push(format!("{:?}", wire.ask(frames)));
        ask(&parse("SELECT 42"));
        ask(&run());
        ask(&Frames::new().query("SELECT hidden()"));
        ask(&run());
        ask(&Frames::new().describe_statement("s").sync());
        ask(&parse("SELECT 43"));
        ask(&run());
        // Within a transaction it is not healed, and need not be.
        ask(&Frames::new().query("BEGIN"));
        ask(&Frames::new().query("SELECT hidden()"));
        ask(&Frames::new().parse("t", "SELECT 44").sync());
        ask(&Frames::new().bind("", "t", &[]).execute("", 0).sync());
        ask(&run());
        ask(&Frames::new().query("ROLLBACK"));
        ask(&Frames::new().bind("", "t", &[]).execute("", 0).sync());
        ask(&Frames::new().describe_statement("s").sync());
        ask(&parse("SELECT 45"));
        ask(&run());
        said
    };
    assert_eq!(play(house.client()), play(house.direct()));
}

/// A session that prepares statements, while others change the table and take its connection away.
struct Player<'a> {
    house: &'a House,
    wire: Wire,
    through: bool,
    said: Vec<Vec<String>>,
}

impl<'a> Player<'a> {
    fn new(house: &'a House, through: bool) -> Self {
        let wire = if through {
            house.client()
        } else {
            house.direct()
        };
        Self {
            house,
            wire,
            through,
            said: Vec::new(),
        }
    }

    fn ask(&mut self, frames: &Frames) -> &mut Self {
        let answer = self.wire.ask(frames);
        self.said.push(show(&answer));
        self
    }

    fn query(&mut self, sql: &str) -> &mut Self {
        self.ask(&Frames::new().query(sql))
    }

    fn run(&mut self, name: &str) -> &mut Self {
        self.ask(&Frames::new().bind("", name, &[]).execute("", 0).sync())
    }

    /// Another session changes the table.
    fn change(&mut self, sql: &str) -> &mut Self {
        let mut other = Player::new(self.house, self.through).wire;
        other.rows(sql);
        self
    }

    /// The pool's only connection is another one from now on.
    fn replace(&mut self) -> &mut Self {
        if self.through {
            let postgres = &self.house.postgres;
            let pids = postgres.psql(
                "SELECT pid FROM pg_stat_activity
                 WHERE usename = 'app' AND application_name NOT LIKE 'pgditto%'",
            );
            for pid in pids.lines() {
                postgres.terminate(pid);
            }
        }
        self
    }
}

/// The same on two databases of which one is behind pgditto.
fn alike(setup: &str, play: impl Fn(&mut Player<'_>)) {
    let said = [true, false].map(|through| {
        let house = house(setup, 1);
        let mut player = Player::new(&house, through);
        play(&mut player);
        player.said
    });
    let [ours, truth] = said;
    for (ours, truth) in ours.iter().zip(&truth) {
        assert_eq!(ours, truth);
    }
}

const TABLE: &str = "CREATE TABLE k (id int, v int); INSERT INTO k VALUES (1, 2)";

fn described(name: &str, sql: &str) -> Frames {
    Frames::new()
        .parse(name, sql)
        .describe_statement(name)
        .sync()
}

#[test]
fn a_statement_is_refused_once_its_columns_have_changed() {
    for replaced in [false, true] {
        alike(TABLE, |player| {
            let replace = |player: &mut Player<'_>| {
                if replaced {
                    player.replace();
                }
            };
            player
                .ask(&described("s", "SELECT * FROM k"))
                .ask(&Frames::new().parse("never_described", "TABLE k").sync())
                .ask(&described("i", "INSERT INTO k VALUES (9, 9) RETURNING *"))
                .ask(&described("same", "SELECT id FROM k"))
                .run("s")
                .change("ALTER TABLE k ADD more int");
            replace(player);
            player
                .run("s")
                .run("s")
                .run("same")
                .run("never_described")
                .run("i");
            player.query("SELECT count(*) FROM k WHERE id = 9");
            player.ask(&Frames::new().describe_statement("s").sync());
            replace(player);
            player.ask(&Frames::new().describe_statement("s").sync());
            replace(player);
            player
                .query("BEGIN")
                .query("SELECT 1")
                .run("i")
                .query("SELECT 2")
                .query("ROLLBACK")
                // Prepared now it gives what the table has now.
                .ask(&described("t", "SELECT * FROM k"))
                .run("t")
                .run("s");
            replace(player);
            player.run("t").run("s").run("t");
            player
                .ask(&Frames::new().close_statement("s").sync())
                .ask(&described("s", "SELECT * FROM k"))
                .run("s")
                .change("ALTER TABLE k DROP more");
            replace(player);
            player
                .run("s")
                .run("t")
                .run("i")
                .run("same")
                .run("never_described");
            player.change("DROP TABLE k");
            replace(player);
            player.run("i").run("s");
            player.change("CREATE TABLE k (id int, v int)");
            replace(player);
            player.run("i").run("s").run("same");
        });
    }
}

#[test]
fn a_statement_is_refused_in_its_place_in_a_pipeline() {
    for flush in [false, true] {
        alike(TABLE, |player| {
            player
                .ask(&described("s", "SELECT * FROM k"))
                .ask(&described("i", "INSERT INTO k VALUES (3, 4) RETURNING id"))
                .change("ALTER TABLE k ADD more int")
                .replace();
            let mut unit = Frames::new();
            unit = unit.bind("", "i", &[]).execute("", 0);
            if flush {
                unit = unit.flush();
            }
            player.ask(
                &unit
                    .clone()
                    .parse("u", "SELECT 5")
                    .bind("", "u", &[])
                    .execute("", 0)
                    .sync(),
            );
            player.replace();
            player.ask(
                &unit
                    .clone()
                    .bind("", "s", &[])
                    .execute("", 0)
                    .bind("", "i", &[])
                    .sync(),
            );
            player.query("SELECT count(*) FROM k");
            player.run("u").replace();
            player.query("BEGIN");
            player.ask(&unit.clone().bind("", "i", &[]).execute("", 0).sync());
            player.ask(&unit.bind("", "s", &[]).execute("", 0).sync());
            player.query("COMMIT").query("SELECT count(*) FROM k");
        });
    }
}

#[test]
fn parameters_keep_the_types_that_the_client_was_told() {
    alike(TABLE, |player| {
        player
            .ask(&described("s", "SELECT id FROM k WHERE v = $1"))
            .change("ALTER TABLE k ALTER v TYPE bigint")
            .replace();
        let two = 2_i32.to_be_bytes();
        let run = Frames::new()
            .bind_as("", "s", &[1], &[Some(&two)], &[])
            .execute("", 0)
            .sync();
        player
            .ask(&run)
            .ask(&run)
            .ask(&Frames::new().describe_statement("s").sync());
    });
}

#[test]
fn the_unnamed_statement_is_refused_like_any_other() {
    alike(TABLE, |player| {
        player
            .ask(&described("", "SELECT * FROM k"))
            .change("ALTER TABLE k ADD more int")
            .replace()
            .run("")
            .run("")
            .ask(&described("", "SELECT * FROM k"))
            .run("");
    });
}

#[test]
fn whoever_prepares_after_a_change_gets_the_new_columns_on_every_connection() {
    let house = house(TABLE, 2);
    // Two connections, both with a copy of before.
    let mut holders = [house.client(), house.client()];
    for holder in &mut holders {
        holder.ask(&parse("SELECT * FROM k"));
        holder.rows("BEGIN");
        assert_eq!(error_code(&holder.ask(&run())), "");
    }
    for holder in &mut holders {
        holder.rows("COMMIT");
    }
    house.client().rows("ALTER TABLE k ADD more int DEFAULT 7");
    let mut new = [house.client(), house.client(), house.client()];
    for wire in &mut new {
        assert_eq!(error_code(&wire.ask(&parse("SELECT * FROM k"))), "");
    }
    let columns = ["1", "2", "7"].map(|value| Some(value.to_owned()));
    // Each holds one connection while the other goes to the other.
    for turn in 0..3 {
        let (first, second) = (turn % 3, (turn + 1) % 3);
        for at in [first, second] {
            new[at].rows("BEGIN");
            assert_eq!(new[at].ask(&run())[1].row(), columns);
        }
        for at in [first, second] {
            new[at].rows("COMMIT");
        }
    }
    // Those of before are refused, wherever they go.
    for holder in &mut holders {
        holder.rows("BEGIN");
        assert_eq!(error_code(&holder.ask(&run())), "0A000");
    }
}

#[test]
fn a_change_from_outside_is_survived_by_preparing_anew() {
    let postgres = Postgres::start(&[]);
    postgres.psql_as("app", TABLE);
    let pgditto = Pgditto::start(&postgres, |options| {
        options
            .wait(Wait::Ready)
            .set("pool.default_pool_size", 1)
            .set("cache.mode", "off")
            .set("cache.catalog_watch_interval", "1h");
    });
    eventually("the catalogue is known", || {
        let serving = [("state", "serving")];
        pgditto.metrics().sum("pgditto_guard_state", &serving) == 1.0
    });
    let mut wire = Wire::connect(pgditto.port);
    wire.ask(&parse("SELECT * FROM k"));
    wire.ask(&run());
    postgres.psql_as("app", "ALTER TABLE k ADD more int DEFAULT 7");
    let mut late = Wire::connect(pgditto.port);
    late.ask(&parse("SELECT * FROM k"));
    // Nobody has noticed: the copy of before is taken for good, and the server refuses it.
    for wire in [&mut wire, &mut late] {
        for _ in 0..2 {
            assert_eq!(error_code(&wire.ask(&run())), "0A000");
        }
        let again = Frames::new()
            .close_statement("s")
            .parse("s", "SELECT * FROM k")
            .bind("", "s", &[])
            .execute("", 0)
            .sync();
        let answer = wire.ask(&again);
        assert_eq!(error_code(&answer), "", "{answer:?}");
        let row = answer.iter().find(|message| message.tag == tag::DATA_ROW);
        assert_eq!(row.expect("a row").row().len(), 3);
    }
}

#[test]
fn sql_does_not_reach_statements_of_other_sessions() {
    let house = house("CREATE TABLE t (a int)", 1);
    let mut other = house.client();
    other.ask(&parse("SELECT 42"));
    let runs = |other: &mut Wire| {
        let answer = other.ask(&run());
        assert_eq!(error_code(&answer), "", "{answer:?}");
        assert_eq!(answer[1].row(), [Some("42".to_owned())]);
    };
    runs(&mut other);
    let name = other.value("SELECT name FROM pg_prepared_statements WHERE statement = 'SELECT 42'");
    let play = |mut wire: Wire, other: &mut dyn FnMut()| {
        let mut said = Vec::new();
        for sql in [
            "EXECUTE name",
            "EXPLAIN EXECUTE name",
            "EXPLAIN ANALYZE EXECUTE name",
            "CREATE TABLE made AS EXECUTE name",
            "CREATE TEMP TABLE made AS EXECUTE name",
            "EXPLAIN CREATE TABLE made AS EXECUTE name",
            "DEALLOCATE name",
            "SELECT 1; EXECUTE name",
            "BEGIN; DEALLOCATE PREPARE name",
        ] {
            let sql = sql.replace("name", &name);
            let prepared = Frames::new().prepared(&sql, &[]).sync();
            other();
            said.push(show(&wire.query(&sql)));
            said.push(show(&wire.query("ROLLBACK")));
            other();
            said.push(show(&wire.ask(&prepared)));
            other();
            let first = Frames::new().parse("", "SELECT 1").describe_statement("");
            wire.send(first.flush().bytes());
            said.push(show(&wire.read_until(b"T")));
            said.push(show(&wire.ask(&prepared)));
        }
        // A statement of its own by that name.
        let own = || Frames::new().bind("", &name, &[]).execute("", 0).sync();
        other();
        said.push(show(&wire.ask(&own())));
        said.push(show(
            &wire.ask(&Frames::new().parse(&name, "SELECT 'own'").sync()),
        ));
        other();
        said.push(show(&wire.ask(&own())));
        said.push(show(&wire.query(&format!("EXECUTE {name}"))));
        other();
        said.push(show(&wire.query(&format!("DEALLOCATE {name}"))));
        said.push(show(&wire.ask(&own())));
        said
    };
    let ours = play(house.client(), &mut || runs(&mut other));
    let truth = play(house.direct(), &mut || {});
    for (ours, truth) in ours.iter().zip(&truth) {
        assert_eq!(ours, truth);
    }
}

#[test]
fn sequences_of_other_sessions_are_discarded_beside_the_unnamed_statement_and_portal() {
    let setup = "CREATE SEQUENCE seq; CREATE SEQUENCE others";
    let played = [true, false].map(|through| {
        let house = house(setup, 1);
        eventually("the catalogue is known", || {
            let serving = [("state", "serving")];
            house.pgditto.metrics().sum("pgditto_guard_state", &serving) == 1.0
        });
        let client = || match through {
            true => house.client(),
            false => house.direct(),
        };
        // Its state is on the connection.
        let mut other = client();
        other.rows("SELECT nextval('others')");
        let mut wire = client();
        let mut said = Vec::new();
        let mut ask = |frames: Frames| said.push(show(&wire.ask(&frames)));
        ask(Frames::new().query("BEGIN"));
        ask(Frames::new()
            .parse("", "SELECT generate_series(1, 3)")
            .bind("", "", &[])
            .execute("", 1)
            .sync());
        ask(Frames::new()
            .parse("n", "SELECT nextval('seq')")
            .bind("p", "n", &[])
            .execute("p", 0)
            .sync());
        ask(Frames::new().execute("", 0).sync());
        ask(Frames::new().bind("", "", &[]).execute("", 0).sync());
        ask(Frames::new().query("SELECT lastval()"));
        ask(Frames::new().query("COMMIT"));
        said
    });
    assert_eq!(played[0], played[1]);
}
