//! Secrets, and the files that they come from.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

/// A longer file is a wrong path, such as a device that never ends.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A string that never prints itself, and whose memory is overwritten when it is dropped.
///
/// Equality is that of the text; where it came from does not count.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    file: Option<PathBuf>,
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            file: None,
        }
    }

    /// Reads a secret from `path`. One final newline is no part of it, since editors and `echo` add one.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, holds nothing or a zero byte, or is longer than 64 kB.
    pub fn read_file(path: &Path) -> std::io::Result<Self> {
        use std::io::Read;
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)?
            .take(SECRET_BYTES_MAX + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > SECRET_BYTES_MAX {
            return Err(std::io::Error::other("the file is too long for a secret"));
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(std::io::Error::other("the file is empty"));
        }
        if text.contains('\0') {
            return Err(std::io::Error::other(
                "a zero byte cannot be part of a secret",
            ));
        }
        Ok(Self {
            text,
            file: Some(path.to_owned()),
        })
    }

    /// The secret itself; never pass it to a log, an error or a metric.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Whether it is what `pg_authid.rolpassword` holds, and no password.
    pub fn is_verifier(&self) -> bool {
        let is_md5 = |digits: &str| {
            digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        self.text.starts_with("SCRAM-SHA-256$") || self.text.strip_prefix("md5").is_some_and(is_md5)
    }

    /// The file that the secret was read from, if it came from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Notices when one of a set of files changes, by asking the file system now and then.
///
/// Polling rather than inotify: Kubernetes replaces a mounted secret by turning a symbolic link, which a watch on the
/// file itself never sees.
#[derive(Debug)]
pub struct Watch {
    files: Vec<(PathBuf, Option<Mark>)>,
}

/// What tells one content of a file from the next without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl Watch {
    /// Takes `files` (usually `Config::watched_files`) as they are now.
    pub fn new(files: &[PathBuf]) -> Self {
        let files = files
            .iter()
            .map(|path| (path.clone(), mark(path)))
            .collect();
        Self { files }
    }

    /// From now on these files count. One that was known before is remembered as it was.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let follow = |path: &PathBuf| {
            let known = self.files.iter().find(|(known, _)| known == path);
            known.cloned().unwrap_or_else(|| (path.clone(), mark(path)))
        };
        self.files = files.iter().map(follow).collect();
    }

    /// Whether a file changed since the last call. A file that is away is no change until it is back: a writer that
    /// replaces it may be half-way.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.files {
            let now = mark(path);
            if now.is_some() && now != *seen {
                *seen = now;
                changed = true;
            }
        }
        changed
    }
}

fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some(Mark {
        inode: metadata.ino(),
        len: metadata.len(),
        modified: metadata.modified().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_final_newline_is_no_part_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (content, secret) in [
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret", "s3cret"),
            (" s3cret \n\n", " s3cret \n"),
        ] {
            std::fs::write(&path, content).unwrap();
            let read = Secret::read_file(&path).unwrap();
            assert_eq!(read.reveal(), secret);
            assert_eq!(read.file(), Some(path.as_path()));
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::read_file(&path).is_err());
        assert!(Secret::read_file(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn secret_never_prints_itself() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(***)");
    }

    #[test]
    fn watch_sees_a_replaced_file_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "one").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&path));
        assert!(!watch.changed());

        std::fs::remove_file(&path).unwrap();
        assert!(!watch.changed());
        std::fs::write(&path, "twelve").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
    }
}
