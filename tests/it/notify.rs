//! LISTEN: many sessions hear on one connection what each of them would hear on its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgditto::authority::ControlTarget;
use pgditto::config::{Host, Secret, SslMode};
use pgditto::hosts::Hosts;
use pgditto::notify::{Hub, Mailbox, Trouble};

use crate::fixture::{Postgres, eventually};

fn hub(postgres: &Postgres) -> Hub {
    let target = ControlTarget {
        hosts: Hosts::one(Host::new("127.0.0.1", postgres.port)),
        dbname: "app".to_owned(),
        user: "app".to_owned(),
        password: Some(Secret::new("secret".to_owned())),
        sslmode: SslMode::Disable,
        tls: None,
        application_name: "pgditto".to_owned(),
        connect_timeout: Duration::from_secs(5),
    };
    Hub::new(target, None)
}

fn mailbox(number: u32) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(number, 1 << 20))
}

/// What waits: channel and payload of each.
fn taken(mailbox: &Mailbox) -> Vec<(String, String)> {
    let mut out = BytesMut::new();
    mailbox.take(&mut out).expect("nothing is wrong");
    let mut found = Vec::new();
    while !out.is_empty() {
        let length = u32::from_be_bytes(out[1..5].try_into().expect("four bytes")) as usize;
        let frame = out.split_to(1 + length);
        let mut texts = frame[9..].split(|&byte| byte == 0);
        let mut text = || String::from_utf8_lossy(texts.next().expect("a text")).into_owned();
        found.push((text(), text()));
    }
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|&(channel, payload)| (channel.to_owned(), payload.to_owned()))
        .collect()
}

fn listeners(postgres: &Postgres) -> String {
    postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgditto-listen'")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hears_its_own_channels_on_one_connection() {
    let postgres = Postgres::start(&[]);
    let hub = hub(&postgres);
    let (one, two) = (mailbox(1), mailbox(2));
    hub.listen("orders", "Orders", &one).await.expect("heard");
    hub.listen("orders", "orders", &two).await.expect("heard");
    hub.listen("It's \"x\"", "\"It's \"\"x\"\"\"", &two)
        .await
        .expect("heard");
    assert_eq!(listeners(&postgres), "1");
    postgres.psql_as(
        "app",
        "NOTIFY orders, 'a'; NOTIFY \"It's \"\"x\"\"\", 'b'; NOTIFY other, 'c'",
    );
    hub.catch_up().await.expect("connected");
    assert_eq!(taken(&one), pairs(&[("orders", "a")]));
    assert_eq!(taken(&two), pairs(&[("orders", "a"), ("It's \"x\"", "b")]));

    hub.unlisten("orders", 2).await;
    postgres.psql_as("app", "NOTIFY orders, 'd'; NOTIFY \"It's \"\"x\"\"\", 'e'");
    hub.catch_up().await.expect("connected");
    assert_eq!(taken(&one), pairs(&[("orders", "d")]));
    assert_eq!(taken(&two), pairs(&[("It's \"x\"", "e")]));

    hub.unlisten_all(1).await;
    hub.unlisten_all(2).await;
    eventually("the connection is closed with the last listener", || {
        listeners(&postgres) == "0"
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_notified_before_is_not_heard() {
    let postgres = Postgres::start(&[]);
    let hub = hub(&postgres);
    let (early, late) = (mailbox(1), mailbox(2));
    hub.listen("c", "c", &early).await.expect("heard");
    for round in 0..50 {
        postgres.psql_as("app", &format!("NOTIFY c, '{round}'"));
        hub.listen("c", "c", &late).await.expect("heard");
        assert_eq!(taken(&late), pairs(&[]), "round {round}");
        assert_eq!(taken(&early), pairs(&[("c", &round.to_string())]));
        hub.unlisten("c", 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_when_the_connection_is_lost() {
    let postgres = Postgres::start(&[]);
    let hub = hub(&postgres);
    let (one, two) = (mailbox(1), mailbox(2));
    hub.listen("a", "a", &one).await.expect("heard");
    hub.listen("b", "b", &two).await.expect("heard");
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgditto-listen'",
    );
    for mailbox in [&one, &two] {
        mailbox.arrived().await;
        assert_eq!(mailbox.take(&mut BytesMut::new()), Err(Trouble::Lost));
    }
    let three = mailbox(3);
    hub.listen("a", "a", &three).await.expect("connected anew");
    postgres.psql_as("app", "NOTIFY a, 'again'");
    hub.catch_up().await.expect("connected");
    assert_eq!(taken(&three), pairs(&[("a", "again")]));
}
