//! The network between pgditto and PostgreSQL: slow at random, cut where it hurts, and silent for a while.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::soak::random::Random;

/// Loopback TCP towards a server's port.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: AtomicU16,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    /// The next COMMIT goes through, and its answer does not.
    cut_commit: AtomicBool,
    cut_slow: AtomicBool,
    commits_cut: AtomicU64,
    slow_commits_cut: AtomicU64,
    silence: Mutex<Silence>,
}

/// A network that carries nothing, and tells nobody: no connection ends. What is sent meanwhile arrives later, as
/// TCP sends it again until it does, even if who sent it has given up.
#[derive(Default)]
struct Silence {
    /// It begins with the next COMMIT.
    wanted: Option<Duration>,
    until: Option<Instant>,
    /// COMMITs on their way when it began, or sent since.
    commits: u64,
}

impl Proxy {
    pub fn start(server: u16, random: &Random) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(server),
            open: Mutex::default(),
            cut_commit: AtomicBool::new(false),
            cut_slow: AtomicBool::new(false),
            commits_cut: AtomicU64::new(0),
            slow_commits_cut: AtomicU64::new(0),
            silence: Mutex::default(),
        });
        let (accepting, random) = (Arc::clone(&shared), random.clone());
        thread::spawn(move || {
            for (n, client) in listener.incoming().flatten().enumerate() {
                accepting.join(client, &random.branch(n as u64));
            }
        });
        Self { port, shared }
    }

    /// Leads who comes from here on to another server.
    pub fn turn_to(&self, server: u16) {
        self.shared.server.store(server, Ordering::SeqCst);
    }

    /// Leads to another server from here on.
    pub fn lead_to(&self, server: u16) {
        self.turn_to(server);
        for pair in self.shared.open().drain(..) {
            end(&pair);
        }
    }

    /// Ends connections, one or all of them; says how many.
    pub fn cut(&self, random: &mut Random, all: bool) -> usize {
        let mut open = self.shared.open();
        let mut cut = 0;
        while !open.is_empty() {
            let at = random.below(open.len());
            // Those that have ended are still on the list.
            cut += usize::from(end(&open.swap_remove(at)));
            if !all && cut > 0 {
                break;
            }
        }
        cut
    }

    /// How many connections were ended at a COMMIT, and at one that was slow.
    pub fn commits_cut(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (
            count(&self.shared.commits_cut),
            count(&self.shared.slow_commits_cut),
        )
    }

    /// With the next COMMIT nothing passes any more, either way and on any connection, as long as this.
    pub fn fall_silent(&self, lasts: Duration) {
        let mut silence = self.shared.silence();
        silence.wanted = Some(lasts);
        silence.commits = 0;
    }

    /// `None` as long as it has not begun, and then whether it goes on and how many COMMITs it has caught.
    pub fn silence(&self) -> Option<(bool, u64)> {
        let silence = self.shared.silence();
        let is = silence.until.is_some_and(|until| until > Instant::now());
        (silence.wanted.is_none()).then_some((is, silence.commits))
    }

    /// It need not begin any more.
    pub fn stay_awake(&self) {
        self.shared.silence().wanted = None;
    }

    /// The next COMMIT is sent on, and then its connection ends.
    pub fn cut_next_commit(&self, slow: bool) {
        let which = if slow {
            &self.shared.cut_slow
        } else {
            &self.shared.cut_commit
        };
        which.store(true, Ordering::SeqCst);
    }
}

/// False if both had ended before.
fn end(pair: &(TcpStream, TcpStream)) -> bool {
    let client = pair.0.shutdown(Shutdown::Both);
    let server = pair.1.shutdown(Shutdown::Both);
    client.is_ok() || server.is_ok()
}

/// What has been sent in silence, and comes when others may have written: a COMMIT comes in its turn, since its
/// rows are locked; a write that has locked nothing yet would overwrite what is newer, and nobody could tell.
fn may_come_late(chunk: &[u8]) -> bool {
    let holds = |word: &str| chunk.windows(word.len()).any(|at| at == word.as_bytes());
    let writes = ["INSERT", "UPDATE", "DELETE", "bump("]
        .into_iter()
        .any(holds);
    // A bound statement does not show what it is.
    chunk.first() == Some(&b'Q') && !writes
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<(TcpStream, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silence(&self) -> std::sync::MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the network carries something: whether it had to wait for that.
    fn wait_in_silence(&self) -> bool {
        let mut waited = false;
        loop {
            let left = match self.silence().until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => return waited,
            };
            if left.is_zero() {
                return waited;
            }
            waited = true;
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// A COMMIT is about to pass: the silence that is wanted begins, before or after it. True if it is to pass first.
    fn meet_commit(&self, passes: bool) -> bool {
        let mut silence = self.silence();
        if let Some(lasts) = silence.wanted.take() {
            silence.until = Some(Instant::now() + lasts);
            silence.commits = 1;
            return passes;
        }
        silence.commits += 1;
        false
    }

    fn join(self: &Arc<Self>, client: TcpStream, random: &Random) {
        // Whoever connects meanwhile waits for a first word.
        self.wait_in_silence();
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server.load(Ordering::SeqCst)))
        else {
            return;
        };
        let hands = |stream: &TcpStream| {
            let _ = stream.set_nodelay(true);
            stream.try_clone().expect("a file descriptor")
        };
        self.open().push((hands(&client), hands(&server)));
        let ways = [
            (hands(&client), hands(&server), true),
            (server, client, false),
        ];
        for (n, (from, to, asks)) in ways.into_iter().enumerate() {
            let (shared, random) = (Arc::clone(self), random.branch(n as u64));
            thread::spawn(move || shared.carry(from, to, asks, random));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, asks: bool, mut random: Random) {
        let mut chunk = vec![0; 32 << 10];
        while let Ok(n) = from.read(&mut chunk) {
            if n == 0 {
                break;
            }
            let holds = |word: &[u8]| asks && chunk[..n].windows(word.len()).any(|at| at == word);
            let commits = holds(b"COMMIT");
            let passes_first = commits && self.meet_commit(random.one_in(2));
            if !passes_first && self.wait_in_silence() && asks && !may_come_late(&chunk[..n]) {
                break;
            }
            // What tells of a commit comes late more often: others have seen it by then.
            let tells = !asks && chunk[..n].windows(7).any(|word| word == b"COMMIT\0");
            if random.one_in(12) || tells && random.one_in(2) {
                thread::sleep(Duration::from_micros(random.below(8_000) as u64));
            }
            let slow = holds(super::SLOW_COMMIT.as_bytes());
            let cut = if slow && self.cut_slow.swap(false, Ordering::SeqCst) {
                Some(&self.slow_commits_cut)
            } else if commits && self.cut_commit.swap(false, Ordering::SeqCst) {
                Some(&self.commits_cut)
            } else {
                None
            };
            if cut.is_some() {
                // Its answer finds nobody, however fast it is.
                let _ = from.shutdown(Shutdown::Both);
            }
            let sent = to.write_all(&chunk[..n]);
            if let Some(count) = cut {
                count.fetch_add(1, Ordering::SeqCst);
            }
            if sent.is_err() || cut.is_some() {
                break;
            }
        }
        // Nor does anybody hear of an end.
        self.wait_in_silence();
        end(&(from, to));
    }
}
