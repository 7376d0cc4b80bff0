//! What running a user's function may come to: computed once, when the picture is made.
//!
//! A function is read where it can be (SQL, PL/pgSQL, aggregates by their parts), and
//! what it calls is followed by *name*, whatever schema: one name too many is harmless.
//! Anything that cannot be read may do everything.

use std::collections::HashMap;

use super::RelationOid;
use super::body::Words;
use super::builtin;
use super::footprint::{Effects, Footprint};
use super::index::{Index, Named};
use super::picture::{FIRST_USER_OID, Function, FunctionOid, Owner, Referred, TypeOid, Volatility};
use crate::sql::{calls_with_text_from_elsewhere, runs_text_from_elsewhere};

/// What running it may come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// It may write to any relation.
    pub touches: bool,
    /// It may write to the relations that it names, or that what it calls names.
    pub names: bool,
    /// It may run DDL.
    pub catalogue: bool,
    pub effects: Effects,
    /// What its answer depends on is not known, or more than relations.
    pub opaque: bool,
    /// It may load a library into the process.
    pub loads: bool,
    /// It may look at the text of the statement that runs it.
    pub sees_text: bool,
}

impl Outcome {
    pub(crate) const QUIET: Outcome = Outcome {
        touches: false,
        names: false,
        catalogue: false,
        effects: Effects::NONE,
        opaque: false,
        loads: false,
        sees_text: false,
    };
    pub(crate) const ANYTHING: Outcome = Outcome {
        touches: true,
        names: true,
        catalogue: true,
        effects: Effects::ALL,
        opaque: true,
        loads: true,
        sees_text: true,
    };

    pub(crate) fn union(self, other: Outcome) -> Outcome {
        Outcome {
            touches: self.touches || other.touches,
            names: self.names || other.names,
            catalogue: self.catalogue || other.catalogue,
            effects: self.effects.union(other.effects),
            opaque: self.opaque || other.opaque,
            loads: self.loads || other.loads,
            sees_text: self.sees_text || other.sees_text,
        }
    }

    /// What it writes to is known: what [`Outcomes::named`] says.
    pub(crate) fn writes_what_it_names(self) -> bool {
        self.names && !self.touches && !self.catalogue
    }

    /// Without a look at what it names.
    pub(crate) fn footprint(self) -> Footprint {
        match self {
            Outcome {
                catalogue: true, ..
            } => Footprint::catalogue(),
            Outcome { touches: true, .. } | Outcome { names: true, .. } => Footprint::everything(),
            _ => Footprint::nothing(),
        }
    }
}

/// Outcomes of all user functions of a picture.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    by_function: HashMap<FunctionOid, Outcome>,
    reads: HashMap<FunctionOid, Vec<RelationOid>>,
    hidden: Hidden,
    /// Whatever DDL runs unseen.
    event_triggers: Outcome,
    /// Any function at all.
    any: Outcome,
}

impl Outcomes {
    pub(crate) fn new(index: &Index) -> Self {
        let hidden = Hidden::new(index);
        let mut graph = Graph::new(index, &hidden);
        graph.settle();
        let outcome_of = |node: usize| graph.nodes[node].outcome;
        let functions = || index.picture.functions.iter().enumerate();
        let any = functions().fold(Outcome::QUIET, |all, (i, _)| all.union(outcome_of(i)));
        let on_ddl = outcome_of(graph.event_triggers);
        Self {
            by_function: functions().map(|(i, f)| (f.oid, outcome_of(i))).collect(),
            reads: functions()
                .map(|(i, f)| (f.oid, graph.nodes[i].reads.clone()))
                .collect(),
            // Nobody follows them to what they write to.
            event_triggers: if on_ddl.names {
                on_ddl.union(any)
            } else {
                on_ddl
            },
            any,
            hidden,
        }
    }

    pub(crate) fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    /// `of` a function that is not in the picture: below the first user oid it is one of
    /// PostgreSQL's own trigger or support functions, which do nothing of the kind.
    pub(crate) fn of(&self, function: FunctionOid) -> Outcome {
        match self.by_function.get(&function) {
            Some(outcome) => *outcome,
            None if function < FIRST_USER_OID => Outcome::QUIET,
            None => Outcome::ANYTHING,
        }
    }

    /// The relations that the function reads, as far as its words tell; `None` if they do not.
    pub(crate) fn reads(&self, function: FunctionOid) -> Option<&[RelationOid]> {
        if self.of(function).opaque {
            return None;
        }
        self.reads.get(&function).map(Vec::as_slice)
    }

