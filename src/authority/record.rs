//! The record of our upstream connections, on disk.
//!
//! After `kill -9` a backend of ours may still commit. The next process finds its pid
//! here and ends it before it trusts anything. A line is written as a connection opens
//! and as it is gone; no fsync, for the file has to outlive the process, not the machine.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::proof::Backend;

/// Written anew when it has this many lines more than it needs.
const SLACK_LINES: usize = 10_000;
const DEPARTED_MAX: usize = 1000;

/// What stands in a record that was found.
pub(super) enum Found {
    /// Backends that an earlier process may have left: perhaps none.
    Backends(Vec<Backend>),
    /// There was no record that can be trusted.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Record {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: HashMap<u32, Backend>,
    /// The last ones that were removed: an outcome may turn out unknown after the pool has let go.
    departed: VecDeque<Backend>,
    /// Those of an earlier process, until they are gone.
    inherited: Vec<Backend>,
    /// Nobody is left who is older than the record and not in it.
    complete: bool,
    file: Option<OnDisk>,
}

#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    file: File,
    /// Held as long as we live, so that a second process does not end our backends.
    _lock: File,
    lines: usize,
}

impl Record {
    /// Without a directory nothing is written.
    pub fn unwritten() -> Self {
        Self {
            state: Mutex::new(State {
                open: HashMap::new(),
                departed: VecDeque::new(),
                inherited: Vec::new(),
                complete: false,
                file: None,
            }),
        }
    }

    /// Takes over the record `name` in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be written, or another process that lives has the record.
    pub fn open(dir: &Path, name: &str) -> io::Result<(Self, Found)> {
        std::fs::create_dir_all(dir)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(format!("{name}.lock")))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let path = dir.join(format!("{name}.backends"));
        let found = match std::fs::read_to_string(&path) {
            Ok(text) => read(&text).map_or(Found::Nothing, Found::Backends),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) => return Err(error),
        };
        let (complete, inherited) = match &found {
            Found::Backends(backends) => (true, backends.clone()),
            Found::Nothing => (false, Vec::new()),
        };
        let file = OnDisk {
            file: write_anew(&path, complete, inherited.iter())?,
            path,
            _lock: lock,
            lines: inherited.len(),
        };
        let record = Self {
            state: Mutex::new(State {
                open: HashMap::new(),
                departed: VecDeque::new(),
                inherited,
                complete,
                file: Some(file),
            }),
        };
        Ok((record, found))
    }

    /// Before the connection's first use.
    pub fn add(&self, backend: &Backend) {
        let mut state = self.state.lock();
        // Two backends of one pid do not live at once: the older is gone.
        if let Some(older) = state.open.insert(backend.pid, backend.clone()) {
            state.append(&line('-', &older));
        }
        state.append(&line('+', backend));
    }

    /// The backend with this pid is gone, or about to go.
    pub fn remove(&self, pid: u32) {
        let mut state = self.state.lock();
        if let Some(backend) = state.open.remove(&pid) {
            state.append(&line('-', &backend));
            state.departed.truncate(DEPARTED_MAX - 1);
            state.departed.push_front(backend);
        }
    }

    /// Who has this pid, or had it last.
    pub fn find(&self, pid: u32) -> Option<Backend> {
        let state = self.state.lock();
        let departed = || state.departed.iter().find(|backend| backend.pid == pid);
        state.open.get(&pid).or_else(departed).cloned()
    }

    /// Writes no more, and lets another have the file.
    pub fn close(&self) {
        self.state.lock().file = None;
    }

    /// Those of earlier processes are gone, on record or not: from here on it is complete.
    pub fn forget_inherited(&self) {
        let mut state = self.state.lock();
        state.inherited.clear();
        state.complete = true;
        state.compact();
    }

    pub fn has(&self, pid: u32) -> bool {
        self.state.lock().open.contains_key(&pid)
    }

    pub fn len(&self) -> usize {
        self.state.lock().open.len()
    }
}

impl State {
    fn append(&mut self, line: &str) {
        let needed = self.open.len() + self.inherited.len();
        let Some(on_disk) = &mut self.file else {
            return;
        };
        on_disk.lines += 1;
        let written = on_disk.file.write_all(line.as_bytes());
        let long = on_disk.lines > needed + SLACK_LINES;
        if let Err(error) = written {
            self.give_up(&error);
        } else if long {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let Some(on_disk) = &mut self.file else {
            return;
        };
        let backends = self.open.values().chain(&self.inherited);
        on_disk.lines = self.open.len() + self.inherited.len();
        match write_anew(&on_disk.path, self.complete, backends) {
            Ok(file) => on_disk.file = file,
            Err(error) => self.give_up(&error),
        }
    }

    /// A record with a gap is worse than none: the next process would trust it.
    fn give_up(&mut self, error: &io::Error) {
        if let Some(on_disk) = self.file.take() {
            tracing::warn!(path = %on_disk.path.display(), %error,
                "the record of upstream connections cannot be written: after a crash hits will wait longer");
            if let Err(error) = std::fs::remove_file(&on_disk.path) {
                tracing::warn!(path = %on_disk.path.display(), %error,
                    "it cannot be removed either: remove it before the next start");
            }
        }
    }
}

const HEAD: &str = "pgditto backends 1\n";
/// Of a record that begins after backends that it does not hold: not to be trusted yet.
const HEAD_INCOMPLETE: &str = "pgditto backends 1, incomplete\n";

fn line(sign: char, backend: &Backend) -> String {
    let Backend {
        pid,
        started_us,
        user,
    } = backend;
    // A user's name may hold anything but NUL.
    format!("{sign} {pid} {started_us} {}\n", user.escape_default())
}

fn write_anew<'a>(
    path: &Path,
    complete: bool,
    backends: impl Iterator<Item = &'a Backend>,
) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut text = match complete {
        true => HEAD.to_owned(),
        false => HEAD_INCOMPLETE.to_owned(),
    };
    for backend in backends {
        text.push_str(&line('+', backend));
    }
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)?;
    OpenOptions::new().append(true).open(path)
}

