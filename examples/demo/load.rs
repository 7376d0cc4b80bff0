//! What the customers of the shop do: many read as fast as they can, a few buy at a steady pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::{Client, Error, NoTls, Statement};

/// Clients that write: one in sixteen.
const WRITERS_IN: usize = 16;
/// Between two writes of one writer. Four of them place about 18 orders and change 2 prices a second.
const WRITE_EVERY: Duration = Duration::from_millis(200);

const CUSTOMERS: u64 = 10_000;
const PRODUCTS: u64 = 2_000;
const CATEGORIES: u64 = 40;

/// What the readers ask, and how often in a hundred times.
const READS: [(u64, &str); 6] = [
    (32, "SELECT name, about, price FROM products WHERE id = $1"),
    (15, "SELECT units FROM stock WHERE product_id = $1"),
    (
        26,
        "SELECT id, name, price FROM products WHERE category = $1 ORDER BY price, id LIMIT 20",
    ),
    (10, "SELECT name, email, city FROM customers WHERE id = $1"),
    (
        15,
        "SELECT o.id, o.placed_at, o.state, sum(i.quantity * i.price) AS total
         FROM orders o JOIN order_items i ON i.order_id = o.id
         WHERE o.customer_id = $1
         GROUP BY o.id ORDER BY o.placed_at DESC, o.id LIMIT 10",
    ),
    (
        2,
        "SELECT p.id, p.name, sum(i.quantity) AS sold
         FROM products p JOIN order_items i ON i.product_id = p.id
         WHERE p.category = $1 GROUP BY p.id ORDER BY sold DESC, p.id LIMIT 5",
    ),
];

/// Which values `$1` of each read takes.
const SPANS: [u64; 6] = [
    PRODUCTS, PRODUCTS, CATEGORIES, CUSTOMERS, CUSTOMERS, CATEGORIES,
];

/// Statements, and how long each took.
#[derive(Default)]
pub struct Tally {
    pub reads_ns: Vec<u64>,
    pub writes: u64,
    pub transactions: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.reads_ns.extend(other.reads_ns);
        self.writes += other.writes;
        self.transactions += other.transactions;
    }
}

/// Connected clients, ready to run.
pub struct Load {
    readers: Vec<Arc<Mutex<Reader>>>,
    writers: Vec<Arc<Mutex<Writer>>>,
}

impl Load {
    pub async fn connect(url: &str, clients: usize) -> Result<Self, Error> {
        let mut load = Load {
            readers: Vec::new(),
            writers: Vec::new(),
        };
        for number in 0..clients {
            let client = connect(url).await?;
            let dice = Dice(number as u64 * 0x9E37_79B9_7F4A_7C15 + 1);
            if number % WRITERS_IN == WRITERS_IN - 1 {
                let writer = Writer::new(client, dice).await?;
                load.writers.push(Arc::new(Mutex::new(writer)));
            } else {
                let reader = Reader::new(client, dice).await?;
                load.readers.push(Arc::new(Mutex::new(reader)));
            }
        }
        Ok(load)
    }

    /// Lets all clients work for `turn`; `progress` hears now and then how many statements are done.
    pub async fn run(&self, turn: Duration, progress: impl Fn(u64)) -> Result<Tally, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let until = Instant::now() + turn;
        let mut tasks = tokio::task::JoinSet::new();
        for reader in &self.readers {
            let (reader, stop, done) = (Arc::clone(reader), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move { reader.lock().await.work(&stop, &done).await });
        }
        for writer in &self.writers {
            let writer = Arc::clone(writer);
            tasks.spawn(async move { writer.lock().await.work(until).await });
        }
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_millis(200))).await;
            progress(done.load(Ordering::Relaxed));
        }
        stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        while let Some(finished) = tasks.join_next().await {
            tally.add(finished.expect("no client panics")?);
        }
        Ok(tally)
    }
}

pub async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Its error is the error of every later request of the client.
    tokio::spawn(connection);
    Ok(client)
}

struct Reader {
    client: Client,
    statements: Vec<Statement>,
    dice: Dice,
}

impl Reader {
    async fn new(client: Client, dice: Dice) -> Result<Self, Error> {
        let mut statements = Vec::new();
        for (_, sql) in READS {
            statements.push(client.prepare(sql).await?);
        }
        Ok(Self {
            client,
            statements,
            dice,
        })
    }

    async fn work(&mut self, stop: &AtomicBool, done: &AtomicU64) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        while !stop.load(Ordering::Relaxed) {
            let read = self.dice.read();
            let value = self.dice.popular(SPANS[read]) as i32;
            let begin = Instant::now();
            self.client.query(&self.statements[read], &[&value]).await?;
            tally.reads_ns.push(begin.elapsed().as_nanos() as u64);
            tally.transactions += 1;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(tally)
    }
}

struct Writer {
    client: Client,
    order: Statement,
    item: Statement,
    take: Statement,
    price: Statement,
    dice: Dice,
}

impl Writer {
    async fn new(client: Client, dice: Dice) -> Result<Self, Error> {
        let prepare = async |sql: &str| client.prepare(sql).await;
        let order = "INSERT INTO orders (customer_id, placed_at, state) VALUES ($1, now(), 'new')
                     RETURNING id";
        let item = "INSERT INTO order_items SELECT $1, id, 1, price FROM products WHERE id = $2";
        let take = "UPDATE stock SET units = units - 1 WHERE product_id = $1";
        let price = "UPDATE products SET price = price + 0.01 WHERE id = $1";
        Ok(Self {
            order: prepare(order).await?,
            item: prepare(item).await?,
            take: prepare(take).await?,
            price: prepare(price).await?,
            client,
            dice,
        })
    }

    async fn work(&mut self, until: Instant) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        // Not all at once.
        let mut due = Instant::now() + WRITE_EVERY.mul_f64(self.dice.below(100) as f64 / 100.0);
        while due < until {
            tokio::time::sleep_until(due.into()).await;
            due += WRITE_EVERY;
            let product = self.dice.popular(PRODUCTS) as i32;
            if self.dice.below(10) == 0 {
                self.client.execute(&self.price, &[&product]).await?;
                tally.writes += 1;
            } else {
                self.place_order(product).await?;
                tally.writes += 3;
            }
            tally.transactions += 1;
        }
        Ok(tally)
    }

    async fn place_order(&mut self, product: i32) -> Result<(), Error> {
        let customer = self.dice.popular(CUSTOMERS) as i32;
        let transaction = self.client.transaction().await?;
        let order: i32 = transaction
            .query_one(&self.order, &[&customer])
            .await?
            .get(0);
        transaction.execute(&self.item, &[&order, &product]).await?;
        transaction.execute(&self.take, &[&product]).await?;
        transaction.commit().await
    }
}

/// Pseudo-random numbers (SplitMix64), the same in every run.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of 1 to `span`, the low ones far more often: half of all choices are among the first
    /// eighth.
    fn popular(&mut self, span: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        1 + (unit.powi(3) * span as f64) as u64
    }

    /// An index into [`READS`].
    fn read(&mut self) -> usize {
        let mut at = self.below(100);
        for (read, (share, _)) in READS.iter().enumerate() {
            if at < *share {
                return read;
            }
            at -= share;
        }
        unreachable!("the shares add up to a hundred")
    }
}
