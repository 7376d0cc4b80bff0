//! The kinds of value that are secrets.

use super::Secret;
use super::value::{Kind, Maybe, Path, Raw, quoted};

/// How a secret is printed.
pub(super) const MASK: &str = "***";

/// A secret that stands in the configuration itself.
pub(crate) struct Hidden;

impl Kind<Option<Secret>> for Hidden {
    fn read(&self, raw: &Raw) -> Result<Option<Secret>, String> {
        // The messages leave out what was given: it may be the secret.
        match raw.text() {
            Some("") => Ok(None),
            Some(MASK) => Err("this is how print-config hides a secret, not the secret".into()),
            Some(text) if text.contains('\0') => {
                Err("a zero byte cannot be part of a secret".into())
            }
            Some(text) => Ok(Some(Secret::new(text))),
            None => Err("expected text in quotes".into()),
        }
    }

    fn show(&self, value: &Option<Secret>) -> String {
        let here = value.as_ref().is_some_and(|secret| secret.file().is_none());
        quoted(if here { MASK } else { "" })
    }

    fn takes(&self) -> String {
        "secret".into()
    }
}

/// The `_file` form of a secret: the path of a file that holds it.
pub(crate) struct HiddenFile;

impl Kind<Option<Secret>> for HiddenFile {
    fn read(&self, raw: &Raw) -> Result<Option<Secret>, String> {
        let Some(path) = Maybe("", Path).read(raw)? else {
            return Ok(None);
        };
        Secret::read_file(&path)
            .map(Some)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    }

    fn show(&self, value: &Option<Secret>) -> String {
        let path = value.as_ref().and_then(Secret::file);
        quoted(&path.map_or_else(String::new, |path| path.to_string_lossy().into_owned()))
    }

    fn same(&self, a: &Option<Secret>, b: &Option<Secret>) -> bool {
        a.as_ref().and_then(Secret::file) == b.as_ref().and_then(Secret::file)
    }

    fn takes(&self) -> String {
        "path".into()
    }
}
