//! The server's side: a client proves that it knows a password.

use subtle::ConstantTimeEq;

use super::keys::{KEY_LEN, ScramKeys, hmac_sha256, sha256, xor};
use super::message::{attribute, base64, extensions, key, nonce, text};
use crate::auth::error::AuthError;
use crate::auth::random::random_bytes;

/// Bytes of randomness in our half of the nonce.
const NONCE_LEN: usize = 18;

/// One exchange. Prints nothing of it.
pub struct ScramServer {
    keys: ScramKeys,
    user_known: bool,
    state: State,
}

enum State {
    Start,
    Challenged {
        /// What the client must give back as `c`: its header, in base64.
        binding: &'static str,
        nonce: String,
        /// client-first-bare, a comma, server-first, a comma.
        transcript: String,
    },
    Done,
}

impl ScramServer {
    /// With `user_known = false` the exchange takes its course and fails at the
    /// end; its keys come from [`super::MockSecret::keys`].
    pub fn new(keys: ScramKeys, user_known: bool) -> Self {
        Self {
            keys,
            user_known,
            state: State::Start,
        }
    }

    /// Takes client-first, gives server-first.
    ///
    /// # Errors
    /// A message that is not one, or asks for what is not done here; no random bytes.
    pub fn first(&mut self, client_first: &[u8]) -> Result<Vec<u8>, AuthError> {
        self.first_with_nonce(client_first, &base64(&random_bytes::<NONCE_LEN>()?))
    }

    pub(super) fn first_with_nonce(
        &mut self,
        client_first: &[u8],
        server_nonce: &str,
    ) -> Result<Vec<u8>, AuthError> {
        if !matches!(self.state, State::Start) {
            return Err(AuthError::Response("The exchange has begun already."));
        }
        self.state = State::Done;
        let (binding, bare) = without_header(text(client_first)?)?;
        let client_nonce = client_nonce(bare)?;
        let nonce = format!("{client_nonce}{server_nonce}");
        let server_first = format!(
            "r={nonce},s={},i={}",
            base64(&self.keys.salt),
            self.keys.iterations
        );
        self.state = State::Challenged {
            binding,
            nonce,
            transcript: format!("{bare},{server_first},"),
        };
        Ok(server_first.into_bytes())
    }

    /// Takes client-final, gives server-final: the client has proven itself.
    ///
    /// # Errors
    /// [`AuthError::Failed`] for a wrong proof and for every unknown user, others
    /// for a message that does not continue this exchange.
    pub fn last(&mut self, client_final: &[u8]) -> Result<Vec<u8>, AuthError> {
        let State::Challenged {
            binding,
            nonce,
            mut transcript,
        } = std::mem::replace(&mut self.state, State::Done)
        else {
            return Err(AuthError::Response("The exchange has not begun."));
        };
        let message = text(client_final)?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or(AuthError::Malformed("The proof is missing."))?;
        let mut rest = without_proof;
        if attribute(&mut rest, 'c')? != binding {
            return Err(AuthError::Malformed(
                "Unexpected channel-binding attribute in client-final-message.",
            ));
        }
        if attribute(&mut rest, 'r')? != nonce {
            return Err(AuthError::Response("Nonce does not match."));
        }
        extensions(rest)?;
        let proof = key(proof).ok_or(AuthError::Malformed(
            "Malformed proof in client-final-message.",
        ))?;
        transcript.push_str(without_proof);
        self.verify(&proof, transcript.as_bytes())
    }

    fn verify(&self, proof: &[u8; KEY_LEN], transcript: &[u8]) -> Result<Vec<u8>, AuthError> {
        let signature = hmac_sha256(&self.keys.stored_key, transcript);
        let client_key = xor(proof, &signature);
        let matches: bool = sha256(&client_key).ct_eq(&self.keys.stored_key).into();
        if !(matches && self.user_known) {
            return Err(AuthError::Failed);
        }
        let signature = hmac_sha256(&self.keys.server_key, transcript);
        Ok(format!("v={}", base64(&signature)).into_bytes())
    }
}

impl std::fmt::Debug for ScramServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramServer(***)")
    }
}

/// Takes the header off client-first: what `c` must be later, and the rest.
fn without_header(message: &str) -> Result<(&'static str, &str), AuthError> {
    let (binding, rest) = match message.as_bytes() {
        // The client does not know channel binding.
        [b'n', b',', ..] => ("biws", &message[2..]),
        // It does, and rightly thinks that we do not.
        [b'y', b',', ..] => ("eSws", &message[2..]),
        [b'p', ..] => {
            return Err(AuthError::Unsupported(
                "client requires SCRAM channel binding, but it is not supported",
            ));
        }
        _ => {
            return Err(AuthError::Malformed(
                "Unexpected channel-binding flag in client-first-message.",
            ));
        }
    };
    match rest.strip_prefix(',') {
        Some(bare) => Ok((binding, bare)),
        None if rest.starts_with('a') => Err(AuthError::Unsupported(
            "client uses authorization identity, but it is not supported",
        )),
        None => Err(AuthError::Malformed(
            "Unexpected attribute in client-first-message.",
        )),
    }
}

/// The nonce of client-first-bare. The user's name is ignored: the startup
/// packet has it.
fn client_nonce(bare: &str) -> Result<&str, AuthError> {
    if bare.starts_with("m=") {
        return Err(AuthError::Unsupported(
            "client requires an unsupported SCRAM extension",
        ));
    }
    let mut rest = bare;
    attribute(&mut rest, 'n')?;
    let value = nonce(attribute(&mut rest, 'r')?)?;
    extensions(rest)?;
    Ok(value)
}
