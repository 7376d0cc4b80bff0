//! Which of several servers a connection goes to.

use std::sync::Arc;

use tokio::time::Instant;

use super::connection::Connection;
use super::error::UpstreamError;
use super::introduction::Introduction;
use super::target::{ConnectOptions, Target};
use crate::config::{Host, TargetSessionAttrs};
use crate::hosts::fits;

/// Connects to the server, or to the one of several that others have settled on; where none has, it
/// chooses by itself.
pub(super) async fn open(
    target: &Target,
    options: &ConnectOptions,
    introduction: Option<&Arc<dyn Introduction>>,
) -> Result<Connection, UpstreamError> {
    if target.hosts.is_plain() {
        return Connection::connect(target, options).await;
    }
    let place = match introduction {
        Some(introduction) => introduction.place(target).await,
        None => None,
    };
    let displaced = async {
        match (introduction, &place) {
            (Some(introduction), Some(_)) => introduction.displaced(target).await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        connection = Connection::search(target, options, place.as_ref()) => connection,
        // It may be one that does not answer: no use in waiting for it any longer.
        () = displaced => Err(UpstreamError::Unproven("the guard was lost meanwhile".into())),
    }
}

impl Connection {
    /// Connects to `place` if there is one, else to the first of the target's servers that is what is
    /// wanted. `options.timeout` counts for each server. As in libpq the search ends with a server that
    /// refuses the login, save one that refuses everybody at present.
    ///
    /// # Errors
    /// As [`Connection::connect`], of the last server; [`UpstreamError::NoneFits`] where one was
    /// reached and is not what is wanted.
    async fn search(
        target: &Target,
        options: &ConnectOptions,
        place: Option<&Host>,
    ) -> Result<Self, UpstreamError> {
        if let Some(place) = place {
            return Self::connect(&target.at(place), options).await;
        }
        let mut failure = UpstreamError::NoneFits(target.hosts.wanted());
        let mut reached = false;
        for (host, wanted) in target.hosts.candidates() {
            match Self::connect(&target.at(&host), options).await {
                Ok(mut connection) => match connection.is_wanted(wanted, options).await {
                    Ok(true) => {
                        target.hosts.remember(&host);
                        return Ok(connection);
                    }
                    Ok(false) => reached = true,
                    Err(error) => failure = error,
                },
                Err(error) if !error.may_pass() => return Err(error),
                Err(error) => failure = error,
            }
        }
        match reached {
            true => Err(UpstreamError::NoneFits(target.hosts.wanted())),
            false => Err(failure),
        }
    }

    async fn is_wanted(
        &mut self,
        wanted: TargetSessionAttrs,
        options: &ConnectOptions,
    ) -> Result<bool, UpstreamError> {
        if wanted == TargetSessionAttrs::Any {
            return Ok(true);
        }
        let reported = |name: &str| self.parameters.get(name).map(|value| value == "on");
        let told = (
            reported("in_hot_standby"),
            reported("default_transaction_read_only"),
        );
        let (in_recovery, read_only) = match told {
            (Some(in_recovery), Some(read_only)) => (in_recovery, read_only),
            // Servers before 14, and poolers, do not tell.
            _ if is_physical(options) => self.asked_of_a_walsender(wanted, options).await?,
            _ => {
                let deadline = Instant::now() + options.timeout;
                let rows = self
                    .simple(
                        "SELECT pg_catalog.pg_is_in_recovery(); SHOW transaction_read_only",
                        deadline,
                    )
                    .await?;
                let said = |at: usize, yes: &str| {
                    let value: Option<&Option<String>> = rows.get(at).and_then(|row| row.first());
                    value.and_then(|value| value.as_deref()) == Some(yes)
                };
                (said(0, "t"), said(1, "on"))
            }
        };
        Ok(fits(wanted, in_recovery, read_only))
    }

    /// Whether the server is in recovery, and whether it is read-only, in the only words of SQL that a
    /// physical walsender knows. Both are told of one that may also be a primary set read-only, where
    /// that makes no difference to `wanted`.
    async fn asked_of_a_walsender(
        &mut self,
        wanted: TargetSessionAttrs,
        options: &ConnectOptions,
    ) -> Result<(bool, bool), UpstreamError> {
        let deadline = Instant::now() + options.timeout;
        let mut shown = [false; 2];
        let names = ["transaction_read_only", "default_transaction_read_only"];
        for (is_on, name) in shown.iter_mut().zip(names) {
            let rows = self.simple(&format!("SHOW {name}"), deadline).await?;
            let value = rows.first().and_then(|row| row.first());
            *is_on = value.and_then(|value| value.as_deref()) == Some("on");
        }
        let [read_only, by_default] = shown;
        let recovery_counts = matches!(
            wanted,
            TargetSessionAttrs::Primary | TargetSessionAttrs::Standby
        );
        if read_only && by_default && recovery_counts {
            return Err(UpstreamError::Unjudged);
        }
        Ok((read_only, read_only))
    }
}

/// Whether the connection is to be one of physical replication.
fn is_physical(options: &ConnectOptions) -> bool {
    let mut parameters = options.parameters.iter();
    parameters.any(|(name, value)| name == "replication" && value == "true")
}
