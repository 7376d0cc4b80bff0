//! The prepared transactions whose marks stand until the server has them no longer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// By name, how many marks stand for it.
#[derive(Debug, Default)]
pub(super) struct Followed {
    names: Mutex<HashMap<String, usize>>,
    ended: Notify,
}

/// These are followed until it is dropped: to be done before their marks come off.
#[derive(Debug)]
pub(super) struct Following {
    followed: Arc<Followed>,
    gids: Vec<String>,
}

impl Followed {
    pub fn follow(self: &Arc<Self>, gids: &[String]) -> Following {
        let mut names = self.names.lock();
        for gid in gids {
            *names.entry(gid.clone()).or_default() += 1;
        }
        Following {
            followed: Arc::clone(self),
            gids: gids.to_vec(),
        }
    }

    pub fn contains(&self, gid: &str) -> bool {
        self.names.lock().contains_key(gid)
    }

    /// One may have ended just now.
    pub fn ended(&self) {
        self.ended.notify_waiters();
    }

    /// Returns when it is time to look whether they have ended, after `pause` at the latest. Cancel safe.
    pub async fn time_to_look(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.ended.notified()).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut names = self.followed.names.lock();
        for gid in &self.gids {
            if let Some(count) = names.get_mut(gid) {
                *count -= 1;
                if *count == 0 {
                    names.remove(gid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_followed_as_long_as_any_mark_stands_for_it() {
        let followed = Arc::new(Followed::default());
        let one = followed.follow(&["a".into(), "b".into()]);
        let two = followed.follow(&["a".into()]);
        drop(one);
        assert!(followed.contains("a") && !followed.contains("b"));
        drop(two);
        assert!(!followed.contains("a"));
    }
}
