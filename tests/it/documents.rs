//! The documents name what there is, and nothing that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pgditto::admin::Show;
use pgditto::config::keys::{DATABASE_KEYS, KEYS, RULE_KEYS, SECTIONS, USER_KEYS};
use pgditto::session::state::Pin;
use pgditto::sql::Bypass;

use crate::fixture::{DATABASE, Pgditto, Postgres, USER, eventually, psql, repository};

fn read(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text from the heading `title` up to the next heading of its rank or above.
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let begin = text
        .find(&format!("\n{title}\n"))
        .unwrap_or_else(|| panic!("no heading {title:?}"));
    let body = &text[begin + 1 + title.len()..];
    let rank = title.bytes().take_while(|byte| *byte == b'#').count();
    let end = (1..=rank)
        .filter_map(|rank| body.find(&format!("\n{} ", "#".repeat(rank))))
        .min();
    &body[..end.unwrap_or(body.len())]
}

/// What stands in backticks at the start of each row of the tables in `text`.
fn first_cells(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0))
        .collect()
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    words.into_iter().collect()
}

#[test]
fn bypass_reasons_are_those_of_the_program() {
    let reasons = set(Bypass::ALL.iter().map(|reason| reason.as_str()));
    assert_eq!(first_cells(&read("docs/bypass-reasons.md")), reasons);
}

/// Each row of the table of traps names tests, and there are such tests.
#[test]
fn the_traps_name_tests_that_exist() {
    let text = read("docs/traps.md");
    let mut named = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let tests = cells.last().expect("a cell");
        if *tests == "test" {
            continue;
        }
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(cells.len() == 3 && !names.is_empty(), "{row}");
        named.extend(names);
    }
    assert!(named.len() > 90, "{} tests", named.len());
    for name in named {
        let (module, function) = name.rsplit_once("::").expect("module::function");
        let path = module.replace("::", "/");
        let unit = path.strip_suffix("/tests").unwrap_or(&path);
        let files = [
            format!("tests/it/{path}.rs"),
            format!("tests/it/{path}/mod.rs"),
            format!("src/{path}.rs"),
            format!("src/{unit}.rs"),
        ];
        let is_test = |file: &String| {
            let code = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
            let before = code
                .split_once(&format!("fn {function}("))
                .map(|(before, _)| before);
            before.is_some_and(|before| {
                let head = before.rsplit("\n}\n").next().unwrap_or_default();
                head.contains("#[test]") || head.contains("#[tokio::test")
            })
        };
        assert!(files.iter().any(is_test), "there is no test {name}");
    }
}

/// The last cell of each row is what `explain` says, but for links.
#[test]
fn remedies_are_those_of_the_program() {
    let text = read("docs/bypass-reasons.md");
    for reason in Bypass::ALL {
        let row = format!("| `{}` |", reason.as_str());
        let line = text.lines().find(|line| line.starts_with(&row));
        let cell = line.and_then(|line| line.trim_end_matches(" |").rsplit(" | ").next());
        let mut plain = String::new();
        for (index, part) in cell.expect("a row").split('[').enumerate() {
            match part.split_once("](").filter(|_| index > 0) {
                Some((link, rest)) => {
                    plain.push_str("docs/");
                    plain.push_str(link);
                    plain.push_str(rest.split_once(')').map_or("", |(_, rest)| rest));
                }
                None if index > 0 => plain.extend(["[", part]),
                None => plain.push_str(part),
            }
        }
        assert_eq!(reason.remedy(), plain, "{}", reason.as_str());
    }
}

#[test]
fn pins_are_those_of_the_program() {
    let pins = set(Pin::ALL.iter().map(|pin| pin.as_str()));
    let text = read("docs/pins.md");
    assert_eq!(first_cells(section(&text, "## What pins")), pins);
}

#[test]
fn console_tables_are_those_of_the_program() {
    let text = read("docs/operations.md");
    let shown = first_cells(section(&text, "## Console"));
    let shown: BTreeSet<&str> = shown
        .iter()
        .filter_map(|cell| cell.strip_prefix("SHOW "))
        .collect();
    let known = Show::ALL.iter().map(|show| show.as_str());
    assert_eq!(shown, set(known.chain(["HELP"])));
}

