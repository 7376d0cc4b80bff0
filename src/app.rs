//! The composition root: builds every room from the configuration and runs them until the drain is over.

use std::sync::Arc;

use crate::config::{Config, ConfigErrors, Source};

/// Why the process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error("{0}: not yet wired")]
    NotWired(&'static str),
}

/// Serves until it is told to stop. `source` is loaded again on SIGHUP.
///
/// # Errors
/// When the configuration is wrong, or nothing can be listened on.
pub async fn serve(source: Source) -> Result<(), AppError> {
    source.load()?;
    Err(AppError::NotWired("serve"))
}

/// Says why `sql` is or is not answered from the cache.
///
/// # Errors
/// When the server cannot be reached, since what names mean is only known there.
pub async fn explain(_config: Arc<Config>, _sql: &str) -> Result<String, AppError> {
    Err(AppError::NotWired("explain"))
}
