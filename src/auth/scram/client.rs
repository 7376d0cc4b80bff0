//! The client's side: we prove a password to PostgreSQL, and PostgreSQL proves
//! to us that it knows it.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::ITERATIONS_MAX;
use super::channel::Channel;
use super::keys::{
    ClientKeys, KEY_LEN, ScramKeys, client_key, hmac_sha256, salted_password, server_key, sha256,
    xor,
};
use super::message::{attribute, base64, extensions, key, nonce, text};
use crate::auth::error::AuthError;
use crate::auth::random::random_bytes;
use crate::config::Secret;

/// Bytes of randomness in our half of the nonce.
const NONCE_LEN: usize = 18;

/// The longest word of a server's refusal that is kept for the log.
const REFUSAL_LEN_MAX: usize = 64;

/// One exchange. Prints nothing of it.
pub struct ScramClient {
    secret: Known,
    channel: Channel,
    state: State,
    /// What the exchange has shown, once the server has proven itself.
    shown: Option<ClientKeys>,
}

/// What we know, and prove that we do.
enum Known {
    Password(Secret),
    Keys(Arc<ClientKeys>),
}

enum State {
    /// The system had no random bytes; the exchange fails at its next step.
    Unseeded,
    Started {
        nonce: String,
    },
    Proven {
        server_signature: [u8; KEY_LEN],
        keys: ClientKeys,
    },
    Done,
}

impl ScramClient {
    /// Begins an exchange; the bytes are client-first, for SASLInitialResponse.
    pub fn new(password: &str) -> (Self, Vec<u8>) {
        Self::over(Channel::Unbound, password)
    }

    /// As [`ScramClient::new`], over TLS that can be bound: [`Channel::Bound`] is for
    /// SCRAM-SHA-256-PLUS, [`Channel::Declined`] for a server that does not offer it.
    pub fn over(channel: Channel, password: &str) -> (Self, Vec<u8>) {
        Self::begin(channel, Known::Password(Secret::new(password)))
    }

    /// As [`ScramClient::over`], with what a client's own login has shown instead of its password.
    pub fn with_keys(channel: Channel, keys: Arc<ClientKeys>) -> (Self, Vec<u8>) {
        Self::begin(channel, Known::Keys(keys))
    }

    fn begin(channel: Channel, secret: Known) -> (Self, Vec<u8>) {
        match random_bytes::<NONCE_LEN>() {
            Ok(bytes) => Self::started(channel, secret, base64(&bytes)),
            Err(_) => {
                let client = Self {
                    secret,
                    channel,
                    state: State::Unseeded,
                    shown: None,
                };
                (client, Vec::new())
            }
        }
    }

    #[cfg(test)]
    pub(super) fn with_nonce(channel: Channel, password: &str, nonce: String) -> (Self, Vec<u8>) {
        Self::started(channel, Known::Password(Secret::new(password)), nonce)
    }

    fn started(channel: Channel, secret: Known, nonce: String) -> (Self, Vec<u8>) {
        // PostgreSQL takes the user from the startup packet and ignores this one.
        let first = format!("{}n=,r={nonce}", channel.header()).into_bytes();
        let client = Self {
            secret,
            channel,
            state: State::Started { nonce },
            shown: None,
        };
        (client, first)
    }

    /// The keys for this challenge.
    fn keys(&self, challenge: &Challenge<'_>) -> Result<ClientKeys, AuthError> {
        match &self.secret {
            Known::Password(password) => {
                let (salt, iterations) = (&challenge.salt, challenge.iterations);
                let salted = salted_password(password.reveal(), salt, iterations);
                let client_key = client_key(&*salted);
                let verifier = ScramKeys {
                    iterations,
                    salt: salt.clone(),
                    stored_key: sha256(&client_key),
                    server_key: server_key(&*salted),
                };
                Ok(ClientKeys {
                    verifier,
                    client_key,
                })
            }
            Known::Keys(keys) => {
                let verifier = &keys.verifier;
                let is_same =
                    verifier.salt == challenge.salt && verifier.iterations == challenge.iterations;
                match is_same {
                    true => Ok(ClientKeys::clone(keys)),
                    false => Err(AuthError::OtherVerifier),
                }
            }
        }
    }

