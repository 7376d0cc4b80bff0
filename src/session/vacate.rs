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

/// Databases of one unit; others are left to PostgreSQL's own answer.
const PLACES_MAX: usize = 64;

impl Session {
    /// Leaves the databases in which the unit wants nobody, as soon as no session of ours is in them. The unit need
    /// not wait for it: PostgreSQL looks again and again before it gives up.
    pub(super) fn vacate(&self, work: &Work<'_>) {
        let mut places: Vec<Place> = Vec::new();
        self.any_statement(work, |analysis| {
            let statements = analysis.statements.iter();
            for name in statements.filter_map(|facts| facts.vacates.as_ref()) {
                let place = (self.pool.target().hosts, name.clone());
                if !places.contains(&place) && places.len() < PLACES_MAX {
                    places.push(place);
                }
            }
            false
        });
        if !places.is_empty() {
            tokio::spawn(leave(Arc::clone(&self.shared), places));
        }
    }
}

async fn leave(shared: Arc<Shared>, mut places: Vec<Place>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        places.retain(|place| !shared.leave(place));
        if places.is_empty() || Instant::now() >= deadline {
            return;
        }
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
