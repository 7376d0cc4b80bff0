//! Notices, changed parameters and notifications, which may come between any two messages.

use super::SETUP;
use crate::fixture::{Frames, Script, same};

fn frames() -> Frames {
    Frames::new()
}

fn join(all: impl IntoIterator<Item = Frames>) -> Frames {
    all.into_iter().fold(frames(), |whole, part| {
        whole.bytes_as_they_are(part.bytes())
    })
}

fn one(sql: &str) -> Frames {
    frames().prepared(sql, &[])
}

#[test]
fn they_come_between_the_answers_of_a_pipeline() {
    let script = Script::new()
        .queries(&["LISTEN here"])
        .ask(
            join([
                one("SELECT shout('a')"),
                one("SET TimeZone = 'Europe/Paris'"),
                one("NOTIFY here, 'first'"),
                one("SELECT * FROM item ORDER BY id"),
                one("SET application_name = 'changed'"),
                one("SELECT shout('b'), boom(3)"),
                one("SELECT 'skipped'"),
            ])
            .sync(),
        )
        .queries(&["SHOW TimeZone", "SHOW application_name"])
        .ask(
            join([
                one("SET TimeZone = 'Asia/Tokyo'"),
                one("NOTIFY here, 'second'"),
                one("SELECT shout(name) FROM item ORDER BY id"),
            ])
            .sync(),
        )
        .queries(&["SHOW TimeZone", "UNLISTEN *"]);
    same(SETUP, script);
}

#[test]
fn they_come_between_the_rows_of_one_answer() {
    let shout = "SELECT shout(i::text), set_config('application_name', 'a' || i, false) FROM generate_series(1, 20) i";
    let script = Script::new()
        .queries(&[shout, "BEGIN"])
        .ask(
            frames()
                .parse("", shout)
                .bind("p", "", &[])
                .describe_portal("p")
                .execute("p", 3)
                .sync(),
        )
        .ask(one("SET application_name = 'between'").sync())
        .ask(frames().execute("p", 4).sync())
        .ask(frames().execute("p", 0).sync())
        .queries(&["ROLLBACK", "SHOW application_name"]);
    same(SETUP, script);
}

#[test]
fn they_come_amid_copies() {
    let setup = format!(
        "{SETUP} CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE NOTICE 'row %', NEW.id; PERFORM set_config('application_name', 'r' || NEW.id, false); \
            PERFORM pg_notify('here', NEW.id::text); RETURN NEW; END $$; \
         CREATE TRIGGER told BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION told();"
    );
    let copy = || frames().copy_data(b"11\tk\t1\n12\tl\t2\n").copy_done();
    let script = Script::new()
        .queries(&["LISTEN here"])
        .send(frames().query("COPY item FROM STDIN"))
        .until(b'G')
        .ask(copy())
        .queries(&["DELETE FROM item WHERE id > 10"])
        .send(join([one("COPY item FROM STDIN")]).sync())
        .until(b'G')
        .ask(copy().sync())
        .queries(&[
            "COPY (SELECT shout(name) FROM item ORDER BY id) TO STDOUT",
            "SHOW application_name",
        ]);
    same(&setup, script);
}
