//! Statements that PostgreSQL refuses while anybody is connected to a database: what pgditto itself has open there for
//! later is closed before them, as clients without a pooler have closed theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use super::forward::Work;
use super::shared::{Place, Shared};

/// As long as PostgreSQL itself waits for others to go.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

impl Session {
    /// Leaves the databases in which the unit wants nobody, as soon as no session of ours is in them. The unit need
    /// not wait for it: PostgreSQL looks again and again before it gives up.
    pub(super) fn vacate(&self, work: &Work<'_>) {
        let mut places: Vec<Place> = Vec::new();
        self.any_statement(work, |analysis| {
            for name in analysis
                .statements
                .iter()
                .filter_map(|facts| facts.vacates.as_ref())
            {
                places.push((self.pool.target().hosts, name.clone()));
            }
            false
        });
        for place in places {
            tokio::spawn(leave(Arc::clone(&self.shared), place));
        }
    }
}

async fn leave(shared: Arc<Shared>, place: Place) {
    let deadline = Instant::now() + PATIENCE;
    while !shared.leave(&place) && Instant::now() < deadline {
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

impl Shared {
    /// False if sessions are there. Who comes later finds the database as after a start of pgditto.
    fn leave(&self, place: &Place) -> bool {
        if !self.databases.close(place) {
            return false;
        }
        // After that: what was opened under the guard that is gone is too old for the next.
        let (hosts, name) = place;
        self.pools.leave(hosts, name);
        self.greetings.invalidate_all();
        tracing::info!(database = %name, "a statement wants nobody in the database: its connections are closed");
        true
    }
}
