//! The network between pgditto and PostgreSQL: slow at random, and cut where it hurts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

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
        });
        let (accepting, random) = (Arc::clone(&shared), random.clone());
        thread::spawn(move || {
            for (n, client) in listener.incoming().flatten().enumerate() {
                accepting.join(client, &random.branch(n as u64));
            }
        });
        Self { port, shared }
    }

    /// Leads to another server from here on.
    pub fn lead_to(&self, server: u16) {
        self.shared.server.store(server, Ordering::SeqCst);
        for pair in self.shared.open().drain(..) {
            end(&pair);
        }
    }

    /// Ends connections, one or all of them.
    pub fn cut(&self, random: &mut Random, all: bool) {
        let mut open = self.shared.open();
        while !open.is_empty() {
            let at = random.below(open.len());
            end(&open.swap_remove(at));
            if !all {
                break;
            }
        }
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

fn end(pair: &(TcpStream, TcpStream)) {
    // It may have ended of itself.
    let _ = pair.0.shutdown(Shutdown::Both);
    let _ = pair.1.shutdown(Shutdown::Both);
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<(TcpStream, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, client: TcpStream, random: &Random) {
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
            // What tells of a commit comes late more often: others have seen it by then.
            let tells = !asks && chunk[..n].windows(7).any(|word| word == b"COMMIT\0");
            if random.one_in(12) || tells && random.one_in(2) {
                thread::sleep(Duration::from_micros(random.below(8_000) as u64));
            }
            if to.write_all(&chunk[..n]).is_err() {
                break;
            }
            let holds = |word: &[u8]| asks && chunk[..n].windows(word.len()).any(|at| at == word);
            let slow = holds(super::SLOW_COMMIT.as_bytes());
            let cut = slow && self.cut_slow.swap(false, Ordering::SeqCst);
            if cut || holds(b"COMMIT") && self.cut_commit.swap(false, Ordering::SeqCst) {
                break;
            }
        }
        end(&(from, to));
    }
}
