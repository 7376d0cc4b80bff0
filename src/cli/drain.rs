//! `drain`: POST /drain of the local process until it says that it is done.
//!
//! The request may be repeated: 202 is "under way", 200 is "drained". A process that no longer listens after it took
//! the request has drained and left.

use std::time::{Duration, Instant};

use super::Failure;
use super::http::{HttpError, Local};
use crate::config::{Secret, Source};

/// Between two questions; a drain takes seconds.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(source: &Source, timeout: Option<Duration>) -> Result<(), Failure> {
    let (http, drain_timeout) = source.load_http()?;
    let local = Local::new(&http)?;
    let Some(path) = &http.admin_token_file else {
        return Err("http.admin_token_file is not set: draining needs its token".into());
    };
    let token = Secret::read_file(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let timeout = timeout.unwrap_or(drain_timeout + Duration::from_secs(10));
    let deadline = Instant::now() + timeout;
    let mut under_way = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match local.ask("POST", "/drain", Some(token.reveal()), left) {
            Ok(answer) if answer.status == 200 => return super::print("drained\n"),
            Ok(answer) if answer.status == 202 => under_way = true,
            Ok(answer) => {
                return Err(format!("refused (HTTP {}): {}", answer.status, answer.body).into());
            }
            Err(HttpError::Refused(_) | HttpError::Io { .. } | HttpError::NotHttp(_))
                if under_way =>
            {
                return super::print("drained\n");
            }
            Err(error) => return Err(error.into()),
        }
        if Instant::now() + PAUSE >= deadline {
            return Err("transactions are still open".into());
        }
        std::thread::sleep(PAUSE);
    }
}
