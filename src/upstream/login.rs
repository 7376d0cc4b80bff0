//! From a target to a connection that is ready for a query.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::connection::Connection;
use super::error::UpstreamError;
use super::prepared::PreparedSet;
use super::stream::{Encryption, Stream};
use super::target::{ConnectOptions, Target};
use super::trial::Shown;
use crate::auth::{
    AuthError, Channel, LoginSecret, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramClient,
};
use crate::config::SslMode;
use crate::wire::backend::Authentication;
use crate::wire::{SqlState, backend, frontend, tag};

/// The longest message that a server may send before the first ReadyForQuery.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// How many it may send: a login has about twenty.
const FRAMES_MAX: usize = 1000;

impl Connection {
    /// Connects and logs in, up to the first ReadyForQuery.
    ///
    /// TLS is asked for as `sslmode` says; `allow` and `prefer` try the other
    /// way if the server refuses the first with 28000, as its pg_hba.conf may
    /// admit only one of them; `prefer` also if the handshake fails.
    ///
    /// # Errors
    /// Every failure, the server's own refusal as [`UpstreamError::Refused`];
    /// [`UpstreamError::ConnectTimeout`] after `options.timeout`.
    pub async fn connect(target: &Target, options: &ConnectOptions) -> Result<Self, UpstreamError> {
        let logged_in = log_in(target, options).await;
        logged_in.map(|(connection, _shown)| connection)
    }
}

/// [`Connection::connect`], and what the server asked for.
pub(super) async fn log_in(
    target: &Target,
    options: &ConnectOptions,
) -> Result<(Connection, Shown), UpstreamError> {
    let target = Arc::new(target.clone());
    let attempts = attempts(&target);
    let login = async {
        let mut attempts = attempts.iter().peekable();
        loop {
            // Every mode has at least one attempt.
            let encryption = *attempts.next().unwrap_or(&Encryption::Plain);
            let result = attempt(&target, options, encryption).await;
            match result {
                Err(error) if attempts.peek().is_some() && asks_otherwise(&error) => {}
                result => return result,
            }
        }
    };
    timeout(options.timeout, login)
        .await
        .unwrap_or(Err(UpstreamError::ConnectTimeout(options.timeout)))
}

fn attempts(target: &Target) -> &'static [Encryption] {
    if target.is_unix() {
        return &[Encryption::Plain];
    }
    match (target.sslmode, target.tls.is_some()) {
        (SslMode::Disable, _) | (SslMode::Allow | SslMode::Prefer, false) => &[Encryption::Plain],
        (SslMode::Allow, true) => &[Encryption::Plain, Encryption::Required],
        (SslMode::Prefer, true) => &[Encryption::IfOffered, Encryption::Plain],
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) => &[Encryption::Required],
    }
}

/// Whether the other way may be open, where there is one.
fn asks_otherwise(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Refused { sqlstate, .. } => *sqlstate == SqlState::INVALID_AUTHORIZATION,
        UpstreamError::Tls { .. } => true,
        _ => false,
    }
}

async fn attempt(
    target: &Arc<Target>,
    options: &ConnectOptions,
    encryption: Encryption,
) -> Result<(Connection, Shown), UpstreamError> {
    let stream = Stream::open(target, encryption).await?;
    let prepared = PreparedSet::new(options.prepared_statements_max);
    let mut connection = Connection::new(stream, Arc::clone(target), prepared);
    let mut output = BytesMut::with_capacity(256);
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", target.dbname.as_str()),
    ];
    parameters.extend(
        options
            .parameters
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str())),
    );
    if parameters
        .iter()
        .any(|(name, value)| name.contains('\0') || value.contains('\0'))
    {
        return Err(UpstreamError::Protocol("a zero byte in a login".into()));
    }
    frontend::startup(&mut output, 0, &parameters);
    connection.write(&output).await?;

    let mut exchange = Exchange::new(target, connection.stream.end_point());
    for _ in 0..FRAMES_MAX {
        let frame = connection.next_frame(FRAME_BYTES_MAX).await?;
        match frame.tag() {
            tag::backend::ERROR => {
                connection.break_it();
                return Err(UpstreamError::refused(frame));
            }
            tag::backend::NOTICE | tag::backend::NEGOTIATE_PROTOCOL_VERSION => {}
            tag::backend::AUTHENTICATION => {
                output.clear();
                let request = Authentication::read(frame.body())?;
                exchange.answer(&request, &mut output).await?;
                if !output.is_empty() {
                    connection.write(&output).await?;
                }
            }
            // Nothing that follows the authentication may come before it.
            tag::backend::PARAMETER_STATUS if exchange.is_over() => {
                // Text in another encoding is nothing that a login depends on.
                match connection.note_parameter(frame.body()) {
                    Err(UpstreamError::Encoding) => {}
                    noted => noted?,
                }
            }
            tag::backend::BACKEND_KEY_DATA if exchange.is_over() => {
                let (pid, key) = backend::backend_key(frame.body())?;
                connection.pid = pid;
                connection.key = Bytes::copy_from_slice(key);
            }
            tag::backend::READY_FOR_QUERY if exchange.is_over() => {
                connection.status = backend::ready_status(frame.body())?;
                return Ok((connection, exchange.shown));
            }
            other => {
                return Err(UpstreamError::Protocol(format!(
                    "message {:?} during the login",
                    char::from(other)
                )));
            }
        }
    }
    Err(UpstreamError::Protocol("a login without end".into()))
}

