//! Asks the server for what a client was given from the cache: once, then once more. What it says both
//! times must be what the cache said, as long as the entry still may be served after the second answer.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until, timeout};

use super::Job;
use super::digest::Digest;
use super::off::Mismatch;
use crate::cache::{Flush, KeySecret, Moment};
use crate::metrics::Verification;
use crate::session::shared::Shared;
use crate::sql;
use crate::upstream::{Connection, Lease, Pumped, UpstreamError, Wish};
use crate::wire::tag::backend as tag;

/// What the largest row may be longer than an entry.
const FRAME_SLACK: usize = 64 << 10;
/// How long the server may take to heed a cancel.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);

/// Compares one hit with the server's answers; what comes of a mismatch is done.
pub(super) async fn run(shared: &Shared, job: &Job) -> Verification {
    if !still_served(shared, job) {
        return Verification::Outdated;
    }
    let wish = Wish {
        settings: job.settings.clone(),
        ..Wish::default()
    };
    let Some(mut lease) = job.pool.lease_spare(&wish) else {
        return Verification::Busy;
    };
    let reads = read_twice(shared, job, &mut lease).await;
    drop(lease);
    let (before, after) = match reads {
        Ok(reads) => reads,
        Err(result) => return result,
    };
    let order = job.check.order;
    let cached = Digest::of(&job.entry.answer.body, shared.cache.secret());
    // After the last read: a write that it saw has left its mark by now.
    if !still_served(shared, job) {
        Verification::Outdated
    } else if !before.same(&after, order) {
        Verification::Moved
    } else if cached.same(&after, order) {
        Verification::Match
    } else {
        convict(shared, job, &cached, &after);
        Verification::Mismatch
    }
}

/// By the same check as for a hit.
fn still_served(shared: &Shared, job: &Job) -> bool {
    let database = &job.database;
    database.authority.may_serve(Moment::now()).is_ok()
        && database.authority.may_fill(job.generation)
        && shared
            .cache
            .still_serves(&job.entry, &database.tags, &job.check.terms)
}

/// Two answers of the server, under the settings and the role of the session that was served. The lease is
/// clean afterwards if it may be.
async fn read_twice(
    shared: &Shared,
    job: &Job,
    lease: &mut Lease,
) -> Result<(Digest, Digest), Verification> {
    let deadline = Instant::now() + shared.config.load().cache.verify.timeout;
    let proof = job.database.authority.proof_now();
    if proof.is_none_or(|proof| lease.admission.generation != Some(proof.generation)) {
        return Err(Verification::NotRebuilt);
    }
    let brought = lease.bring(&job.settings, None, deadline).await;
    brought.map_err(|_| Verification::NotRebuilt)?;
    let before = read(shared, job, lease, deadline).await?;
    let after = read(shared, job, lease, deadline).await?;
    Ok((before, after))
}

/// One answer. Given up when a client waits for a connection.
async fn read(
    shared: &Shared,
    job: &Job,
    lease: &mut Lease,
    deadline: Instant,
) -> Result<Digest, Verification> {
    lease.dirty();
    let frame_len_max = shared.cache.entry_bytes_max() + FRAME_SLACK;
    let mut outgoing = BytesMut::from(&job.request[..]);
    let secret = shared.cache.secret();
    let given_up = tokio::select! {
        answer = exchange(lease, &mut outgoing, frame_len_max, secret) => {
            return match answer {
                Ok(Some(digest)) => {
                    lease.clean();
                    Ok(digest)
                }
                Ok(None) => {
                    lease.clean();
                    Err(Verification::Failed)
                }
                Err(_) => Err(Verification::Failed),
            };
        }
        () = job.pool.wanted() => Verification::Busy,
        () = sleep_until(deadline) => Verification::Failed,
    };
    // What was sent in part cannot be taken back: the connection is closed then.
    if outgoing.is_empty() {
        let cancel = lease.cancel_handle();
        let rest = exchange(lease, &mut outgoing, frame_len_max, secret);
        let rest = async { tokio::join!(cancel.cancel(), rest).1 };
        if matches!(timeout(CANCEL_PATIENCE, rest).await, Ok(Ok(_))) {
            lease.clean();
        }
    }
    Err(given_up)
}

/// Sends what is left of `outgoing`, and reads up to ReadyForQuery; `None` if the server reported an error.
async fn exchange(
    connection: &mut Connection,
    outgoing: &mut BytesMut,
    frame_len_max: usize,
    secret: &KeySecret,
) -> Result<Option<Digest>, UpstreamError> {
    while !outgoing.is_empty() {
        if connection.pump(outgoing).await? == Pumped::Read(0) {
            return Err(UpstreamError::Protocol("the server hung up".into()));
        }
    }
    let mut digest = Digest::default();
    let mut failed = false;
    loop {
        let frame = connection.next_frame(frame_len_max).await?;
        match frame.tag() {
            tag::DATA_ROW | tag::COMMAND_COMPLETE | tag::PORTAL_SUSPENDED => {
                digest.add(frame.bytes(), secret);
            }
            tag::ERROR => failed = true,
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::ROW_DESCRIPTION | tag::NOTICE => {}
            tag::READY_FOR_QUERY => return Ok((!failed).then_some(digest)),
            other => {
                return Err(UpstreamError::Protocol(format!(
                    "message {:?} in answer to a read",
                    char::from(other)
                )));
            }
        }
    }
}

/// The shape is out of the cache from now on.
fn convict(shared: &Shared, job: &Job, cached: &Digest, server: &Digest) {
    let entry = &job.entry;
    let catalog = job.database.authority.catalog();
    let name = |oid: &u32| {
        let name = catalog
            .as_ref()
            .and_then(|catalog| catalog.relation_name(*oid));
        name.unwrap_or_else(|| oid.to_string())
    };
    let mismatch = Mismatch {
        database: job.pool.database().to_owned(),
        shape: entry.shape,
        statement: std::str::from_utf8(&job.sql).map_or_else(|_| String::new(), sql::shape_text),
        found_at: SystemTime::now(),
        entry_age: entry.age(Moment::now()),
        cached_rows: cached.rows,
        cached_hash: cached.short(),
        server_rows: server.rows,
        server_hash: server.short(),
        relations: entry.relations.iter().map(name).collect(),
    };
    if !shared.verifier.off.switch_off(mismatch.clone()) {
        return;
    }
    // What it has in the cache stays void when it is switched on again.
    shared.cache.flush(&Flush::Shape(entry.shape));
    tracing::error!(
        database = mismatch.database,
        shape = %mismatch.shape,
        statement = mismatch.statement,
        entry_age_ms = u64::try_from(mismatch.entry_age.as_millis()).unwrap_or(u64::MAX),
        cached_rows = mismatch.cached_rows,
        cached_hash = mismatch.cached_hash,
        server_rows = mismatch.server_rows,
        server_hash = mismatch.server_hash,
        relations = mismatch.relations.join(","),
        "an answer from the cache was not the server's: this shape is kept out of the cache until CACHE ENABLE"
    );
}
