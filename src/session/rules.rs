//! Which of `[[cache.rules]]` decides a read, and how often each one did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::Session;
use super::analysis::Analysis;
use crate::catalog::ReadFacts;
use crate::config::CacheRule;
use crate::sql::ShapeId;

/// How many reads each rule decided, in the order of the rules.
#[derive(Debug, Default)]
pub struct RuleCounts(ArcSwap<Vec<(CacheRule, Arc<AtomicU64>)>>);

impl RuleCounts {
    pub fn new(rules: &[CacheRule]) -> Self {
        let counts = Self::default();
        counts.reload(rules);
        counts
    }

    /// From now on these rules are in force; one that was before goes on counting.
    pub fn reload(&self, rules: &[CacheRule]) {
        let mut before = self.0.load().to_vec();
        let counted = |rule: &CacheRule| {
            let known = before.iter().position(|(known, _)| known == rule);
            let count = known.map(|at| before.swap_remove(at).1);
            (rule.clone(), count.unwrap_or_default())
        };
        self.0.store(Arc::new(rules.iter().map(counted).collect()));
    }

    fn count(&self, index: usize) {
        // A session may still go by rules that are no more.
        if let Some((_, count)) = self.0.load().get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The rules with their counts.
    pub fn all(&self) -> Vec<(CacheRule, u64)> {
        let rules = self.0.load();
        let read = |(rule, count): &(CacheRule, Arc<AtomicU64>)| {
            (rule.clone(), count.load(Ordering::Relaxed))
        };
        rules.iter().map(read).collect()
    }
}

/// Whether a look at the rules is the first for this execution of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    First,
    Again,
}

impl Session {
    /// The first rule that matches.
    pub(super) fn rule(
        &self,
        read: &ReadFacts,
        analysis: &Analysis,
        look: Look,
    ) -> Option<&CacheRule> {
        let rules = &self.config.cache.rules;
        let database = &self.registration.handle.database;
        let index = matching_rule(
            rules,
            &self.user,
            database,
            analysis.shape,
            &read.relation_names,
        )?;
        if look == Look::First {
            self.shared.rules.count(index);
        }
        self.config.cache.rules.get(index)
    }
}

/// The position of the first rule that matches a read of `relations`.
pub fn matching_rule(
    rules: &[CacheRule],
    user: &str,
    database: &str,
    shape: ShapeId,
    relations: &[String],
) -> Option<usize> {
    rules.iter().position(|rule| {
        let named = |relation: &String| {
            let mut patterns = rule.tables.iter();
            patterns.any(|pattern| names_relation(pattern, relation))
        };
        is_one_of(&rule.users, user)
            && is_one_of(&rule.databases, database)
            && rule
                .shape
                .as_ref()
                .is_none_or(|of_rule| *of_rule == shape.to_string())
            && (rule.tables.is_empty() || (!relations.is_empty() && relations.iter().all(named)))
    })
}

/// No patterns at all match every name.
fn is_one_of(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| wildcard(pattern, name))
}

/// `*` stands for any run of characters.
fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.starts_with(head)
                && (head.len()..=text.len())
                    .filter(|at| text.is_char_boundary(*at))
                    .any(|at| wildcard(tail, &text[at..]))
        }
    }
}

/// A pattern without a schema means the relation of that name in any schema.
fn names_relation(pattern: &str, relation: &str) -> bool {
    if pattern.contains('.') {
        wildcard(pattern, relation)
    } else {
        let name = relation.split_once('.').map_or(relation, |(_, name)| name);
        wildcard(pattern, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(table: &str) -> CacheRule {
        CacheRule {
            tables: vec![table.into()],
            ..CacheRule::default()
        }
    }

    #[test]
    fn a_rule_that_stays_over_a_reload_goes_on_counting_wherever_it_stands() {
        let counts = RuleCounts::new(&[rule("a"), rule("b")]);
        counts.count(1);
        counts.reload(&[rule("b"), rule("c")]);
        counts.count(0);
        counts.count(7);
        assert_eq!(counts.all(), [(rule("b"), 2), (rule("c"), 0)]);
    }

    #[test]
    fn wildcards_match_whole_names() {
        assert!(wildcard("a*c", "abc"));
        assert!(wildcard("*", ""));
        assert!(wildcard("a*b*c", "a_b_b_c"));
        assert!(!wildcard("a*c", "abcd"));
        assert!(names_relation("orders", "public.orders"));
        assert!(names_relation("audit.*", "audit.log"));
        assert!(!names_relation("orders", "public.orders_old"));
    }
}