    /// The relations that the function names, and those that what it calls names.
    pub(crate) fn named(&self, function: FunctionOid) -> &[RelationOid] {
        self.reads.get(&function).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn event_triggers(&self) -> Outcome {
        self.event_triggers
    }

    /// What a statement of which nothing is known may come to by functions.
    pub(crate) fn any(&self) -> Outcome {
        self.any
    }
}

/// What PostgreSQL's own functions come to that the expressions of tables, policies and types call, and those that stand
/// for arguments which are left out.
#[derive(Debug, Default)]
pub(crate) struct Hidden(HashMap<Owner, Outcome>);

impl Hidden {
    fn new(index: &Index) -> Self {
        let mut hidden = HashMap::new();
        for (owner, name) in &index.picture.hidden_calls {
            let known: &mut Outcome = hidden.entry(*owner).or_default();
            *known = known.union(unseen_outcome(name));
        }
        for reference in &index.picture.references {
            if reference.target == Referred::OperatorClass
                && let Owner::Type(_) = reference.owner
            {
                hidden.insert(reference.owner, Outcome::ANYTHING);
            }
        }
        Self(hidden)
    }

    pub(crate) fn of(&self, owner: Owner) -> Outcome {
        self.0.get(&owner).copied().unwrap_or_default()
    }

    pub(crate) fn of_type(&self, oid: TypeOid, index: &Index) -> Outcome {
        let parts = index.type_parts(oid).into_iter();
        parts.fold(Outcome::QUIET, |all, part| {
            all.union(self.of(Owner::Type(part)))
        })
    }

    /// Of reading and writing values of its columns, and of its policies.
    pub(crate) fn of_relation(&self, oid: RelationOid, index: &Index) -> Outcome {
        let columns = index.relation(oid).map_or(&[][..], |r| &r.columns);
        let types = columns
            .iter()
            .map(|column| self.of_type(column.type_oid, index));
        types.fold(self.of(Owner::Policy(oid)), Outcome::union)
    }
}

#[derive(Debug, Default)]
struct Node {
    outcome: Outcome,
    calls: Vec<usize>,
    reads: Vec<RelationOid>,
}

impl Node {
    fn add(&mut self, outcome: Outcome) {
        self.outcome = self.outcome.union(outcome);
    }
}

struct Graph {
    nodes: Vec<Node>,
    /// The node of everything that writes run unseen; functions that write call it.
    hidden: usize,
    /// The node of what DDL runs unseen.
    event_triggers: usize,
}

impl Graph {
    fn new(index: &Index, unseen: &Hidden) -> Self {
        let picture = &index.picture;
        let hidden = picture.functions.len();
        let event_triggers = hidden + 1;
        let mut nodes: Vec<Node> = picture
            .functions
            .iter()
            .map(|f| read_function(f, index, unseen))
            .collect();
        nodes.extend([Node::default(), Node::default()]);

        for reference in &picture.references {
            let owner = match reference.owner {
                Owner::Function(oid) => match index.function_place(oid) {
                    // What an extension's own code calls is part of what is known of it.
                    Some(place) if !quiet_by_origin(&picture.functions[place]) => place,
                    _ => continue,
                },
                Owner::Write(_) | Owner::Index(_) | Owner::Policy(_) => hidden,
                Owner::View(_) | Owner::Refresh(_) | Owner::Type(_) => continue,
            };
            if reference.target == Referred::OperatorClass {
                nodes[owner].outcome = Outcome::ANYTHING;
            }
            nodes[owner]
                .calls
                .extend(index.places(index.functions_behind(reference.target)));
            match reference.target {
                Referred::Relation(relation) => nodes[owner].reads.push(relation),
                Referred::Type(oid) => nodes[owner].add(unseen.of_type(oid, index)),
                _ => {}
            }
        }
        for (owner, &outcome) in &unseen.0 {
            match *owner {
                Owner::Function(oid) => {
                    let place = index.function_place(oid);
                    place
                        .into_iter()
                        .for_each(|place| nodes[place].add(outcome));
                }
                _ => nodes[hidden].add(outcome),
            }
        }
        nodes[hidden]
            .calls
            .extend(index.places(picture.triggers.iter().map(|t| t.function)));
        if !picture.rules.is_empty() {
            // A rule's actions are not read, so they count as anything that functions can do.
            nodes[hidden].outcome.touches = true;
            nodes[hidden].calls.extend(0..picture.functions.len());
        }
        nodes[event_triggers].calls = index.places(picture.event_triggers.iter().copied());
        for node in &mut nodes[..hidden] {
            // Of what is named, what runs unseen is found at each relation.
            if node.outcome.touches {
                node.calls.push(hidden);
            }
            if node.outcome.catalogue {
                node.calls.push(event_triggers);
            }
        }
        Self {
            nodes,
            hidden,
            event_triggers,
        }
    }

