//! The files that say who may come from where: `auth_hba_file` and `auth_ident_file`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::hba::{Files, Hba, HbaError, IdentMaps, Rule};
use crate::config::{AuthType, Config};

/// What the two files say.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) hba: Hba,
    pub(super) maps: IdentMaps,
}

/// A mistake of the operator's.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error(transparent)]
    Parse(#[from] HbaError),
    #[error("{0}: line {1}: certificates of clients are only checked with client_tls_ca_file")]
    NoAuthority(PathBuf, usize),
    #[error(
        "{0}: line {1}: nobody is known who could ask the server for members of roles: set auth_user, or name a user in the upstream URL"
    )]
    NobodyAsks(PathBuf, usize),
}

/// A longer file is a wrong path.
const FILE_BYTES_MAX: u64 = 16 << 20;

impl Rules {
    /// `None` unless `auth_type` is `hba`.
    ///
    /// # Errors
    /// A file that cannot be read or has a mistake: none of it counts then.
    pub fn load(config: &Config) -> Result<Option<Arc<Self>>, RulesError> {
        let auth = &config.auth;
        let (AuthType::Hba, Some(hba_file)) = (auth.auth_type, &auth.auth_hba_file) else {
            return Ok(None);
        };
        let files = Files {
            read: &read,
            list: &list,
        };
        let hba = Hba::read(hba_file, &files)?;
        let maps = match &auth.auth_ident_file {
            Some(path) => IdentMaps::read(path, &files)?,
            None => IdentMaps::default(),
        };
        let first = |which: fn(&&Rule) -> bool| {
            let rule = hba.rules().iter().find(which)?;
            Some((rule.file.to_path_buf(), rule.line))
        };
        if config.client_tls.ca_file.is_none()
            && let Some((file, line)) = first(|rule| rule.client_cert.is_some())
        {
            return Err(RulesError::NoAuthority(file, line));
        }
        if auth.auth_user.is_none()
            && config.upstream.user.is_none()
            && let Some((file, line)) = first(|rule| rule.needs_roles())
        {
            return Err(RulesError::NobodyAsks(file, line));
        }
        Ok(Some(Arc::new(Self { hba, maps })))
    }

    /// The files that say all this: when one changes, load again.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.hba.files().iter().chain(self.maps.files())
    }
}

/// Never waits: what is no file, such as a pipe, is not opened.
fn read(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = String::new();
    let mut file = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1);
    file.read_to_string(&mut text)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other("too long for a file of rules")),
        false => Ok(text),
    }
}

/// Names that are not UTF-8 do not end in .conf for anybody here.
fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}
