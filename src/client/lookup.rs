//! Users whom the configuration does not list.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::users::KnownUser;
use crate::wire::ErrorReport;

/// Whoever can be asked about them: the server, by `auth_query`.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// What is known of `user`, who wants to go to `database`; `None` for nobody.
    ///
    /// # Errors
    /// Nobody could be asked: what the client is told.
    async fn find(&self, user: &str, database: &str)
    -> Result<Option<Arc<KnownUser>>, ErrorReport>;

    /// `user` was refused: what was found may be out of date.
    fn forget(&self, user: &str, database: &str);
}

/// Whoever knows the roles of the server's users.
#[async_trait]
pub trait Memberships: Send + Sync {
    /// The roles that `user`, who wants to go to `database`, is a member of, directly or not, itself
    /// included; none of somebody who does not exist.
    ///
    /// # Errors
    /// Nobody could be asked: what the client is told.
    async fn roles_of(
        &self,
        user: &str,
        database: &str,
    ) -> Result<Arc<HashSet<String>>, ErrorReport>;
}
