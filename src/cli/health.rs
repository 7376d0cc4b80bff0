//! `healthcheck`: GET /readyz of the local process.

use std::time::Duration;

use super::Failure;
use super::http::Local;
use crate::config::Source;

pub(super) fn run(source: &Source, timeout: Duration) -> Result<(), Failure> {
    let (http, _) = source.load_http()?;
    let answer = Local::new(&http)?.ask("GET", "/readyz", None, timeout)?;
    match answer.status {
        200 => super::print("ready\n"),
        status if answer.body.is_empty() => Err(format!("not ready (HTTP {status})").into()),
        _ => Err(format!("not ready: {}", answer.body).into()),
    }
}
