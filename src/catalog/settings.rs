//! The custom settings (`app.tenant`) that code may set for its session, or read.
//!
//! The server does not list them, so whoever wants to know what a connection holds has to
//! ask for each by name; code that runs out of sight has to be searched for the names.

use std::collections::{BTreeSet, HashMap};

use crate::sql::{Setting, custom_settings, settings_read};

/// What some code sets, and reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingNames {
    /// Set for longer than its transaction. Lower case; not the server's own settings, which it lists.
    pub names: BTreeSet<String>,
    /// Some name is put together at run time.
    pub unnamed: bool,
    /// Those that are set for the transaction only.
    pub local: BTreeSet<String>,
    /// Those that are read, and perhaps other things; lower case.
    pub read: BTreeSet<String>,
}

/// The expressions that call `set_config` (2078) or `current_setting` (2077, 3294), as text; every name is qualified.
macro_rules! setting_expressions {
    () => {
        "SELECT pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef \
            WHERE adbin::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid (2077|2078|3294) ' \
        UNION ALL SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint \
            WHERE conbin::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid (2077|2078|3294) ' \
        UNION ALL SELECT pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger \
            WHERE tgqual::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid (2077|2078|3294) ' \
        UNION ALL SELECT pg_catalog.pg_get_function_arguments(oid) FROM pg_catalog.pg_proc \
            WHERE proargdefaults::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid (2077|2078|3294) ' \
        UNION ALL SELECT typdefault FROM pg_catalog.pg_type \
            WHERE typdefaultbin::pg_catalog.text OPERATOR(pg_catalog.~) ':funcid (2077|2078|3294) ' \
        UNION ALL SELECT pg_catalog.concat(pg_catalog.pg_get_expr(polqual, polrelid), ' ', pg_catalog.pg_get_expr(polwithcheck, polrelid)) \
            FROM pg_catalog.pg_policy \
            WHERE pg_catalog.concat(polqual::pg_catalog.text, polwithcheck::pg_catalog.text) OPERATOR(pg_catalog.~) ':funcid (2077|2078|3294) '"
    };
}

pub(super) const SETTING_EXPRESSIONS: &str = setting_expressions!();

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
    setting_expressions!()
);

impl SettingNames {
    /// Adds what stands in `code`. Constants and comments count as code, too: one name too
    /// many costs a question.
    pub fn add(&mut self, code: &str) {
        custom_settings(code, &mut |setting| match setting {
            Setting::Session(name) => drop(self.names.insert(name)),
            Setting::Local(name) => drop(self.local.insert(name)),
            Setting::Unnamed => self.unnamed = true,
        });
        settings_read(code, &mut |name| {
            self.read.insert(name);
        });
    }
}

/// The custom settings that the code of a database has to do with.
#[derive(Debug, Default)]
pub struct CodeSettings {
    pub names: SettingNames,
    pub(super) setters: Setters,
}

impl CodeSettings {
    /// Those that functions of this name set, whatever they call, and do not read.
    pub fn set_by(&self, function: &str) -> Option<&BTreeSet<String>> {
        self.setters.0.get(function)
    }
}

/// What functions set by themselves, by their names, in any schema.
#[derive(Debug, Default)]
pub(super) struct Setters(HashMap<String, BTreeSet<String>>);

