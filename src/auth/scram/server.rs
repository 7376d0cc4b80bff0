//! The server's side: a client proves that it knows a password.

use subtle::ConstantTimeEq;

use super::channel::{Channel, TLS_SERVER_END_POINT};
use super::keys::{ClientKeys, KEY_LEN, ScramKeys, hmac_sha256, sha256, xor};
use super::message::{attribute, base64, extensions, key, nonce, text};
use crate::auth::error::AuthError;
use crate::auth::random::random_bytes;

/// Bytes of randomness in our half of the nonce.
const NONCE_LEN: usize = 18;

/// One exchange. Prints nothing of it.
pub struct ScramServer {
    keys: ScramKeys,
    user_known: bool,
    channel: Channel,
    /// What the client's proof has shown, once it was right.
    client_key: Option<[u8; KEY_LEN]>,
    state: State,
}

enum State {
    Start,
    Challenged {
        /// What the client must give back as `c`.
        binding: Binding,
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
        Self::over(Channel::Unbound, keys, user_known)
    }

    /// As [`ScramServer::new`], over TLS that could be bound ([`Channel::Declined`]) or is to be.
    pub fn over(channel: Channel, keys: ScramKeys, user_known: bool) -> Self {
        Self {
            keys,
            user_known,
            channel,
            client_key: None,
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
        let (binding, bare) = self.without_header(text(client_first)?)?;
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
        if attribute(&mut rest, 'c')? != binding.expected {
            return Err(binding.mismatch);
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

    /// After [`ScramServer::last`] has let the client in: what logs in as it where the same
    /// verifier is kept.
    pub fn client_keys(&self) -> Option<ClientKeys> {
        self.client_key.map(|client_key| ClientKeys {
            verifier: self.keys.clone(),
            client_key,
        })
    }

    fn verify(&mut self, proof: &[u8; KEY_LEN], transcript: &[u8]) -> Result<Vec<u8>, AuthError> {
        let signature = hmac_sha256(&self.keys.stored_key, transcript);
        let client_key = xor(proof, &signature);
        let matches: bool = sha256(&client_key).ct_eq(&self.keys.stored_key).into();
        if !(matches && self.user_known) {
            return Err(AuthError::Failed);
        }
        self.client_key = Some(client_key);
        let signature = hmac_sha256(&self.keys.server_key, transcript);
        Ok(format!("v={}", base64(&signature)).into_bytes())
    }
}

impl std::fmt::Debug for ScramServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramServer(***)")
    }
}

/// What the client must give back as `c`, and what it is told if it does not.
struct Binding {
    expected: String,
    mismatch: AuthError,
}

impl ScramServer {
    /// Takes the header off client-first, checked as PostgreSQL checks it; gives what `c` must be
    /// later, and the rest.
    fn without_header<'a>(&self, message: &'a str) -> Result<(Binding, &'a str), AuthError> {
        let is_bound = matches!(self.channel, Channel::Bound(_));
        let echoed = |header: &str| Binding {
            expected: base64(header.as_bytes()),
            mismatch: AuthError::Malformed(
                "Unexpected channel-binding attribute in client-final-message.",
            ),
        };
        let (binding, rest) = match message.as_bytes() {
            [b'n' | b'y', ..] if is_bound => {
                return Err(AuthError::Malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            // Somebody in between took the mechanism off our list, or the client is confused.
            [b'y', ..] if matches!(self.channel, Channel::Declined) => {
                return Err(AuthError::Downgraded);
            }
            // The client does not know channel binding.
            [b'n', b',', ..] => (echoed("n,,"), &message[2..]),
            // It does, and rightly thinks that we do not.
            [b'y', b',', ..] => (echoed("y,,"), &message[2..]),
            [b'n' | b'y', ..] => {
                return Err(AuthError::Malformed(
                    "Comma expected after the channel-binding flag.",
                ));
            }
            [b'p', ..] => self.bound(message)?,
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

    fn bound<'a>(&self, message: &'a str) -> Result<(Binding, &'a str), AuthError> {
        let Channel::Bound(hash) = &self.channel else {
            return Err(AuthError::Malformed(
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
            ));
        };
        let mut rest = message;
        if attribute(&mut rest, 'p')? != TLS_SERVER_END_POINT {
            return Err(AuthError::BindingType);
        }
        let mut expected = self.channel.header().into_bytes();
        expected.extend_from_slice(hash);
        let binding = Binding {
            expected: base64(&expected),
            mismatch: AuthError::BindingMismatch,
        };
        Ok((binding, rest))
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
