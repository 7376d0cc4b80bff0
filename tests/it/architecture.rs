//! The rooms of the program, and who may use whom: documents alone do not hold such rules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room with those that it may use, in the order in which a query meets them.
const ROOMS: &[(&str, &[&str])] = &[
    ("planted", &[]),
    ("wire", &[]),
    ("config", &[]),
    ("hosts", &["config"]),
    ("auth", &["wire", "config"]),
    ("tls", &["config"]),
    ("sql", &["config"]),
    ("metrics", &["wire", "config", "sql"]),
    ("catalog", &["sql"]),
    ("cache", &["planted", "config", "sql", "catalog"]),
    (
        "authority",
        &[
            "config", "hosts", "tls", "sql", "catalog", "cache", "planted",
        ],
    ),
    ("notify", &["wire", "authority"]),
    ("upstream", &["wire", "auth", "config", "hosts", "tls"]),
    ("client", &["wire", "auth", "config", "tls"]),
    ("insight", &["wire", "config", "sql", "metrics"]),
    (
        "session",
        &[
            "planted",
            "wire",
            "config",
            "hosts",
            "sql",
            "metrics",
            "catalog",
            "cache",
            "authority",
            "notify",
            "upstream",
            "client",
            "insight",
        ],
    ),
    ("admin", &["wire", "config", "metrics", "client", "insight"]),
];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder of the source") {
            sources(&entry.expect("an entry").path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The rooms that a room's files name.
fn used_by(room: &str) -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src.join(room), &mut files);
    let single = src.join(format!("{room}.rs"));
    if single.exists() {
        files.push(single);
    }
    assert!(!files.is_empty(), "no room {room}");
    let mut used = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("a source file");
        for part in text.split("crate::").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            used.insert(name);
        }
    }
    used.remove(room);
    used
}

#[test]
fn rooms_use_only_the_rooms_above_them() {
    for (room, allowed) in ROOMS {
        for used in used_by(room) {
            assert!(
                allowed.contains(&used.as_str()),
                "`{room}` must not know `{used}`"
            );
        }
    }
}

/// Files that may ask what time it is by the clock that people and NTP set, and for what.
const WALL_CLOCK: &[(&str, &str)] = &[
    ("admin/house.rs", "shown"),
    ("admin/show/mod.rs", "shown"),
    ("app/rows.rs", "shown"),
    (
        "cache/redis/mod.rs",
        "how old a value of level ttl is that another process stored",
    ),
    ("config/secret.rs", "when a file was changed"),
    ("insight/slow.rs", "shown"),
    ("metrics/mod.rs", "shown"),
    ("session/registry.rs", "shown"),
    ("session/verify/off.rs", "shown"),
    ("session/verify/rerun.rs", "shown"),
    ("upstream/connector.rs", "shown"),
    ("upstream/standing.rs", "shown"),
    ("upstream/walsender.rs", "shown"),
];

/// Which answer is older than which is told by versions, and how old one is by a clock that nobody can set back.
#[test]
fn the_wall_clock_decides_nothing_of_a_strict_answer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut asking = BTreeSet::new();
    let mut calls = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let name = file.strip_prefix(&src).expect("below src");
        let name = name.to_str().expect("a plain name").to_owned();
        calls += text.matches("wall_ms()").count();
        let words = [
            "SystemTime",
            "UNIX_EPOCH",
            "ClockId::Realtime",
            "gettimeofday",
        ];
        if words.iter().any(|word| text.contains(word)) {
            asking.insert(name);
        }
    }
    let known = WALL_CLOCK.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(asking, known.collect());
    // Where a value goes to Redis, where one that another process stored comes back, and itself.
    assert_eq!(calls, 3);
    // Ages and leases, which are counted while a machine sleeps, too.
    let moment = std::fs::read_to_string(src.join("cache/moment.rs")).expect("the clock");
    assert!(moment.contains("ClockId::Boottime"));
    for (file, clock) in [
        ("cache/entry.rs", "read_at: Moment"),
        ("authority/standing.rs", "Moment"),
    ] {
        let text = std::fs::read_to_string(src.join(file)).expect("a source file");
        assert!(text.contains(clock) && !text.contains("Instant"), "{file}");
    }
}
