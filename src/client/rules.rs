//! The files that say who may come from where: `auth_hba_file` and `auth_ident_file`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::hba::{Hba, HbaError, IdentMaps};
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
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Parse(PathBuf, HbaError),
    #[error("{0}: line {1}: certificates of clients are only checked with client_tls_ca_file")]
    NoAuthority(PathBuf, usize),
}

impl Rules {
    /// `None` unless `auth_type` is `hba`.
    ///
    /// # Errors
    /// A file that cannot be read or has a mistake: none of it counts then.
    pub fn load(config: &Config) -> Result<Option<Arc<Self>>, RulesError> {
        let (AuthType::Hba, Some(hba_file)) = (config.auth.auth_type, &config.auth.auth_hba_file)
        else {
            return Ok(None);
        };
        let wrong = |path: &Path| {
            let path = path.to_owned();
            |error| RulesError::Parse(path, error)
        };
        let hba = Hba::parse(&read(hba_file)?).map_err(wrong(hba_file))?;
        let maps = match &config.auth.auth_ident_file {
            Some(path) => IdentMaps::parse(&read(path)?).map_err(wrong(path))?,
            None => IdentMaps::default(),
        };
        let of_certificates = hba.rules().iter().find(|rule| rule.client_cert.is_some());
        match (of_certificates, &config.client_tls.ca_file) {
            (Some(rule), None) => Err(RulesError::NoAuthority(hba_file.clone(), rule.line)),
            _ => Ok(Some(Arc::new(Self { hba, maps }))),
        }
    }
}

fn read(path: &Path) -> Result<String, RulesError> {
    std::fs::read_to_string(path).map_err(|error| RulesError::Read(path.to_owned(), error))
}
