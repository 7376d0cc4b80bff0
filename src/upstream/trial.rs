//! Trying a password: a login of the very user, of which nothing stays but what logs in again.

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::brake::Braked;
use super::connection::Connection;
use super::error::UpstreamError;
use super::pools::Pools;
use super::target::{ConnectOptions, Target};
use super::{login, pools::PoolsError};
use crate::auth::LoginSecret;
use crate::config::Secret;
use crate::wire::{ErrorReport, SqlState};

/// Passwords that are tried at once, over all users: each costs the server a process.
pub(super) const TRIALS_MAX: usize = 16;

/// What a server asked for at a login that it granted.
pub(super) enum Shown {
    /// Nothing: it trusts whoever comes from here.
    Nothing,
    /// The password itself.
    Password,
    /// A proof of it, which can be given again with this.
    Secret(LoginSecret),
}

/// Why a password was not found to be right.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrialError {
    /// The server has refused it: 28P01.
    #[error("wrong password")]
    Wrong,
    /// Too many were wrong lately: 28000.
    #[error(
        "too many failed logins of user \"{user}\" at the server; it is asked again in {wait:?}"
    )]
    TooMany {
        user: String,
        wait: std::time::Duration,
    },
    /// The server would let anybody in who says to be this user: 28000.
    #[error(
        "the server asks no password of user \"{0}\" and so cannot say whether this one is right"
    )]
    NotAsked(String),
    /// What the server wants to see again would have to be stored in clear: 28000.
    #[error("the server asks for passwords in clear, which are not kept")]
    Cleartext,
    #[error(transparent)]
    Pools(#[from] PoolsError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl TrialError {
    /// What the client is told; `None` for a wrong password.
    pub fn report(&self) -> Option<ErrorReport> {
        let refused =
            |message: String| ErrorReport::fatal(SqlState::INVALID_AUTHORIZATION, message);
        Some(match self {
            Self::Wrong => return None,
            Self::TooMany { user, .. } => {
                refused(format!("too many failed logins of user \"{user}\""))
                    .with_hint("Wait before you try again.")
            }
            Self::NotAsked(_) | Self::Cleartext => refused(self.to_string()),
            Self::Pools(error) => error.report(),
            Self::Upstream(error) => error.report(),
        })
    }
}

impl Pools {
    /// Logs `user` in at the server of `database` with `password`, and out again; gives what logs
    /// it in from now on. A password that was right before and is refused takes with it what is
    /// remembered of the user, and its idle connections. Bounded by `server_connect_timeout` once
    /// its turn has come.
    ///
    /// # Errors
    /// See [`TrialError`]. Only [`TrialError::Wrong`] says that the password is.
    pub async fn try_password(
        &self,
        database: &str,
        user: &str,
        password: &Secret,
    ) -> Result<LoginSecret, TrialError> {
        let (mut target, options) = self.route(database, user)?;
        // Who knows what was right a while ago cannot be kept out by others' guesses, and is
        // refused once at most: then it is remembered no longer.
        let known = target.learned.take().or_else(|| self.shown(&target));
        let was_right = match known {
            Some(known) => is_of(known, user, password).await,
            None => false,
        };
        let guess = match was_right {
            true => None,
            false => {
                let guess = self.guesses().guess(&target, Instant::now());
                Some(guess.map_err(|Braked { wait, .. }| TrialError::TooMany {
                    user: user.to_owned(),
                    wait,
                })?)
            }
        };
        target.password = Some(password.clone());
        let tried = {
            let _turn = self.trials().acquire().await;
            log_in(&target, &options).await
        };
        let shown = match tried {
            Ok((_connection, shown)) => {
                if let Some(guess) = guess {
                    guess.was_right();
                }
                shown
            }
            Err(error) if error.is_refusal() => {
                if let Some(guess) = guess {
                    guess.was_wrong();
                }
                if was_right {
                    self.disown(database, user, &error);
                }
                return Err(match error.sqlstate() {
                    SqlState::INVALID_PASSWORD => TrialError::Wrong,
                    _ => error.into(),
                });
            }
            Err(error) => {
                if let Some(guess) = guess {
                    guess.was_not_judged();
                }
                return Err(error.into());
            }
        };
        match shown {
            Shown::Secret(secret) => Ok(secret),
            Shown::Password => Err(TrialError::Cleartext),
            Shown::Nothing => Err(TrialError::NotAsked(user.to_owned())),
        }
    }
}

/// Logs in at the first of the target's servers that answers: all of them know the same users.
async fn log_in(
    target: &Target,
    options: &ConnectOptions,
) -> Result<(Connection, Shown), UpstreamError> {
    let mut failure = UpstreamError::NoneFits(target.hosts.wanted());
    for (host, _) in target.hosts.candidates() {
        match login::log_in(&target.at(&host), options).await {
            Err(error) if error.may_pass() => failure = error,
            result => return result,
        }
    }
    Err(failure)
}

/// [`LoginSecret::is_of`], which may take milliseconds, beside the runtime's workers.
async fn is_of(secret: LoginSecret, user: &str, password: &Secret) -> bool {
    let (user, password) = (
        user.to_owned(),
        Zeroizing::new(password.reveal().to_owned()),
    );
    let compared = tokio::task::spawn_blocking(move || secret.is_of(&user, &password));
    compared.await.unwrap_or(false)
}
