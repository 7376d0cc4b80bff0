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
