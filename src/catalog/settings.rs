//! The custom settings (`app.tenant`) that code may set for its session.
//!
//! The server does not list them, so whoever wants to know what a connection holds has to
//! ask for each by name; code that runs out of sight has to be searched for the names.

use std::collections::BTreeSet;

/// What some code sets for longer than its transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingNames {
    /// Lower case; not the server's own settings, which it lists.
    pub names: BTreeSet<String>,
    /// Some name is put together at run time.
    pub unnamed: bool,
}

/// The expressions that call `set_config` (2078), as text; every name is qualified.
macro_rules! expressions_that_set {
    () => {
        "SELECT pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef \
            WHERE adbin::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
        UNION ALL SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint \
            WHERE conbin::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
        UNION ALL SELECT pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger \
            WHERE tgqual::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
        UNION ALL SELECT pg_catalog.pg_get_function_arguments(oid) FROM pg_catalog.pg_proc \
            WHERE proargdefaults::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
        UNION ALL SELECT typdefault FROM pg_catalog.pg_type \
            WHERE typdefaultbin::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
        UNION ALL SELECT pg_catalog.concat(pg_catalog.pg_get_expr(polqual, polrelid), ' ', pg_catalog.pg_get_expr(polwithcheck, polrelid)) \
            FROM pg_catalog.pg_policy \
            WHERE pg_catalog.concat(polqual::pg_catalog.text, polwithcheck::pg_catalog.text) OPERATOR(pg_catalog.~) ':funcid 2078 '"
    };
}

pub(super) const EXPRESSIONS_THAT_SET: &str = expressions_that_set!();

/// All code of users, from the server itself. It waits for whoever has locked what a rule or view names.
pub const SETTING_CODE: &str = concat!(
    "SELECT prosrc FROM pg_catalog.pg_proc \
        WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND prosrc OPERATOR(pg_catalog.~*) 'set' \
    UNION ALL SELECT pg_catalog.pg_get_functiondef(oid) FROM pg_catalog.pg_proc p \
        WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND prosrc OPERATOR(pg_catalog.=) '' \
            AND p::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
    UNION ALL SELECT pg_catalog.pg_get_ruledef(oid) FROM pg_catalog.pg_rewrite \
        WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND ev_action::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid 2078 ' \
    UNION ALL ",
    expressions_that_set!()
);

impl SettingNames {
    /// Adds what stands in `code`. Constants and comments count as code, too: one name too
    /// many costs a question.
    pub fn add(&mut self, code: &str) {
        let lower = code.to_lowercase();
        for (at, _) in lower.match_indices("set_config") {
            self.add_call(&lower[at + "set_config".len()..]);
        }
        for (at, _) in lower.match_indices("set") {
            let before = lower[..at].chars().next_back();
            if before.is_some_and(is_name_char) {
                continue;
            }
            let Some(rest) = after_blanks(&lower[at + 3..]) else {
                continue;
            };
            let rest = rest
                .strip_prefix("session")
                .and_then(after_blanks)
                .unwrap_or(rest);
            self.add_name(rest.split(|c| !is_name_char(c)).next().unwrap_or_default());
        }
    }

    /// What follows `set_config`.
    fn add_call(&mut self, rest: &str) {
        let Some(arguments) = rest.trim_start().strip_prefix('(') else {
            return;
        };
        if is_local(arguments) {
            return;
        }
        let arguments = arguments.trim_start();
        let literal = arguments
            .strip_prefix("e'")
            .or_else(|| arguments.strip_prefix('\''))
            .and_then(|rest| rest.split_once('\''))
            .filter(|(name, rest)| {
                // The server writes the type behind every constant.
                let rest = rest.strip_prefix("::text").unwrap_or(rest);
                name.chars().all(is_name_char) && rest.trim_start().starts_with(',')
            });
        match literal {
            Some((name, _)) => self.add_name(name),
            None => self.unnamed = true,
        }
    }

    fn add_name(&mut self, name: &str) {
        if name.contains('.') {
            self.names.insert(name.to_owned());
        }
    }
}

/// Whether the arguments of `set_config`, up to its closing parenthesis, end with `true`.
fn is_local(arguments: &str) -> bool {
    let mut depth = 0_usize;
    let mut quoted = false;
    for (at, c) in arguments.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => {
                let last = arguments[..at].rsplit(',').next().unwrap_or_default();
                return last.trim() == "true";
            }
            ')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    false
}

/// What follows at least one blank.
fn after_blanks(text: &str) -> Option<&str> {
    let rest = text.trim_start();
    (rest.len() < text.len()).then_some(rest)
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> (Vec<String>, bool) {
        let mut names = SettingNames::default();
        names.add(code);
        (names.names.into_iter().collect(), names.unnamed)
    }

    #[test]
    fn names_are_found_wherever_they_are_set_for_the_session() {
        let name = |name: &str| (vec![name.to_owned()], false);
        assert_eq!(
            found("PERFORM set_config('App.Who', who, false);"),
            name("app.who")
        );
        assert_eq!(
            found("SELECT pg_catalog.set_config ( 'a.b' , f(x, true), is_local)"),
            name("a.b")
        );
        // As the server writes it.
        assert_eq!(
            found("(set_config('a.b'::text, 'v'::text, false) IS NOT NULL)"),
            name("a.b")
        );
        assert_eq!(found("BEGIN SET app.mood = 'x'; END"), name("app.mood"));
        assert_eq!(
            found("BEGIN SET SESSION app.mood TO 'x'; END"),
            name("app.mood")
        );
        assert_eq!(
            found("EXECUTE 'SET a.b = ' || quote_literal(x)"),
            name("a.b")
        );
    }

    #[test]
    fn what_ends_with_its_transaction_or_is_the_servers_own_is_not_asked_for() {
        let nothing = (Vec::new(), false);
        assert_eq!(
            found("PERFORM set_config('a.b', coalesce(x, ')'), true);"),
            nothing
        );
        assert_eq!(found("SET LOCAL a.b = 1"), nothing);
        assert_eq!(
            found("SET work_mem = 1; UPDATE t SET x = 1; PERFORM set_config('timezone', x, false)"),
            nothing
        );
        assert_eq!(found("PERFORM reset.b; offset a.b"), nothing);
    }

    #[test]
    fn a_name_that_is_made_at_run_time_is_told() {
        assert!(found("PERFORM set_config('a.' || x, 'v', false)").1);
        assert!(found("PERFORM set_config(name, 'v', false)").1);
        assert!(!found("PERFORM set_config(name, 'v', true)").1);
    }
}
