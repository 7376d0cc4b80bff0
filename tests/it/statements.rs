//! Prepared statements of the protocol behind a pool: whose copy on which connection is used, and what becomes of
//! them when code that nobody sees drops them, or when a table changes.

use crate::fixture::{Frames, Pgditto, Postgres, Wait, Wire, error_code};

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

fn parse(sql: &str) -> Frames {
    Frames::new().parse("s", sql).sync()
}

fn run() -> Frames {
    Frames::new().bind("", "s", &[]).execute("", 0).sync()
}

const DROPPING: &str = "CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN DEALLOCATE ALL; RETURN 1; END $$";

#[test]
fn statements_that_unseen_code_drops_are_there_for_others() {
    for dropping in [
        "SELECT hidden()",
        "DO $$ BEGIN DEALLOCATE ALL; END $$",
        "DO $$ BEGIN EXECUTE 'DEALLOCATE PREPARE ALL'; END $$",
        "BEGIN; SELECT hidden(); COMMIT",
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
