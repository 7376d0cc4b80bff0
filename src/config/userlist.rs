//! PgBouncer's user list: a name and a secret in quotes on each line.

use std::collections::HashMap;
use std::path::Path;

use super::Secret;

/// A longer file is a wrong path.
const BYTES_MAX: u64 = 64 << 20;

/// The secrets by user: passwords, or what `pg_authid.rolpassword` holds. Of a name listed twice the
/// later counts.
///
/// # Errors
/// A sentence that names the line and nothing of what is in it.
pub(super) fn read(path: &Path) -> Result<HashMap<String, Secret>, String> {
    use std::io::Read;
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut text = String::new();
    let mut file = file.take(BYTES_MAX + 1);
    file.read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("{} is too long for a user list", path.display()));
    }
    parse(&text).map_err(|line| {
        format!(
            "{}:{line}: expected a name and a secret in quotes, such as \"name\" \"secret\"",
            path.display()
        )
    })
}

/// The error is the number of the line.
fn parse(text: &str) -> Result<HashMap<String, Secret>, usize> {
    let mut users = HashMap::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let (name, secret) = entry(line).ok_or(n + 1)?;
        users.insert(name, Secret::new(secret));
    }
    Ok(users)
}

/// What follows the two is ignored, as PgBouncer does.
fn entry(line: &str) -> Option<(String, String)> {
    let (name, rest) = quoted(line)?;
    let (secret, _) = quoted(rest.trim_start())?;
    let is_clean = !name.is_empty() && !name.contains('\0') && !secret.contains('\0');
    is_clean.then_some((name, secret))
}

/// A text in double quotes, in which two stand for one; and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_pgbouncer_reads_them() {
        let text =
            "; comment\n\n\"shop\" \"hush\" \"rest\"\n \"a\"\"b\"  \"\"\n\"shop\" \"later\"\n";
        let users = parse(text).unwrap();
        assert_eq!(users["shop"].reveal(), "later");
        assert_eq!(users["a\"b"].reveal(), "");
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn a_broken_line_is_named_without_its_text() {
        for broken in ["shop hush", "\"half", "\"one\"", "\"\" \"x\"", "\"a\" \"b"] {
            assert_eq!(parse(&format!("\"x\" \"y\"\n{broken}")).unwrap_err(), 2);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, "shop hush").unwrap();
        let error = read(&path).unwrap_err();
        assert!(
            error.contains("users:1:") && !error.contains("hush"),
            "{error}"
        );
    }
}
