//! The network between pgditto and PostgreSQL, which can fall silent: what is sent neither arrives nor is refused, and no
//! connection ends. Later it goes on where it was, or some connections never speak again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::fixture::eventually;

/// The word at which it falls silent, in a commit that pgditto has not sent of itself.
pub const LAST_WORDS: &str = "COMMIT /* last words */";

/// Who falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The connection of the commit.
    One,
    /// All, and those that are opened meanwhile.
    All,
}

/// Loopback TCP towards a server's port.
pub struct Network {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    links: Mutex<Vec<Arc<Link>>>,
    all_silent: AtomicBool,
    /// Who falls silent at the last words, and whether these arrive.
    awaited: Mutex<Option<(Reach, bool)>>,
}

/// One connection. Its streams are held here, so that neither side is told of an end.
struct Link {
    client: TcpStream,
    server: TcpStream,
    silent: AtomicBool,
    /// For ever.
    lost: AtomicBool,
}

impl Network {
    pub fn towards(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            server,
            links: Mutex::default(),
            all_silent: AtomicBool::new(false),
            awaited: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.join(client));
            }
        });
        Self { port, shared }
    }

    /// Falls silent at [`LAST_WORDS`]; whether they still arrive.
    pub fn fall_silent(&self, reach: Reach, arrives: bool) {
        *self.shared.awaited.lock().expect("no panic") = Some((reach, arrives));
    }

    pub fn await_silence(&self) {
        eventually("the network is silent", || {
            self.shared.awaited.lock().expect("no panic").is_none()
        });
    }

    /// Everything goes on where it was.
    pub fn go_on(&self) {
        self.shared.all_silent.store(false, Ordering::SeqCst);
        for link in self.silent() {
            let lost = link.lost.load(Ordering::SeqCst);
            link.silent.store(lost, Ordering::SeqCst);
        }
    }

    /// Those connections that are silent now never speak again.
    pub fn forget(&self) {
        for link in self.silent() {
            link.lost.store(true, Ordering::SeqCst);
        }
    }

    /// To pgditto those connections end that are silent now. The server does not hear of it.
    pub fn end(&self) {
        for link in self.silent() {
            link.lost.store(true, Ordering::SeqCst);
            // It may have ended of itself.
            let _ = link.client.shutdown(Shutdown::Both);
        }
    }

    fn silent(&self) -> Vec<Arc<Link>> {
        let links = self.shared.links.lock().expect("no panic");
        let silent = links.iter().filter(|l| l.silent.load(Ordering::SeqCst));
        silent.cloned().collect()
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: TcpStream) {
        wait_while(|| self.all_silent.load(Ordering::SeqCst));
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else {
            return;
        };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let link = Arc::new(Link {
            client,
            server,
            silent: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        });
        self.links.lock().expect("no panic").push(Arc::clone(&link));
        for asks in [true, false] {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            thread::spawn(move || shared.carry(&link, asks));
        }
    }

    fn carry(&self, link: &Link, asks: bool) {
        let (mut from, mut to) = match asks {
            true => (&link.client, &link.server),
            false => (&link.server, &link.client),
        };
        let mut chunk = vec![0; 32 << 10];
        loop {
            let length = from.read(&mut chunk).unwrap_or(0);
            let told = &chunk[..length];
            let mut arrives = false;
            if asks
                && told
                    .windows(LAST_WORDS.len())
                    .any(|at| at == LAST_WORDS.as_bytes())
            {
                let mut awaited = self.awaited.lock().expect("no panic");
                if let Some((reach, still)) = awaited.take() {
                    // Before they arrive, lest the answer gets through.
                    match reach {
                        Reach::One => link.silent.store(true, Ordering::SeqCst),
                        Reach::All => self.all_silent.store(true, Ordering::SeqCst),
                    }
                    arrives = still;
                }
            }
            if !arrives {
                wait_while(|| {
                    link.silent.load(Ordering::SeqCst) || self.all_silent.load(Ordering::SeqCst)
                });
            }
            // A link that is lost stays silent, so that is never reached.
            if length == 0 || to.write_all(told).is_err() {
                let _ = link.client.shutdown(Shutdown::Both);
                let _ = link.server.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

fn wait_while(silent: impl Fn() -> bool) {
    while silent() {
        thread::sleep(Duration::from_millis(5));
    }
}