/// The backends that were added and not removed; `None` if it is no record. A last line
/// that was cut short was never acted on: the connection was not used yet.
fn read(text: &str) -> Option<Vec<Backend>> {
    let mut open: Vec<Backend> = Vec::new();
    let lines = text.strip_prefix(HEAD)?;
    for line in lines.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        let mut words = line.splitn(4, ' ');
        let sign = words.next()?;
        let backend = Backend {
            pid: words.next()?.parse().ok()?,
            started_us: words.next()?.parse().ok()?,
            user: unescape(words.next()?)?,
        };
        open.retain(|other| *other != backend);
        match sign {
            "+" => open.push(backend),
            "-" => {}
            _ => return None,
        }
    }
    Some(open)
}

/// Reverses [`str::escape_default`].
fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match rest.next()? {
            'u' => {
                let digits: String = rest.by_ref().skip(1).take_while(|&c| c != '}').collect();
                char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
            }
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pid: u32, user: &str) -> Backend {
        Backend {
            pid,
            started_us: 1_700_000_000_000_000 + i64::from(pid),
            user: user.into(),
        }
    }

    fn found(dir: &Path) -> (Record, Option<Vec<Backend>>) {
        let (record, found) = Record::open(dir, "db").unwrap();
        match found {
            Found::Backends(mut backends) => {
                backends.sort_by_key(|backend| backend.pid);
                (record, Some(backends))
            }
            Found::Nothing => (record, None),
        }
    }

    #[test]
    fn the_next_process_finds_who_was_open() {
        let dir = tempfile::tempdir().unwrap();
        let (record, before) = found(dir.path());
        assert_eq!(before, None);
        drop(record);
        // Until who is older is gone, the record says nothing.
        let (record, before) = found(dir.path());
        assert_eq!(before, None);
        record.forget_inherited();
        record.add(&backend(1, "app"));
        record.add(&backend(2, "o'n\\e \"é\"\n"));
        record.remove(1);
        assert_eq!(record.find(1), Some(backend(1, "app")));
        drop(record);
        let (record, before) = found(dir.path());
        assert_eq!(before, Some(vec![backend(2, "o'n\\e \"é\"\n")]));
        record.add(&backend(3, "app"));
        drop(record);
        let (record, before) = found(dir.path());
        assert_eq!(before.map(|backends| backends.len()), Some(2));
        record.add(&backend(4, "app"));
        record.forget_inherited();
        drop(record);
        assert_eq!(found(dir.path()).1, Some(vec![backend(4, "app")]));
    }

    #[test]
    fn a_pid_that_comes_again_is_another_backend() {
        let dir = tempfile::tempdir().unwrap();
        let (record, _) = found(dir.path());
        record.forget_inherited();
        let mut again = backend(1, "app");
        again.started_us += 1;
        record.add(&backend(1, "app"));
        record.add(&again);
        assert_eq!(record.find(1), Some(again.clone()));
        drop(record);
        assert_eq!(found(dir.path()).1, Some(vec![again]));
    }

    #[test]
    fn a_living_process_keeps_its_record_to_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (_record, _) = found(dir.path());
        assert!(Record::open(dir.path(), "db").is_err());
        assert!(Record::open(dir.path(), "other").is_ok());
    }

    #[test]
    fn a_cut_line_is_left_out_and_a_strange_file_is_not_trusted() {
        let whole = line('+', &backend(1, "app"));
        let cut = &line('+', &backend(2, "app"))[..9];
        let text = format!("{HEAD}{whole}{cut}");
        assert_eq!(read(&text), Some(vec![backend(1, "app")]));
        assert_eq!(read("something else\n"), None);
        assert_eq!(read(&format!("{HEAD}* 1 2 x\n")), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (record, _) = found(dir.path());
        for pid in 0..SLACK_LINES as u32 {
            record.add(&backend(pid, "app"));
            record.remove(pid);
        }
        let text = std::fs::read_to_string(dir.path().join("db.backends")).unwrap();
        assert!(text.lines().count() <= SLACK_LINES + 2);
    }
}