/// The client's side of the authentication.
struct Exchange<'a> {
    target: &'a Target,
    /// The hash of the certificate that the server showed.
    end_point: Option<Arc<[u8]>>,
    stage: Stage,
    shown: Shown,
}

enum Stage {
    /// Nothing was asked for yet.
    Begun,
    /// The password was sent, in some form.
    Answered,
    ScramFirst(ScramClient),
    ScramFinal(ScramClient),
    /// The server has proved that it knows the password.
    ScramProved,
    Over,
}

impl<'a> Exchange<'a> {
    fn new(target: &'a Target, end_point: Option<Arc<[u8]>>) -> Self {
        Self {
            target,
            end_point,
            stage: Stage::Begun,
            shown: Shown::Nothing,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Appends the answer to one request to `output`, if it wants one.
    ///
    /// A request out of order is refused: above all AuthenticationOk in the
    /// middle of SCRAM, by which a server that does not know the password
    /// would pass for one that does.
    async fn answer(
        &mut self,
        request: &Authentication<'_>,
        output: &mut BytesMut,
    ) -> Result<(), UpstreamError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Answered);
        self.stage = match (stage, request) {
            (Stage::Begun | Stage::Answered | Stage::ScramProved, Authentication::Ok) => {
                Stage::Over
            }
            (Stage::Begun, Authentication::Cleartext) => {
                let secret = self.secret()?;
                let password = secret.password().ok_or_else(|| self.no_password())?;
                frontend::password(output, password.reveal().as_bytes());
                self.shown = Shown::Password;
                Stage::Answered
            }
            (Stage::Begun, Authentication::Md5(salt)) => {
                let (secret, user) = (self.secret()?, &self.target.user);
                let response = secret.md5_response(user, *salt);
                let response = response.ok_or_else(|| self.no_password())?;
                frontend::password(output, response.as_bytes());
                self.shown = Shown::Secret(match secret {
                    LoginSecret::Password(password) => LoginSecret::md5(user, password.reveal()),
                    known => known,
                });
                Stage::Answered
            }
            (Stage::Begun, Authentication::Sasl(mechanisms)) => {
                let (mechanism, channel) = self.mechanism(mechanisms)?;
                let (client, first) = match self.secret()? {
                    LoginSecret::Password(password) => {
                        ScramClient::over(channel, password.reveal())
                    }
                    LoginSecret::Scram(keys) => ScramClient::with_keys(channel, keys),
                    LoginSecret::Md5(_) => return Err(self.no_password()),
                };
                frontend::sasl_initial(output, mechanism, &first);
                Stage::ScramFirst(client)
            }
            (Stage::ScramFirst(mut client), Authentication::SaslContinue(data)) => {
                let challenge = data.to_vec();
                // The server names the work: as much as keeps a thread busy for a second.
                let responding = tokio::task::spawn_blocking(move || {
                    let response = client.respond(&challenge);
                    (client, response)
                });
                let (responded, response) = responding.await.map_err(unproved)?;
                client = responded;
                let response = response.map_err(|error| self.unproved(&error))?;
                frontend::sasl_response(output, &response);
                Stage::ScramFinal(client)
            }
            (Stage::ScramFinal(mut client), Authentication::SaslFinal(data)) => {
                client.finish(data).map_err(|error| self.unproved(&error))?;
                if let Some(keys) = client.into_keys() {
                    self.shown = Shown::Secret(LoginSecret::Scram(Arc::new(keys)));
                }
                Stage::ScramProved
            }
            (_, Authentication::Other(method)) => {
                return Err(unsupported(&format!("method {method} is not supported")));
            }
            _ => return Err(unsupported("a request out of order")),
        };
        Ok(())
    }

    /// The mechanism to use, as libpq chooses it with `channel_binding=prefer`.
    fn mechanism(&self, offered: &[&[u8]]) -> Result<(&'static str, Channel), UpstreamError> {
        let offers = |mechanism: &str| offered.contains(&mechanism.as_bytes());
        match &self.end_point {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
                Ok((SCRAM_SHA_256_PLUS, Channel::Bound(Arc::clone(hash))))
            }
            Some(_) if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, Channel::Declined)),
            None if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, Channel::Unbound)),
            _ => Err(unsupported("no SASL mechanism in common")),
        }
    }

    fn secret(&self) -> Result<LoginSecret, UpstreamError> {
        self.target.secret().ok_or_else(|| self.no_password())
    }

    fn unproved(&self, error: &AuthError) -> UpstreamError {
        match error {
            AuthError::OtherVerifier => UpstreamError::OtherSecret {
                user: self.target.user.clone(),
            },
            error => unproved(error),
        }
    }

    fn no_password(&self) -> UpstreamError {
        UpstreamError::NoPassword {
            user: self.target.user.clone(),
        }
    }
}

fn unsupported(what: &str) -> UpstreamError {
    UpstreamError::Authentication(what.to_owned())
}

fn unproved(error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Authentication(error.to_string())
}
