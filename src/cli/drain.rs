//! `drain`: POST /drain of the local process until it says that it is done, at once or when its clients have left.
//!
//! The request may be repeated: 202 is "under way", 200 is "drained". A process that no longer listens after it took
//! the request has drained and left.

use std::time::{Duration, Instant};

use super::Failure;
use super::http::{HttpError, Local};
use crate::config::{Secret, Source};

/// Between two questions; a drain takes seconds.
const PAUSE: Duration = Duration::from_millis(200);

/// Without clients for this long, the application is taken to have ended: one that connects for each request is
/// without any now and then.
const QUIET: Duration = Duration::from_secs(3);
/// How long one question for the clients may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(
    source: &Source,
    timeout: Option<Duration>,
    wait_for_clients: bool,
) -> Result<(), Failure> {
    let (http, drain_timeout) = source.load_http()?;
    let local = Local::new(&http)?;
    let Some(path) = &http.admin_token_file else {
        return Err("http.admin_token_file is not set: draining needs its token".into());
    };
    let token = Secret::read_file(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if wait_for_clients && clients_left(&local)? == Left::Process {
        return super::print("drained\n");
    }
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

#[derive(PartialEq, Eq)]
enum Left {
    Clients,
    /// The process ended meanwhile, and its clients with it.
    Process,
}

/// Waits, for as long as it takes, until no client was connected for [`QUIET`].
fn clients_left(local: &Local) -> Result<Left, Failure> {
    let mut answered = false;
    let mut quiet_since = None;
    loop {
        match local.ask("GET", "/metrics", None, QUESTION_TIMEOUT) {
            Ok(answer) => {
                let clients = connected_clients(&answer.body)
                    .ok_or_else(|| format!("HTTP {} without pgditto_clients", answer.status))?;
                answered = true;
                if clients > 0.0 {
                    quiet_since = None;
                } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                    return Ok(Left::Clients);
                }
            }
            Err(HttpError::Refused(_) | HttpError::Io { .. } | HttpError::NotHttp(_))
                if answered =>
            {
                return Ok(Left::Process);
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(PAUSE);
    }
}

/// The sum of `pgditto_clients` over its states.
fn connected_clients(metrics: &str) -> Option<f64> {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("pgditto_clients{"))
        .map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
        .reduce(|sum, clients| Some(sum? + clients?))?
}

#[cfg(test)]
mod tests {
    use super::connected_clients;

    #[test]
    fn clients_of_all_states_are_counted() {
        let metrics = "# TYPE pgditto_clients gauge\n\
                       pgditto_clients{state=\"active\"} 2\n\
                       pgditto_clients{state=\"idle\"} 3\n\
                       pgditto_clients_limit 5000\n";
        assert_eq!(connected_clients(metrics), Some(5.0));
        assert_eq!(
            connected_clients("pgditto_clients{state=\"idle\"} many\n"),
            None
        );
        assert_eq!(connected_clients("pgditto_clients_limit 5000\n"), None);
    }
}
