//! What every new upstream connection proves to the authority of its database.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;

use crate::authority::Unproven;
use crate::config::Host;
use crate::planted::{Step, planted};
use crate::session::{Database, Shared};
use crate::upstream::{Admission, Connection, Introduction, ServerInfo, Target, UpstreamError};

/// Leads a connection to the authority of the database that it was opened for.
/// It is made before the pools, and learns of the rest once that exists.
#[derive(Default)]
pub struct Doorman {
    shared: OnceLock<Weak<Shared>>,
}

/// How long a connection waits for the guard to stand. Without a guard nothing
/// is served, so a connection without proof harms nobody until there is one;
/// sessions replace it then.
const GUARD_WAIT: Duration = Duration::from_secs(2);
/// The same before a server is chosen: who fails to find one should be able to say so soon.
const PLACE_WAIT: Duration = Duration::from_millis(300);
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);

impl Doorman {
    /// From now on connections are introduced.
    pub fn serve(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn database(&self, connection: &Connection) -> Option<Arc<Database>> {
        let shared = self.shared.get()?.upgrade()?;
        shared.databases.of_target(connection.target())
    }
}

#[async_trait]
impl Introduction for Doorman {
    async fn place(&self, target: &Target) -> Option<Host> {
        let database = self.shared.get()?.upgrade()?.databases.of_target(target)?;
        let proof = tokio::time::timeout(PLACE_WAIT, database.authority.proof());
        Some(proof.await.ok()?.host.clone())
    }

    async fn displaced(&self, target: &Target) {
        let shared = self.shared.get().and_then(Weak::upgrade);
        let database = shared.and_then(|shared| shared.databases.of_target(target));
        let Some(database) = database else {
            return std::future::pending().await;
        };
        let mut proofs = database.authority.proofs();
        drop(database);
        // It stood a moment ago: what comes first is its loss.
        if proofs.borrow_and_update().is_some() && proofs.changed().await.is_err() {
            std::future::pending().await
        }
    }

    async fn introduce(&self, connection: &mut Connection) -> Result<(), UpstreamError> {
        let Some(database) = self.database(connection) else {
            return Ok(());
        };
        let authority = &database.authority;
        let Ok(proof) = tokio::time::timeout(GUARD_WAIT, authority.proof()).await else {
            return Ok(());
        };
        let deadline = tokio::time::Instant::now() + PROOF_TIMEOUT;
        let rows = connection.simple(&proof.sql(), deadline).await?;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        let started_us = match authority.admit(&proof, row, connection.pid) {
            Ok(backend) => backend.started_us,
            // Then nothing is served from the cache, and any connection will do.
            Err(Unproven::PoolerUpstream) => 0,
            Err(Unproven::OtherServer) if planted(Step::UnprovenConnections) => 0,
            Err(unproven) => return Err(UpstreamError::Unproven(unproven.to_string())),
        };
        connection.admission = Admission {
            generation: Some(proof.generation),
            started_us,
        };
        Ok(())
    }

    fn departed(&self, server: &ServerInfo) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return;
        };
        let target = shared.pools.target(&server.database, &server.user);
        if let Some(database) = target
            .ok()
            .and_then(|target| shared.databases.of_target(&target))
        {
            database.authority.departed(server.pid);
        }
    }
}