    /// Carries outcomes from what is called to what calls, until nothing changes.
    fn settle(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for i in 0..self.nodes.len() {
                let mut outcome = self.nodes[i].outcome;
                let mut reads = std::mem::take(&mut self.nodes[i].reads);
                let before = reads.len();
                for &callee in &self.nodes[i].calls {
                    outcome = outcome.union(self.nodes[callee].outcome);
                    // What hidden code reads does not show in the caller's answer.
                    if callee < self.hidden && i < self.hidden {
                        reads.extend_from_slice(&self.nodes[callee].reads);
                    }
                }
                reads.sort_unstable();
                reads.dedup();
                changed |= outcome != self.nodes[i].outcome || reads.len() > before;
                self.nodes[i].outcome = outcome;
                self.nodes[i].reads = reads;
            }
        }
    }
}

/// Known by where it comes from, so that it need not be read.
fn quiet_by_origin(function: &Function) -> bool {
    let compiled = matches!(function.language.as_str(), "c" | "internal");
    match &function.extension {
        Some(extension) if builtin::is_quiet_extension(extension) => true,
        _ => compiled && function.volatility == Volatility::Immutable && !function.aggregate,
    }
}

fn read_function(function: &Function, index: &Index, unseen: &Hidden) -> Node {
    let mut node = read_body(function, index, unseen);
    // All other languages are libraries themselves.
    node.outcome.loads |= !matches!(function.language.as_str(), "sql" | "internal");
    if function.extension.is_some() {
        let effects = builtin::effects(&function.name);
        for effect in [Effects::PROCESS, Effects::SETTINGS] {
            if effects.contains(effect) {
                node.outcome.effects = node.outcome.effects.union(effect);
            }
        }
    }
    node
}

fn read_body(function: &Function, index: &Index, unseen: &Hidden) -> Node {
    if quiet_by_origin(function) {
        return Node::default();
    }
    let sql = function.language == "sql" && !function.aggregate;
    let readable = sql || function.aggregate || function.language == "plpgsql";
    // Identifiers with escapes in them could be any name.
    let mut outcome = Outcome::QUIET;
    if runs_any_text(function) {
        outcome.effects = Effects::UNNAMED_SETTINGS;
    }
    if !readable || function.body.to_ascii_lowercase().contains("u&\"") {
        return Node {
            outcome: outcome.union(Outcome::ANYTHING),
            ..Node::default()
        };
    }
    let words = Words::read(&function.body);
    let mut node = Node {
        outcome: outcome.union(words_outcome(&words, sql)),
        ..Node::default()
    };
    node.outcome.touches |= node.outcome.names && !names_all(&words, index);
    if words.contains("pg_settings") {
        node.outcome.effects = node.outcome.effects.union(Effects::SETTINGS);
    }
    node.outcome.opaque |= words
        .words
        .iter()
        .any(|word| is_circumstance(&word.text, index));
    let mut called: Vec<FunctionOid> = Vec::new();
    let by_word = words.words.iter().flat_map(|word| index.named(&word.text));
    for named in by_word.chain(index.odd_names_in(&function.body)) {
        match named {
            Named::Function(oid) => called.push(oid),
            Named::Type(oid) => {
                node.add(unseen.of_type(oid, index));
                called.extend(index.type_functions(oid));
            }
            Named::Relation(oid) => {
                node.reads.push(oid);
                node.outcome.sees_text |= views_see_text(oid, index);
                for read in index.reading_closure(oid) {
                    node.add(unseen.of_relation(read, index));
                }
                if index.shows_settings(oid) {
                    node.outcome.effects = node.outcome.effects.union(Effects::SETTINGS);
                }
                called.extend(index.functions_run_by_reading(oid));
                called.extend(index.column_functions(oid));
            }
        }
    }
    let operators = index.picture.operators.iter();
    called.extend(
        operators
            .filter(|op| function.body.contains(op.name.as_str()))
            .map(|op| op.function),
    );
    called.retain(|&oid| oid != function.oid);
    called.sort_unstable();
    called.dedup();
    node.calls = index.places(called);
    node
}

/// It runs texts that do not stand in it.
fn runs_any_text(function: &Function) -> bool {
    match function.language.as_str() {
        "c" | "internal" => false,
        "sql" | "plpgsql" => runs_text_from_elsewhere(&function.body, &builtin::runs_text),
        _ => calls_with_text_from_elsewhere(&function.body),
    }
}

/// Reading the relation runs a view that looks at the texts of statements.
fn views_see_text(oid: RelationOid, index: &Index) -> bool {
    let read = index.reading_closure(oid).into_iter();
    let mut definitions = read.filter_map(|oid| index.relation(oid)?.definition.as_deref());
    definitions.any(|definition| text_outcome(definition).sees_text)
}