impl Setters {
    pub fn of<'a>(functions: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut setters: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (name, body) in functions {
            let mut found = SettingNames::default();
            found.add(body);
            let mut sets = found.names;
            sets.append(&mut found.local);
            sets.retain(|setting| !found.read.contains(setting));
            match setters.get_mut(name) {
                // Which of them is called is not known.
                Some(known) => known.retain(|setting| sets.contains(setting)),
                None => drop(setters.insert(name.to_owned(), sets)),
            }
        }
        setters.retain(|_, sets| !sets.is_empty());
        Self(setters)
    }
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
    fn a_name_is_found_however_it_is_written() {
        let name = |name: &str| (vec![name.to_owned()], false);
        for code in [
            "BEGIN SET \"app.tenant\" = 'A'; END",
            "BEGIN SET app.\"tenant\" = 'A'; END",
            "BEGIN SET app . Tenant = 'A'; END",
            "BEGIN SET/**/app.tenant = 'A'; END",
            "BEGIN SET -- it\n session app.tenant TO 'A'; END",
            "PERFORM set_config/**/('app.tenant', 'A', false)",
            "PERFORM \"set_config\"('app.tenant', 'A', false)",
            "PERFORM U&\"set\\005fconfig\"('app.tenant', 'A', false)",
            "plpy.execute(\"SELECT set_config('app.tenant', 'A', false)\")",
            "PERFORM SET_CONFIG($$app.tenant$$, 'A', false)",
            r"PERFORM set_config('app.tenant', E'\', true)', false)",
            "EXECUTE 'SELECT set_config(''app.tenant'', ''A'', false)'",
            "EXECUTE $q$ SET \"app.tenant\" = 'A' $q$",
            "DO $d$BEGIN EXECUTE 'SET app . tenant = 1'; END$d$",
        ] {
            assert_eq!(found(code), name("app.tenant"), "{code}");
        }
    }

    #[test]
    fn what_other_statements_set_is_no_setting() {
        let nothing = (Vec::new(), false);
        for code in [
            "BEGIN UPDATE t SET x = 1; UPDATE t AS a SET (x, y) = (1, 2); END",
            "UPDATE t SET/**/x = 1",
            "UPDATE ONLY t * SET \"odd name\" = 1",
            "UPDATE t SET a[1] = 2; UPDATE t SET a[$1] = 2",
            "INSERT INTO t VALUES (1) ON CONFLICT (x) DO UPDATE SET x = excluded.x",
            "MERGE INTO t USING u ON true WHEN MATCHED THEN UPDATE SET x = 1",
            "EXECUTE 'UPDATE ' || t || ' SET ' || columns",
            "EXECUTE format('UPDATE %I SET %I = %L', t, c, v)",
            "RAISE NOTICE 'could not set % to %', a, b",
            "SET TIME ZONE 'UTC'; SET ROLE x; SET TRANSACTION READ ONLY; SET search_path TO a, b",
            "SET LOCAL \"app.tenant\" = 1; EXECUTE 'SET LOCAL app.' || x",
            "EXECUTE 'SET ROLE ' || quote_ident(r)",
            "PERFORM \"set_config\" ( 'app.x' , E'\\', false)' , TRUE )",
            "SELECT r.set, x FROM r -- set_config(name, value) SET %",
        ] {
            assert_eq!(found(code), nothing, "{code}");
        }
    }

    #[test]
    fn a_name_that_is_not_certain_is_told() {
        for code in [
            "EXECUTE 'SET app.' || x || ' = 1'",
            "EXECUTE 'SET app.ten' || 'ant = 1'",
            "EXECUTE 'SET ap' || 'p.tenant = 1'",
            "EXECUTE format('SET %I = %L', n, v)",
            "EXECUTE format('SET app.%s = %L', n, v)",
            "EXECUTE 'SET ' || n || ' = 1'",
            "BEGIN SET U&\"app.tenant\" = 1; END",
            "PERFORM set_config(U&'app.x', 'A', false)",
            "EXECUTE 'SELECT set_config(' || quote_literal(n) || ', 1, false)'",
            "PERFORM set_config(is_local => false, new_value => 'x', setting_name => 'a.b')",
        ] {
            assert!(found(code).1, "{code}");
        }
    }

    #[test]
    fn what_ends_with_its_transaction_is_known_by_itself() {
        let mut names = SettingNames::default();
        names.add("SET LOCAL App.One = 1; PERFORM set_config('app.two', x, true)");
        names.add("EXECUTE 'SET LOCAL app.' || x; SET LOCAL work_mem = 1");
        let local: Vec<&str> = names.local.iter().map(String::as_str).collect();
        assert_eq!(local, ["app.one", "app.two"]);
        assert!(names.names.is_empty() && !names.unnamed);
    }

    #[test]
    fn setters_are_those_that_do_not_read_what_they_set() {
        let setters = Setters::of(
            [
                (
                    "sets",
                    "PERFORM set_config('app.a', x, true); SET app.b = 1",
                ),
                (
                    "reads",
                    "IF current_setting('app.a', true) IS NULL THEN SET LOCAL app.a = 1",
                ),
                ("either", "SET LOCAL app.a = 1"),
                ("either", "RETURN 1"),
            ]
            .into_iter(),
        );
        let set = setters.0.get("sets").expect("a setter");
        assert!(set.contains("app.a") && set.contains("app.b"));
        assert_eq!(setters.0.len(), 1);
    }

    #[test]
    fn a_name_that_is_made_at_run_time_is_told() {
        assert!(found("PERFORM set_config('a.' || x, 'v', false)").1);
        assert!(found("PERFORM set_config(name, 'v', false)").1);
        assert!(!found("PERFORM set_config(name, 'v', true)").1);
    }
}