/// The commands are those that the console itself lists.
#[test]
fn console_commands_are_those_of_its_help() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    let output = psql(&pgditto.url(USER, "pgbouncer"), &["-c", "SHOW HELP"], "");
    assert!(output.success, "{output:?}");
    let verb = |line: &str| line.split([' ', '=']).next().unwrap_or_default().to_owned();
    let of_help: BTreeSet<String> = output
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix('\t'))
        .filter(|line| !line.starts_with("SHOW "))
        .map(verb)
        .collect();
    let text = read("docs/operations.md");
    let documented: BTreeSet<String> = first_cells(section(&text, "## Console"))
        .iter()
        .filter(|cell| !cell.starts_with("SHOW "))
        .map(|cell| verb(cell))
        .collect();
    assert!(of_help.contains("KILL_CLIENT"), "{output:?}");
    assert_eq!(documented, of_help);
}

#[test]
fn configuration_tables_are_those_of_the_program() {
    let text = read("docs/configuration.md");
    let tables = pgditto::config::markdown();
    assert!(
        text.ends_with(&tables),
        "docs/configuration.md must end with what `cargo run -- print-config --markdown` prints"
    );
    // And what is printed has every key.
    let mut keys: Vec<(&str, &str)> = Vec::new();
    keys.extend(KEYS.iter().map(|key| (key.section, key.name)));
    keys.extend(RULE_KEYS.iter().map(|key| ("cache.rules", key.name)));
    keys.extend(DATABASE_KEYS.iter().map(|key| ("databases", key.name)));
    keys.extend(USER_KEYS.iter().map(|key| ("users", key.name)));
    for (name, key) in keys {
        let heading = match SECTIONS.iter().any(|(section, _)| *section == name) {
            true => format!("### `[{name}]`"),
            false => format!("### `[[{name}]]`"),
        };
        let cells = first_cells(section(&text, &heading));
        assert!(cells.contains(key), "{name}.{key}");
    }
}

/// Rows of README's table of options: default and effect are the program's.
#[test]
fn options_of_the_readme_exist_and_have_these_defaults() {
    let text = read("README.md");
    let defaults = pgditto::config::Config::default();
    let mut rows = 0;
    for line in section(&text, "## Options").lines() {
        let Some(cells) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let name = cells[0].trim_end_matches('`');
        let key = KEYS
            .iter()
            .find(|key| key.full == name)
            .unwrap_or_else(|| panic!("no key {name}"));
        assert_eq!(cells[1], format!("`{}`", key.show(&defaults)), "{name}");
        let effect = format!("{:?}", key.effect).to_lowercase();
        assert_eq!(cells[2], effect, "{name}");
        rows += 1;
    }
    assert!(rows >= 15, "{rows} options");
}

// --- metrics

/// One family of a scrape.
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
    /// The values of each label.
    values: BTreeMap<String, BTreeSet<String>>,
}

/// Takes a scrape apart.
fn families(scrape: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            families.entry(name.into()).or_default().help = help.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            families.entry(name.into()).or_default().kind = kind.into();
        } else {
            let (series, _) = line.rsplit_once(' ').expect("a sample");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|base| families.get(*base).is_some_and(|f| f.kind == "histogram"))
                .unwrap_or(name);
            let family = families.get_mut(name).expect("TYPE comes before");
            for label in labels.trim_end_matches('}').split("\",") {
                let Some((label, value)) = label.split_once("=\"") else {
                    continue;
                };
                if label != "le" {
                    family.labels.insert(label.into());
                    let values = family.values.entry(label.into()).or_default();
                    values.insert(value.trim_end_matches('"').into());
                }
            }
        }
    }
    families
}

/// A scrape of a process in which everything has happened that makes a series appear.
fn scrape() -> String {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    let url = pgditto.url(USER, DATABASE);
    let output = psql(&url, &["-c", "SELECT 1"], "");
    assert!(output.success, "{output:?}");
    eventually("the guard stands", || {
        let scrape = pgditto.http("GET", "/metrics", &[], "").body;
        let stands = scrape.contains("\npgditto_guard_proof_age_seconds{");
        stands.then_some(scrape)
    })
}

#[test]
fn metrics_are_those_of_a_scrape() {
    let text = read("docs/metrics.md");
    let scrape = scrape();
    let families = families(&scrape);
    for (name, family) in &families {
        let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
        let row = format!(
            "| `{name}` | {} | {} | {} |",
            family.kind,
            labels.join(", "),
            family.help
        );
        assert!(
            text.lines().any(|line| line == row),
            "docs/metrics.md lacks the row\n{row}"
        );
    }
    let begin = text.find("\n## What the label values mean").expect("it");
    let documented = first_cells(&text[..begin]);
    assert_eq!(documented, set(families.keys().map(String::as_str)));
    // README's table is a part of it.
    let readme = read("README.md");
    let chosen: Vec<&str> = section(&readme, "## Metrics")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert!(chosen.len() >= 15, "{} metrics", chosen.len());
    for row in chosen {
        assert!(
            text.lines().any(|line| line == row),
            "not as in docs/metrics.md: {row}"
        );
    }
}

