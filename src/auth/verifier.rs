//! What a server keeps of a password.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::AuthError;
use super::md5::md5_hex;
use super::scram::ScramKeys;

/// A value of `pg_authid.rolpassword`. Prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Verifier {
    Scram(ScramKeys),
    /// 32 hexadecimal digits: md5 of password and user name.
    Md5([u8; 32]),
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` or
    /// `md5` and 32 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`AuthError::Verifier`] for anything else.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        if let Some(digits) = text.strip_prefix("md5") {
            let digits: [u8; 32] = digits
                .as_bytes()
                .try_into()
                .map_err(|_| AuthError::Verifier)?;
            return digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
                .then_some(Verifier::Md5(digits))
                .ok_or(AuthError::Verifier);
        }
        scram(text).map(Verifier::Scram).ok_or(AuthError::Verifier)
    }

    /// The md5 verifier of a password.
    pub fn md5(user: &str, password: &str) -> Self {
        Verifier::Md5(md5_hex(&[password.as_bytes(), user.as_bytes()]))
    }
}

fn scram(text: &str) -> Option<ScramKeys> {
    let rest = text.strip_prefix("SCRAM-SHA-256$")?;
    let (work, keys) = rest.split_once('$')?;
    let (iterations, salt) = work.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let salt = STANDARD.decode(salt).ok()?;
    if salt.is_empty() || !iterations.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(ScramKeys {
        iterations: iterations.parse::<NonZeroU32>().ok()?,
        salt,
        stored_key: key(stored_key)?,
        server_key: key(server_key)?,
    })
}

fn key(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verifier::Scram(_) => "Scram(***)",
            Verifier::Md5(_) => "Md5(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CREATE ROLE … PASSWORD 'pencil'`, with the salt of RFC 7677's example.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn scram_verifier_is_what_its_password_gives() {
        let Ok(Verifier::Scram(read)) = Verifier::parse(PENCIL) else {
            panic!("not read");
        };
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert!(read == ScramKeys::from_password("pencil", salt));
    }

    #[test]
    fn md5_verifier_is_what_its_password_gives() {
        // md5('secret' || 'amy'), as PostgreSQL computes it.
        let read = Verifier::parse("md527949486401021cb102ea517e3e0a405").unwrap();
        assert!(read == Verifier::md5("amy", "secret"));
        assert!(read != Verifier::md5("bob", "secret"));
    }

    #[test]
    fn what_is_no_verifier_is_refused() {
        for text in [
            "",
            "md5",
            "md51234",
            "md5ABCDEF0123456789abcdef0123456789ab",
            "plain",
            "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$+9:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
        ] {
            assert_eq!(Verifier::parse(text), Err(AuthError::Verifier), "{text}");
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let verifier = Verifier::parse(PENCIL).unwrap();
        assert_eq!(format!("{verifier:?}"), "Scram(***)");
    }
}
