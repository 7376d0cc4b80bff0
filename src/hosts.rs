//! The servers of one upstream: the order in which they are tried, and which of them fitted last.
//!
//! Pure but for one number that all who connect share, so that whoever comes next begins
//! where the last one succeeded. It is a hint: each looks for himself whether a server fits.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Host, TargetSessionAttrs};

/// The servers, and which is wanted.
#[derive(Debug)]
pub struct Hosts {
    list: Vec<Host>,
    wanted: TargetSessionAttrs,
    /// Where the next search begins.
    first: AtomicUsize,
}

impl Hosts {
    pub fn new(mut list: Vec<Host>, wanted: TargetSessionAttrs) -> Arc<Self> {
        if list.is_empty() {
            // The configuration has one; nothing answers at this one.
            list.push(Host::new("", 0));
        }
        Arc::new(Self {
            list,
            wanted,
            first: AtomicUsize::new(0),
        })
    }

    /// One server, whatever it is.
    pub fn one(host: Host) -> Arc<Self> {
        Self::new(vec![host], TargetSessionAttrs::Any)
    }

    pub fn list(&self) -> &[Host] {
        &self.list
    }

    pub fn wanted(&self) -> TargetSessionAttrs {
        self.wanted
    }

    /// Whether there is nothing to choose: one server, whatever it is.
    pub fn is_plain(&self) -> bool {
        self.list.len() == 1 && self.wanted == TargetSessionAttrs::Any
    }

    /// The one that fitted last; at first the first.
    pub fn preferred(&self) -> &Host {
        &self.list[self.first.load(Ordering::Relaxed) % self.list.len()]
    }

    /// The search of the next begins here.
    pub fn remember(&self, host: &Host) {
        if let Some(index) = self.list.iter().position(|known| known == host) {
            self.first.store(index, Ordering::Relaxed);
        }
    }

    /// The search of the next begins behind this one, of which no answer came.
    pub fn distrust(&self, host: &Host) {
        if let Some(index) = self.list.iter().position(|known| known == host) {
            self.first
                .store((index + 1) % self.list.len(), Ordering::Relaxed);
        }
    }

    /// Whom to try in which order, and what to want of each: the one that fitted last, then the
    /// others as they are listed; where a standby is only preferred, all of them again.
    pub fn candidates(&self) -> Vec<(Host, TargetSessionAttrs)> {
        let preferred = self.preferred();
        let others = self.list.iter().filter(|host| *host != preferred);
        let order: Vec<&Host> = std::iter::once(preferred).chain(others).collect();
        let round = |wanted| order.iter().map(move |host| ((*host).clone(), wanted));
        match self.wanted {
            TargetSessionAttrs::PreferStandby => round(TargetSessionAttrs::Standby)
                .chain(round(TargetSessionAttrs::Any))
                .collect(),
            wanted => round(wanted).collect(),
        }
    }

    /// Whether a server on which somebody stands is still the one that is wanted. What sessions may
    /// do by default is only looked at when they connect, as in libpq.
    pub fn keeps(&self, in_recovery: bool) -> bool {
        match self.wanted {
            TargetSessionAttrs::Primary | TargetSessionAttrs::ReadWrite => !in_recovery,
            TargetSessionAttrs::Standby => in_recovery,
            TargetSessionAttrs::Any
            | TargetSessionAttrs::ReadOnly
            | TargetSessionAttrs::PreferStandby => true,
        }
    }
}

/// Whether a server of which this is known is what is wanted.
pub fn fits(wanted: TargetSessionAttrs, in_recovery: bool, read_only: bool) -> bool {
    match wanted {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => true,
        TargetSessionAttrs::ReadWrite => !in_recovery && !read_only,
        TargetSessionAttrs::ReadOnly => in_recovery || read_only,
        TargetSessionAttrs::Primary => !in_recovery,
        TargetSessionAttrs::Standby => in_recovery,
    }
}

/// What one is told where none of the servers is what is wanted.
pub fn none_fits(wanted: TargetSessionAttrs) -> &'static str {
    match wanted {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => {
            "none of the upstream servers can be used"
        }
        TargetSessionAttrs::ReadWrite => "none of the upstream servers takes writes at present",
        TargetSessionAttrs::ReadOnly => "none of the upstream servers is read-only at present",
        TargetSessionAttrs::Primary => "none of the upstream servers is a primary at present",
        TargetSessionAttrs::Standby => "none of the upstream servers is a standby at present",
    }
}

/// Two are equal that lead to the same places; who fitted last does not count.
impl PartialEq for Hosts {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list && self.wanted == other.wanted
    }
}

impl Eq for Hosts {}

impl Hash for Hosts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.list.hash(state);
        self.wanted.hash(state);
    }
}

/// All of them, as messages name them.
impl std::fmt::Display for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, host) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{host}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(wanted: TargetSessionAttrs) -> Arc<Hosts> {
        Hosts::new(
            ["a", "b", "c"].map(|name| Host::new(name, 1)).into(),
            wanted,
        )
    }

    fn order(hosts: &Hosts) -> String {
        let candidates = hosts.candidates();
        candidates
            .iter()
            .map(|(host, _)| host.name.as_str())
            .collect()
    }

    #[test]
    fn the_search_begins_where_the_last_one_succeeded() {
        let hosts = hosts(TargetSessionAttrs::Primary);
        assert_eq!(order(&hosts), "abc");
        hosts.remember(&Host::new("b", 1));
        assert_eq!(order(&hosts), "bac");
        hosts.distrust(&Host::new("b", 1));
        assert_eq!(order(&hosts), "cab");
        hosts.distrust(&Host::new("c", 1));
        hosts.remember(&Host::new("elsewhere", 1));
        assert_eq!(order(&hosts), "abc");
    }

    #[test]
    fn whoever_prefers_a_standby_looks_for_one_everywhere_first() {
        let hosts = hosts(TargetSessionAttrs::PreferStandby);
        assert_eq!(order(&hosts), "abcabc");
        let wanted: Vec<_> = hosts.candidates().into_iter().map(|(_, w)| w).collect();
        assert_eq!(wanted[..3], [TargetSessionAttrs::Standby; 3]);
        assert_eq!(wanted[3..], [TargetSessionAttrs::Any; 3]);
    }

    #[test]
    fn what_fits_is_what_libpq_says() {
        use TargetSessionAttrs::{Any, Primary, ReadOnly, ReadWrite, Standby};
        // In recovery, read only by default.
        let servers = [(false, false), (false, true), (true, false), (true, true)];
        let fitting =
            |wanted| servers.map(|(recovery, read_only)| fits(wanted, recovery, read_only));
        assert_eq!(fitting(Any), [true, true, true, true]);
        assert_eq!(fitting(ReadWrite), [true, false, false, false]);
        assert_eq!(fitting(ReadOnly), [false, true, true, true]);
        assert_eq!(fitting(Primary), [true, true, false, false]);
        assert_eq!(fitting(Standby), [false, false, true, true]);
    }
}
