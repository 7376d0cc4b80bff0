//! PostgreSQL's md5 authentication: weak, and still asked for.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::verifier::Verifier;

/// The answer to AuthenticationMD5Password: `md5` and 32 hexadecimal digits.
pub fn md5_response(user: &str, password: &str, salt: [u8; 4]) -> String {
    let inner = md5_hex(&[password.as_bytes(), user.as_bytes()]);
    answer(&inner, salt)
}

/// Whether `response` answers `salt` for the password that `verifier` was made
/// from. Never, if there is no verifier, or one of SCRAM's.
pub fn md5_matches(verifier: Option<&Verifier>, salt: [u8; 4], response: &[u8]) -> bool {
    let (inner, known) = match verifier {
        Some(Verifier::Md5(digits)) => (*digits, true),
        Some(Verifier::Scram(_)) | None => ([b'0'; 32], false),
    };
    let matches: bool = answer(&inner, salt).as_bytes().ct_eq(response).into();
    matches && known
}

pub(super) fn answer(inner: &[u8; 32], salt: [u8; 4]) -> String {
    let outer = md5_hex(&[inner, &salt]);
    let mut text = String::from("md5");
    text.extend(outer.iter().copied().map(char::from));
    text
}

/// The hexadecimal digits of the md5 of all `parts` together.
pub(super) fn md5_hex(parts: &[&[u8]]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash.finalize()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_is_what_libpq_sends() {
        // md5(md5('password' || 'md5_user') || '\x2a3d8fe0'), from postgres-protocol's tests.
        let response = md5_response("md5_user", "password", [0x2a, 0x3d, 0x8f, 0xe0]);
        assert_eq!(response, "md562af4dd09bbb41884907a838a3233294");
    }

    #[test]
    fn only_the_right_answer_to_an_md5_verifier_matches() {
        let salt = [1, 2, 3, 4];
        let verifier = Verifier::md5("amy", "secret");
        let right = md5_response("amy", "secret", salt);
        assert!(md5_matches(Some(&verifier), salt, right.as_bytes()));
        assert!(!md5_matches(
            Some(&verifier),
            [1, 2, 3, 5],
            right.as_bytes()
        ));
        assert!(!md5_matches(Some(&verifier), salt, b""));
        assert!(!md5_matches(
            Some(&verifier),
            salt,
            md5_response("amy", "wrong", salt).as_bytes()
        ));
        // What stands in for an unknown user's verifier lets nobody in.
        let mock = answer(&[b'0'; 32], salt);
        assert!(!md5_matches(None, salt, mock.as_bytes()));
    }
}