fn is_circumstance(word: &str, index: &Index) -> bool {
    // With two arguments, for words such as `date` that are types far more often than calls.
    let doubtful = index.builtin(word).is_some_and(|known| {
        !matches!(
            builtin::verdict(word, 2, known.volatile, known.stable),
            builtin::Verdict::Fine
        )
    });
    doubtful || builtin::is_circumstance(word)
}

/// They write to a relation whose name stands in the same body.
const WRITES_NAMED: &[&str] = &["insert", "update", "delete", "merge"];
const WRITES: &[&str] = &[
    "truncate", "copy", "call", "refresh", "cluster", "commit", "rollback", "vacuum", "analyze",
    "move", "lock",
];
const DEFINES: &[&str] = &[
    "create", "alter", "drop", "grant", "revoke", "import", "reassign", "reindex", "security",
];

/// What the words by themselves come to, built-in functions included.
fn words_outcome(words: &Words, sql: bool) -> Outcome {
    if words.contains("execute") {
        return Outcome::ANYTHING;
    }
    let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
    let creates = sql && selects_into(words);
    let defines = has(DEFINES) || creates;
    let mut out = Outcome {
        touches: has(WRITES) || runs_a_block(words) || defines,
        names: has(WRITES_NAMED),
        catalogue: defines,
        effects: words_effects(words),
        opaque: false,
        loads: defines || words.begins("load"),
        sees_text: false,
    };
    for word in &words.words {
        out = out.union(builtin_outcome(&word.text));
    }
    out
}

/// Of one of PostgreSQL's own functions. Where it runs a text that it is handed, anything.
pub(crate) fn builtin_outcome(name: &str) -> Outcome {
    if builtin::runs_text(name) {
        return Outcome::ANYTHING;
    }
    Outcome {
        touches: builtin::writes_unseen(name),
        names: false,
        catalogue: builtin::changes_catalogue(name),
        effects: builtin::effects(name),
        opaque: false,
        loads: false,
        sees_text: builtin::sees_text(name),
    }
}

/// Of PostgreSQL's own functions that the query of a view calls; the users' are known by `pg_depend`.
pub(crate) fn text_outcome(definition: &str) -> Outcome {
    let words = Words::read(definition);
    words.words.iter().fold(Outcome::QUIET, |all, word| {
        all.union(unseen_outcome(&word.text))
    })
}

/// As [`builtin_outcome`], where nobody knows what it is called with.
fn unseen_outcome(name: &str) -> Outcome {
    let mut outcome = builtin_outcome(name);
    if builtin::runs_text(name) {
        outcome.effects = outcome.effects.union(Effects::UNNAMED_SETTINGS);
    }
    outcome
}

/// Every relation that the body names is known by its words: none is PostgreSQL's own or temporary, or written with
/// letters that are no ASCII.
fn names_all(words: &Words, index: &Index) -> bool {
    words.words.iter().all(|word| {
        let text = word.text.as_str();
        let own = text.starts_with("pg_") && text != "pg_catalog" && index.builtin(text).is_none();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !own && (text.starts_with('$') || text.bytes().all(plain))
    })
}

/// DO with a block of code; not that of ON CONFLICT.
fn runs_a_block(words: &Words) -> bool {
    words.words.iter().enumerate().any(|(at, word)| {
        let of_conflict = words
            .words
            .get(at + 1)
            .is_some_and(|next| !next.starts && matches!(next.text.as_str(), "nothing" | "update"));
        word.text == "do" && !of_conflict
    })
}

/// SELECT INTO makes a table in SQL functions; in PL/pgSQL it assigns.
fn selects_into(words: &Words) -> bool {
    words
        .words
        .windows(2)
        .any(|pair| pair[1].text == "into" && !matches!(pair[0].text.as_str(), "insert" | "merge"))
}

fn words_effects(words: &Words) -> Effects {
    let mut effects = Effects::NONE;
    let mut add = |yes: bool, effect: Effects| {
        if yes {
            effects = effects.union(effect);
        }
    };
    // SET LOCAL too: what comes after it in the same transaction meets it.
    add(
        words.begins("set") || words.begins("reset"),
        Effects::SETTINGS,
    );
    add(words.begins("discard"), Effects::ALL);
    add(
        words.begins("listen") || words.begins("unlisten"),
        Effects::LISTEN,
    );
    add(words.begins("load"), Effects::ALL);
    add(
        words.begins("prepare") || words.begins("deallocate"),
        Effects::PREPARED,
    );
    add(words.contains("hold"), Effects::CURSORS);
    add(
        words.contains("temp") || words.contains("temporary") || words.contains("pg_temp"),
        Effects::TEMPORARY,
    );
    add(
        words.contains("insert") || words.contains("merge"),
        Effects::SEQUENCE,
    );
    effects
}
