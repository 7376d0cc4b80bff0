//! What every new upstream connection proves to the authority of its database.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;

use crate::session::{Database, Shared};
use crate::upstream::{Connection, Introduction, ServerInfo, UpstreamError};

/// Leads a connection to the authority of the database that it was opened for.
/// It is made before the pools, and learns of the rest once that exists.
#[derive(Default)]
pub struct Doorman {
    shared: OnceLock<Weak<Shared>>,
}

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
    async fn introduce(&self, connection: &mut Connection) -> Result<(), UpstreamError> {
        match self.database(connection) {
            Some(database) => database.authority.introduce(connection).await,
            None => Ok(()),
        }
    }

    fn departed(&self, server: &ServerInfo) {
        if let Some(shared) = self.shared.get().and_then(Weak::upgrade) {
            for database in shared.databases.all() {
                database.authority.departed(server.pid);
            }
        }
    }
}
