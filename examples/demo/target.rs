//! One client's view of a side: latencies without load, connections, and the proof.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::load::connect;
use crate::probe::Metrics;
use crate::report::percentile;

const PROBES: i32 = 1000;
const WRITES_PROVEN: i32 = 200;
const PRICE: &str = "SELECT price::text FROM products WHERE id = $1";
/// A small read, cacheable, with a second parameter that makes it new without changing the answer.
const PRODUCT: &str = "SELECT name, about, price FROM products WHERE id = $1 AND price > $2::int4";

/// A side of the comparison.
pub struct Target {
    url: String,
    /// Always directly on PostgreSQL.
    observer: Client,
}

impl Target {
    pub async fn new(url: &str, observer_url: &str) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            url: url.to_owned(),
            observer: connect(observer_url).await?,
        })
    }

    /// Connections of PostgreSQL in this database now, without the observer's.
    pub async fn connections(&self) -> Result<i64, tokio_postgres::Error> {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND backend_type = 'client backend'
                     AND pid <> pg_backend_pid()";
        Ok(self.observer.query_one(sql, &[]).await?.get(0))
    }

    /// Median time of `PROBES` reads by one client alone: all the same, or none asked before.
    async fn median(&self, fresh: bool) -> Result<Duration, tokio_postgres::Error> {
        let client = connect(&self.url).await?;
        let statement = client.prepare(PRODUCT).await?;
        let mut times_ns = Vec::new();
        for probe in 0..PROBES {
            let (id, above) = if fresh {
                (1 + probe % 100, -1 - probe)
            } else {
                (1, 0)
            };
            let begin = Instant::now();
            client.query(&statement, &[&id, &above]).await?;
            times_ns.push(begin.elapsed().as_nanos() as u64);
        }
        Ok(percentile(&mut times_ns, 50.0))
    }
}

/// Medians of one client alone: what a statement costs when nobody waits for anybody.
pub struct Latency {
    pub direct: Duration,
    pub hit: Duration,
    pub miss: Duration,
    /// Whether pgditto says that hits were hits and misses misses.
    pub confirmed: Option<bool>,
}

impl Latency {
    pub async fn measure(
        direct: &Target,
        through: &Target,
        http: Option<&str>,
    ) -> Result<Self, tokio_postgres::Error> {
        let before = Metrics::scrape(http).await;
        let hit = through.median(false).await?;
        let miss = through.median(true).await?;
        let outcomes = Metrics::scrape(http).await.since(&before);
        let nearly_all = f64::from(PROBES) * 0.95;
        Ok(Self {
            direct: direct.median(true).await?,
            hit,
            miss,
            confirmed: outcomes
                .statements("hit")
                .zip(outcomes.statements("miss"))
                .map(|(hits, misses)| hits >= nearly_all && misses >= nearly_all),
        })
    }
}

/// What came of writing on one connection and reading on another.
pub struct Proof {
    pub writes: i32,
    pub stale: i32,
    /// Of the reads just before a write, how many the cache answered.
    pub cached: Option<f64>,
}

/// Changes a price again and again, each time after it was read twice (so that it is in the cache),
/// and reads it at once on another connection.
pub async fn prove(url: &str, http: Option<&str>) -> Result<Proof, Box<dyn Error>> {
    let (writer, reader) = (connect(url).await?, connect(url).await?);
    let before = Metrics::scrape(http).await;
    let mut stale = 0;
    for round in 0..WRITES_PROVEN {
        for _ in 0..2 {
            reader.query_one(PRICE, &[&7]).await?;
        }
        let written: String = writer
            .query_one(
                "UPDATE products SET price = $1::int4 WHERE id = 7 RETURNING price::text",
                &[&(1000 + round)],
            )
            .await?
            .get(0);
        let read: String = reader.query_one(PRICE, &[&7]).await?.get(0);
        if read != written {
            stale += 1;
        }
    }
    let outcomes = Metrics::scrape(http).await.since(&before);
    Ok(Proof {
        writes: WRITES_PROVEN,
        stale,
        cached: outcomes.statements("hit"),
    })
}
