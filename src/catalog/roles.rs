//! The roles of a server, by name.

use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Role {
    pub oid: u32,
    pub is_superuser: bool,
}

/// Whom each name means. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Roles(Arc<HashMap<String, Role>>);

impl Roles {
    pub(crate) fn is_superuser(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|role| role.is_superuser)
    }

    /// Without these names.
    pub fn forget(&mut self, names: &[String]) {
        let all = Arc::make_mut(&mut self.0);
        for name in names {
            all.remove(name);
        }
    }

    /// The names that mean nobody now, or somebody else than they did `before`.
    pub fn changed_since(&self, before: &Roles) -> Vec<String> {
        let is_changed = |(name, role): &(&String, &Role)| {
            self.0.get(*name).is_none_or(|now| now.oid != role.oid)
        };
        let changed = before.0.iter().filter(is_changed);
        changed.map(|(name, _)| name.clone()).collect()
    }
}

impl FromIterator<(String, Role)> for Roles {
    fn from_iter<T: IntoIterator<Item = (String, Role)>>(roles: T) -> Self {
        Self(Arc::new(roles.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_back_is_of_another_role() {
        let roles = |all: &[(&str, u32)]| -> Roles {
            let role = |&(name, oid): &(&str, u32)| {
                let is_superuser = false;
                (name.to_owned(), Role { oid, is_superuser })
            };
            all.iter().map(role).collect()
        };
        let before = roles(&[("a", 1), ("b", 2), ("c", 3)]);
        let now = roles(&[("a", 1), ("d", 2), ("c", 4), ("e", 5)]);
        let mut changed = now.changed_since(&before);
        changed.sort();
        assert_eq!(changed, ["b", "c"]);
        let mut known = before.clone();
        known.forget(&["b".to_owned(), "x".to_owned()]);
        assert_eq!(now.changed_since(&known), ["c"]);
        assert!(now.changed_since(&now).is_empty());
    }
}