    /// Takes server-first, gives client-final. Costs the iterations that the
    /// server asks for: a few milliseconds at PostgreSQL's default.
    ///
    /// # Errors
    /// A message that is not one or does not continue this exchange; more than
    /// a million iterations; no random bytes at the beginning.
    pub fn respond(&mut self, server_first: &[u8]) -> Result<Vec<u8>, AuthError> {
        let client_nonce = match std::mem::replace(&mut self.state, State::Done) {
            State::Started { nonce } => nonce,
            State::Unseeded => return Err(AuthError::Random),
            State::Proven { .. } | State::Done => {
                return Err(AuthError::Response("The exchange is over."));
            }
        };
        let server_first = text(server_first)?;
        let challenge = Challenge::read(server_first)?;
        let extended = challenge
            .nonce
            .strip_prefix(client_nonce.as_str())
            .is_some_and(|server_nonce| !server_nonce.is_empty());
        if !extended {
            return Err(AuthError::Response("Nonce does not match."));
        }
        let keys = self.keys(&challenge)?;
        let mut binding = self.channel.header().into_bytes();
        binding.extend_from_slice(self.channel.data());
        let without_proof = format!("c={},r={}", base64(&binding), challenge.nonce);
        let transcript = format!("n=,r={client_nonce},{server_first},{without_proof}");
        let signature = hmac_sha256(&keys.verifier.stored_key, transcript.as_bytes());
        let proof = base64(&xor(&keys.client_key, &signature));
        self.state = State::Proven {
            server_signature: hmac_sha256(&keys.verifier.server_key, transcript.as_bytes()),
            keys,
        };
        Ok(format!("{without_proof},p={proof}").into_bytes())
    }

    /// Takes server-final: the server has proven itself.
    ///
    /// # Errors
    /// The server refuses, or does not know the password.
    pub fn finish(&mut self, server_final: &[u8]) -> Result<(), AuthError> {
        let State::Proven {
            server_signature,
            keys,
        } = std::mem::replace(&mut self.state, State::Done)
        else {
            return Err(AuthError::Response("The exchange has not come to its end."));
        };
        let mut rest = text(server_final)?;
        if rest.starts_with("e=") {
            let word = attribute(&mut rest, 'e')?;
            let printable = word.chars().filter(char::is_ascii_graphic);
            return Err(AuthError::Refused(
                printable.take(REFUSAL_LEN_MAX).collect(),
            ));
        }
        let signature = key(attribute(&mut rest, 'v')?)
            .ok_or(AuthError::Malformed("Malformed server signature."))?;
        extensions(rest)?;
        if bool::from(signature.ct_eq(&server_signature)) {
            self.shown = Some(keys);
            Ok(())
        } else {
            Err(AuthError::ServerSignature)
        }
    }

    /// After [`ScramClient::finish`] has succeeded: what logs in from now on, as long as the server
    /// keeps the same verifier.
    pub fn into_keys(self) -> Option<ClientKeys> {
        self.shown
    }
}

impl std::fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramClient(***)")
    }
}

/// server-first.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn read(message: &'a str) -> Result<Self, AuthError> {
        let mut rest = message;
        if rest.starts_with("m=") {
            return Err(AuthError::Unsupported(
                "server requires an unsupported SCRAM extension",
            ));
        }
        let nonce = nonce(attribute(&mut rest, 'r')?)?;
        let salt = STANDARD
            .decode(attribute(&mut rest, 's')?)
            .ok()
            .filter(|salt| !salt.is_empty())
            .ok_or(AuthError::Malformed("Malformed salt."))?;
        let iterations = attribute(&mut rest, 'i')?;
        extensions(rest)?;
        let iterations = iterations
            .parse::<NonZeroU32>()
            .map_err(|_| AuthError::Malformed("Malformed iteration count."))?;
        if iterations.get() > ITERATIONS_MAX {
            return Err(AuthError::Iterations(iterations.get()));
        }
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}
