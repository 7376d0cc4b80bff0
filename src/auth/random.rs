//! Salts and nonces.

use super::error::AuthError;

/// Bytes that nobody can guess.
///
/// # Errors
/// The system gives none, which Linux does not do once it has booted.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], AuthError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| AuthError::Random)?;
    Ok(bytes)
}
