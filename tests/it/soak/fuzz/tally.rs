//! What runs of the fuzzer have done, in one run and in all that have the same seed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

#[derive(Default, Debug, Clone)]
pub struct Tally {
    pub episodes: u64,
    pub steps: u64,
    /// Answers of the oracle that were compared.
    pub asked: u64,
    /// Those of them that came from the cache.
    pub checks: u64,
    /// Answers that a lock of the script stood before.
    pub blocked: u64,
    /// Answers for which no session could be brought into the state.
    pub without: u64,
    /// All hits, the oracle's and the sessions' own.
    pub hits: f64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.episodes += more.episodes;
        self.steps += more.steps;
        self.asked += more.asked;
        self.checks += more.checks;
        self.blocked += more.blocked;
        self.without += more.without;
        self.hits += more.hits;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} episodes, {} steps, {} answers asked again, {} of them hits, {} not for a lock, {} not for their state, {} hits in all",
            self.episodes,
            self.steps,
            self.asked,
            self.checks,
            self.blocked,
            self.without,
            self.hits
        )
    }
}

/// The hits that were checked in each whole episode of a seed, kept in a file of `target`.
pub struct Record {
    file: PathBuf,
    episodes: BTreeMap<u64, u64>,
}

impl Record {
    /// Lines of an episode and its checks; the last line of an episode counts.
    pub fn of(seed: u64) -> Self {
        let file = folder().join(seed.to_string());
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let episodes = text.lines().filter_map(|line| {
            let (episode, checks) = line.split_once(' ')?;
            Some((episode.parse().ok()?, checks.parse().ok()?))
        });
        Self {
            episodes: episodes.collect(),
            file,
        }
    }

    /// The first episode that was not played to its end.
    pub fn next(&self) -> u64 {
        let played = |episode: &u64| self.episodes.contains_key(episode);
        (0..).find(|episode| !played(episode)).unwrap_or_default()
    }

    pub fn add(&mut self, episode: u64, checks: u64) {
        std::fs::create_dir_all(folder()).expect("a folder of target");
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.file)
            .expect("a file of target");
        writeln!(file, "{episode} {checks}").expect("a line");
        self.episodes.insert(episode, checks);
    }

    pub fn episodes(&self) -> usize {
        self.episodes.len()
    }

    pub fn checks(&self) -> u64 {
        self.episodes.values().sum()
    }
}

/// The hits that were checked with whatever seed. Who wants to begin anew removes the folder.
pub fn checks_of_all_seeds() -> u64 {
    let entries = std::fs::read_dir(folder()).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let seeds = names.filter_map(|name| name.parse().ok());
    seeds.map(|seed| Record::of(seed).checks()).sum()
}

fn folder() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("fuzz")
}
