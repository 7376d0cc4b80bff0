//! The load of `make demo`, and what came of it: the same shop directly on PostgreSQL and through
//! pgditto, in turns. `scripts/demo.sh` starts the servers and tells this where they are.

mod load;
mod probe;
mod report;
mod target;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Parser;

use load::{Load, Tally};
use probe::{CpuTimes, Metrics};
use target::Target;

/// A load on two copies of a shop, one behind pgditto.
#[derive(Parser)]
struct Args {
    /// The copy that is used directly.
    #[arg(long)]
    direct: String,
    /// The copy that only pgditto writes to, through it.
    #[arg(long)]
    through: String,
    /// The same copy, directly: to count connections, never to write.
    #[arg(long)]
    behind: String,
    /// `ADDR:PORT` of pgditto's metrics.
    #[arg(long)]
    http: Option<String>,
    /// Process id of pgditto.
    #[arg(long)]
    proxy_pid: Option<u32>,
    /// Process id of PostgreSQL's postmaster.
    #[arg(long)]
    postgres_pid: Option<u32>,
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long the load lasts, both sides together.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
}

/// Turns of each side: machines speed up and slow down, and both should get their share of that.
const ROUNDS: u32 = 4;
/// How much of a turn is pgditto's: it has more to show (a cache that fills).
const SHARE_THROUGH: f64 = 0.6;

/// What the load measured on one side.
#[derive(Default)]
pub struct Side {
    pub tally: Tally,
    pub elapsed: Duration,
    pub postgres_cpu: Duration,
    pub proxy_cpu: Duration,
    /// The most connections to PostgreSQL that were seen at once.
    pub connections: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let direct = Target::new(&args.direct, &args.direct).await?;
    let through = Target::new(&args.through, &args.behind).await?;

    let mut sides = [Side::default(), Side::default()];
    let loads = [
        Load::connect(&args.direct, args.clients).await?,
        Load::connect(&args.through, args.clients).await?,
    ];
    let before = Metrics::scrape(args.http.as_deref()).await;
    let begin = Instant::now();
    let round = args.seconds / f64::from(ROUNDS);
    for _ in 0..ROUNDS {
        for (at, share) in [(0, 1.0 - SHARE_THROUGH), (1, SHARE_THROUGH)] {
            let target = [&direct, &through][at];
            let turn = Duration::from_secs_f64(round * share);
            let cpu = CpuTimes::now(args.postgres_pid, args.proxy_pid);
            let started = Instant::now();
            let side = &mut sides[at];
            let progress = |done: u64| {
                let spent = begin.elapsed().as_secs_f64().min(args.seconds);
                show_progress(
                    at,
                    spent,
                    args.seconds,
                    done as f64 / started.elapsed().as_secs_f64(),
                );
            };
            let tally = loads[at].run(turn, progress).await?;
            side.elapsed += started.elapsed();
            side.tally.add(tally);
            let cpu = CpuTimes::now(args.postgres_pid, args.proxy_pid).since(&cpu);
            side.postgres_cpu += cpu.postgres;
            side.proxy_cpu += cpu.proxy;
            side.connections = side.connections.max(target.connections().await?);
        }
        if !std::io::stderr().is_terminal() {
            let spent = begin.elapsed().as_secs_f64().min(args.seconds);
            eprintln!("{spent:.0} of {:.0} s", args.seconds);
        }
    }
    end_progress();
    let outcomes = Metrics::scrape(args.http.as_deref()).await.since(&before);
    drop(loads);

    let latency = target::Latency::measure(&direct, &through, args.http.as_deref()).await?;
    let proof = target::prove(&args.through, args.http.as_deref()).await?;
    let [direct, through] = sides;
    print!(
        "{}",
        report::table(args.clients, &direct, &through, &outcomes)
    );
    print!("{}", report::latencies(&latency));
    println!("{}", report::proof(&proof));
    if proof.stale > 0 {
        return Err("a write was not seen by the next read".into());
    }
    Ok(())
}

/// One line that is written over; without a terminal nothing here, so that a log stays readable.
fn show_progress(side: usize, spent: f64, seconds: f64, rate: f64) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    const WIDTH: usize = 30;
    let done = (spent / seconds * WIDTH as f64) as usize;
    let bar = "#".repeat(done) + &"-".repeat(WIDTH.saturating_sub(done));
    let name = ["directly       ", "through pgditto"][side];
    // A terminal that went away is no reason to stop measuring.
    let _ = write!(
        out,
        "\r[{bar}] {spent:4.1} of {seconds:.0} s  {name} {rate:8.0} statements/s "
    );
    let _ = out.flush();
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
}
