//! Who is connected: our numbers for sessions, their secret keys, and where
//! each one's statement runs at this moment, for CancelRequest and the console.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state::Pin;
use crate::client::Stream;
use crate::metrics::Cancel;
use crate::upstream::CancelHandle;

/// Session numbers begin above Linux's largest PID, so that ours is never
/// mistaken for a backend of the server.
const FIRST_NUMBER: u32 = 4_194_305;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Idle,
    Active,
    Waiting,
    InTransaction,
}

/// Where a client comes from, as it was at login.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `192.0.2.1:4711`; `unix` for a Unix socket.
    pub peer: String,
    /// Our end; absent on a Unix socket.
    pub local: Option<SocketAddr>,
    /// On a Unix socket, where the system tells; else zero.
    pub peer_pid: u32,
    /// Protocol and cipher; empty in clear.
    pub tls: String,
}

impl Origin {
    pub fn of(stream: &Stream) -> Self {
        Self {
            peer: stream.peer().to_string(),
            local: stream.local(),
            peer_pid: stream.peer_pid(),
            tls: stream.tls_text(),
        }
    }
}

/// What others may know of a session and ask of it.
pub struct SessionHandle {
    pub number: u32,
    key: Bytes,
    pub user: String,
    pub database: String,
    pub origin: Origin,
    pub application_name: Mutex<String>,
    pub connected_at: SystemTime,
    activity: AtomicU8,
    /// Nanoseconds since `started`, of the last request.
    pub started: Instant,
    request_at: AtomicU64,
    cancel_target: Mutex<Option<CancelHandle>>,
    /// Told when the client cancels what waits here: for a lease or another's flight.
    pub cancelled: Notify,
    /// Told when the session is to end.
    pub kill: Notify,
    ended: AtomicBool,
    /// The role that it has become, if another than its user.
    pub role: Mutex<Option<String>>,
    pub pins: Mutex<Vec<Pin>>,
    /// A unit was begun and is not answered yet.
    pub(super) under_way: AtomicBool,
    /// Statements that the client has prepared by name.
    statements: AtomicUsize,
}

impl SessionHandle {
    pub fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    pub fn activity(&self) -> Activity {
        match self.activity.load(Ordering::Relaxed) {
            0 => Activity::Idle,
            1 => Activity::Active,
            2 => Activity::Waiting,
            _ => Activity::InTransaction,
        }
    }

    /// The session is to end, and begins nothing more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.kill.notify_one();
    }

    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub fn note_statements(&self, count: usize) {
        self.statements.store(count, Ordering::Relaxed);
    }

    /// How many statements the client has prepared by name.
    pub fn statements(&self) -> usize {
        self.statements.load(Ordering::Relaxed)
    }

    pub fn note_request(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.request_at.store(nanos, Ordering::Relaxed);
    }

    pub fn request_at(&self) -> Instant {
        self.started + std::time::Duration::from_nanos(self.request_at.load(Ordering::Relaxed))
    }

    /// Where a CancelRequest for this session goes from now on.
    pub fn set_cancel_target(&self, target: Option<CancelHandle>) {
        *self.cancel_target.lock() = target;
    }

    /// The upstream process that works for this session now.
    pub fn upstream_pid(&self) -> Option<u32> {
        self.cancel_target.lock().as_ref().map(CancelHandle::pid)
    }
}

/// All sessions of this process.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<u32, Arc<SessionHandle>>,
    last: u32,
}

/// Who a session is for.
pub struct Identity {
    pub user: String,
    pub database: String,
    pub origin: Origin,
    pub application_name: String,
}

/// A place in the registry; leaving it frees the number.
pub struct Registration {
    registry: Arc<Registry>,
    pub handle: Arc<SessionHandle>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.handle.set_cancel_target(None);
        self.registry
            .inner
            .lock()
            .sessions
            .remove(&self.handle.number);
    }
}

impl Registry {
    /// Registers a session; `key_len` is 4, or up to 32 for protocol 3.2.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn register(
        self: &Arc<Self>,
        identity: Identity,
        key_len: usize,
    ) -> Result<Registration, getrandom::Error> {
        let mut key = vec![0; key_len];
        getrandom::fill(&mut key)?;
        let mut inner = self.inner.lock();
        let mut number = inner.last.max(FIRST_NUMBER - 1);
        loop {
            number = if number >= i32::MAX as u32 {
                FIRST_NUMBER
            } else {
                number + 1
            };
            if !inner.sessions.contains_key(&number) {
                break;
            }
        }
        inner.last = number;
        let handle = Arc::new(SessionHandle {
            number,
            key: key.into(),
            user: identity.user,
            database: identity.database,
            origin: identity.origin,
            application_name: Mutex::new(identity.application_name),
            connected_at: SystemTime::now(),
            activity: AtomicU8::new(0),
            started: Instant::now(),
            request_at: AtomicU64::new(0),
            cancel_target: Mutex::new(None),
            cancelled: Notify::new(),
            kill: Notify::new(),
            ended: AtomicBool::new(false),
            role: Mutex::new(None),
            pins: Mutex::new(Vec::new()),
            under_way: AtomicBool::new(false),
            statements: AtomicUsize::new(0),
        });
        inner.sessions.insert(number, handle.clone());
        drop(inner);
        Ok(Registration {
            registry: self.clone(),
            handle,
        })
    }

    /// Cancels what the session of this number and key is doing. A wrong key is
    /// answered as PostgreSQL does: not at all.
    pub async fn cancel(&self, number: u32, key: &[u8]) -> Cancel {
        let (target, under_way) = {
            let inner = self.inner.lock();
            let Some(handle) = inner.sessions.get(&number) else {
                return Cancel::Unknown;
            };
            if !constant_time_eq(&handle.key, key) {
                return Cancel::Unknown;
            }
            handle.cancelled.notify_waiters();
            let target = handle.cancel_target.lock().clone();
            (target, handle.under_way.load(Ordering::SeqCst))
        };
        // The handle is good for one lease only: a cancel that comes late cancels nobody.
        match target {
            Some(target) => match target.cancel().await {
                Ok(true) => Cancel::Forwarded,
                Ok(false) => Cancel::Idle,
                Err(error) => {
                    tracing::debug!(%error, "a cancel request did not reach the server");
                    Cancel::Failed
                }
            },
            None if under_way => Cancel::Local,
            None => Cancel::Idle,
        }
    }

    pub fn get(&self, number: u32) -> Option<Arc<SessionHandle>> {
        self.inner.lock().sessions.get(&number).cloned()
    }

    pub fn all(&self) -> Vec<Arc<SessionHandle>> {
        let mut all: Vec<_> = self.inner.lock().sessions.values().cloned().collect();
        all.sort_by_key(|handle| handle.number);
        all
    }

    pub fn count(&self) -> usize {
        self.inner.lock().sessions.len()
    }
}

impl SessionHandle {
    /// The key that BackendKeyData tells the client.
    pub fn key(&self) -> &Bytes {
        &self.key
    }
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