#[test]
fn label_values_are_those_of_a_scrape() {
    let all = read("docs/metrics.md");
    let text = section(&all, "## What the label values mean");
    let words: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (name, family) in families(&scrape()) {
        known.insert(name.clone());
        if !name.starts_with("pgditto_") {
            continue;
        }
        for (label, values) in &family.values {
            known.insert(label.clone());
            known.extend(values.iter().cloned());
            // Explained elsewhere, or names of the user's own.
            let elsewhere = matches!(label.as_str(), "database" | "user" | "version" | "class")
                || name == "pgditto_bypasses_total"
                || (label == "reason" && name.contains("_pin"));
            if elsewhere {
                continue;
            }
            assert!(words.contains(name.as_str()), "{name} is not explained");
            for value in values {
                assert!(
                    words.contains(value.as_str()),
                    "{name}: {label}={value} is not explained"
                );
            }
        }
    }
    // Keys and words of SQL stand beside them; whatever else is in backticks must exist.
    for word in first_cells(text) {
        assert!(known.contains(word), "no label has the value {word}");
    }
}

// --- the slow-query log

/// The names of a line's fields, in its own order: `name=value`, where a value may be quoted.
fn field_names(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = line.split_once("slow query ").expect("a slow line").1;
    while let Some((name, value)) = rest.split_once('=') {
        names.push(name);
        let length = match value.strip_prefix('"') {
            None => value.find(' ').unwrap_or(value.len()),
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                2 + end.expect("the quote ends")
            }
        };
        rest = value[length..].trim_start();
    }
    names
}

#[test]
fn a_slow_line_has_the_documented_fields() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |opts| {
        opts.set("slow_log.warn", "1ms");
    });
    // Ends with an error, so that every field is there; its text would lead a careless reader astray.
    let sql = "SELECT 1 / length(pg_sleep(0.01)::text) AS \"a=\"\"b\"\" c\"";
    let output = psql(&pgditto.url(USER, DATABASE), &["-c", sql], "");
    assert!(!output.success, "a division by zero: {output:?}");
    let line = pgditto.await_log("slow query");
    let text = read("docs/operations.md");
    let text = section(&text, "## Slow-query log");
    let written: BTreeSet<&str> = field_names(&line).into_iter().collect();
    assert_eq!(first_cells(text), written, "{line}");
    assert!(line.contains("sqlstate=\"22012\""), "{line}");
    // The example is such a line, without an error.
    let example = text.lines().find(|line| line.contains("slow query "));
    let example = set(field_names(example.expect("an example")));
    assert_eq!(
        written.difference(&example).copied().collect::<Vec<_>>(),
        ["sqlstate"]
    );
    assert!(example.is_subset(&written), "{example:?}");
}

// --- the rest

#[test]
fn alerts_are_those_of_the_rules() {
    let rules = read("deploy/prometheus/pgditto.rules.yml");
    let rules = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let text = read("docs/operations.md");
    assert_eq!(first_cells(section(&text, "## Alerts")), set(rules));
}

/// Every Markdown file of the repository, without what was built.
fn markdown_files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if path.is_dir() {
                let foreign = name == "target" || name == "node_modules" || name.starts_with('.');
                if !foreign {
                    walk(&path, found);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(repository(), &mut found);
    found
}

/// GitHub's name for a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn relative_links_lead_somewhere() {
    let mut links = 0;
    for file in markdown_files() {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.parent().expect("a folder").join(path),
            };
            assert!(target.exists(), "{}: {link}", file.display());
            if !place.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a text");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| anchor(heading) == place),
                    "{}: {link}",
                    file.display()
                );
            }
            links += 1;
        }
    }
    assert!(links > 10, "{links} links");
}

/// Every `section.key` that a document writes in backticks.
#[test]
fn keys_that_documents_mention_exist() {
    let mut mentioned = 0;
    for file in markdown_files() {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        for word in text.split('`').skip(1).step_by(2) {
            let name = word.split([' ', '=']).next().unwrap_or_default();
            let Some((first, rest)) = name.split_once('.') else {
                continue;
            };
            let names_a_key = SECTIONS.iter().any(|(section, _)| *section == first)
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b"_.".contains(&b));
            if names_a_key {
                let is_section = SECTIONS.iter().any(|(section, _)| *section == name);
                let is_key = pgditto::config::keys::find(name).is_some();
                let known = is_key || is_section || name == "config.toml";
                assert!(known, "{}: `{word}`", file.display());
                mentioned += 1;
            }
        }
    }
    assert!(mentioned > 20, "{mentioned} keys");
}
