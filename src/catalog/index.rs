//! The picture's rows by oid, by name, and by what refers to what.

use std::collections::{HashMap, HashSet};

use super::RelationOid;
use super::builtin;
use super::picture::{
    Builtin, ForeignKey, Function, FunctionOid, Owner, Picture, Referred, Relation, Schema,
    TypeKind, TypeOid, UserType,
};

/// What a word in a function's body may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Function(FunctionOid),
    Relation(RelationOid),
    Type(TypeOid),
}

/// A picture with its indexes. All plain names are exact; only [`Index::named`] folds case.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub picture: Picture,
    relations: HashMap<RelationOid, usize>,
    relation_names: HashMap<String, Vec<usize>>,
    functions: HashMap<FunctionOid, usize>,
    function_names: HashMap<String, Vec<usize>>,
    row_functions: HashSet<String>,
    builtins: HashMap<String, usize>,
    operators: HashMap<String, Vec<FunctionOid>>,
    operator_functions: HashMap<u32, FunctionOid>,
    types: HashMap<TypeOid, usize>,
    type_names: HashMap<String, Vec<usize>>,
    builtin_types: HashSet<String>,
    schemas: HashMap<String, usize>,
    children: HashMap<RelationOid, Vec<RelationOid>>,
    parents: HashMap<RelationOid, Vec<RelationOid>>,
    references_to: HashMap<RelationOid, Vec<ForeignKey>>,
    triggers: HashMap<RelationOid, Vec<FunctionOid>>,
    early_triggers: HashSet<RelationOid>,
    rules: HashSet<RelationOid>,
    references: HashMap<Owner, Vec<Referred>>,
    words: HashMap<String, Vec<Named>>,
    odd: Vec<(String, Named)>,
}

impl Index {
    pub(crate) fn new(picture: Picture) -> Self {
        let mut index = Index::default();
        for (i, relation) in picture.relations.iter().enumerate() {
            index.relations.insert(relation.oid, i);
            push(&mut index.relation_names, relation.name.clone(), i);
            if !relation.is_system() {
                index.word(&relation.name, Named::Relation(relation.oid));
            }
        }
        for (i, function) in picture.functions.iter().enumerate() {
            index.functions.insert(function.oid, i);
            push(&mut index.function_names, function.name.clone(), i);
            index.word(&function.name, Named::Function(function.oid));
            if function.takes_row {
                index.row_functions.insert(function.name.clone());
            }
        }
        for (i, user_type) in picture.types.iter().enumerate() {
            index.types.insert(user_type.oid, i);
            push(&mut index.type_names, user_type.name.clone(), i);
            index.word(&user_type.name, Named::Type(user_type.oid));
        }
        for operator in &picture.operators {
            push(
                &mut index.operators,
                operator.name.clone(),
                operator.function,
            );
            index
                .operator_functions
                .insert(operator.oid, operator.function);
        }
        for &(child, parent) in &picture.inheritance {
            push(&mut index.children, parent, child);
            push(&mut index.parents, child, parent);
        }
        for key in &picture.foreign_keys {
            push(&mut index.references_to, key.referenced, key.clone());
        }
        for trigger in &picture.triggers {
            push(&mut index.triggers, trigger.relation, trigger.function);
            if trigger.early {
                index.early_triggers.insert(trigger.relation);
            }
        }
        for reference in &picture.references {
            push(&mut index.references, reference.owner, reference.target);
        }
        index.rules = picture.rules.iter().copied().collect();
        index.builtins = by_name(picture.builtins.iter().map(|b| &b.name));
        index.schemas = by_name(picture.schemas.iter().map(|s| &s.name));
        index.builtin_types = picture.builtin_types.iter().cloned().collect();
        index.picture = picture;
        index
    }

    fn word(&mut self, name: &str, named: Named) {
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            push(&mut self.words, name.to_ascii_lowercase(), named);
        } else {
            self.odd.push((name.to_owned(), named));
        }
    }

    pub(crate) fn relation(&self, oid: RelationOid) -> Option<&Relation> {
        self.relations
            .get(&oid)
            .map(|&i| &self.picture.relations[i])
    }

    pub(crate) fn relations_called(&self, name: &str) -> impl Iterator<Item = &Relation> {
        let places = self.relation_names.get(name).map_or(&[][..], Vec::as_slice);
        places.iter().map(|&i| &self.picture.relations[i])
    }

    pub(crate) fn functions_called(&self, name: &str) -> impl Iterator<Item = &Function> {
        let places = self.function_names.get(name).map_or(&[][..], Vec::as_slice);
        places.iter().map(|&i| &self.picture.functions[i])
    }

    pub(crate) fn function(&self, oid: FunctionOid) -> Option<&Function> {
        self.functions
            .get(&oid)
            .map(|&i| &self.picture.functions[i])
    }

    pub(crate) fn function_place(&self, oid: FunctionOid) -> Option<usize> {
        self.functions.get(&oid).copied()
    }

    /// See [`super::REFINT`].
    pub(crate) fn is_refint(&self, oid: FunctionOid) -> bool {
        self.function_place(oid).is_some_and(|place| {
            let function = &self.picture.functions[place];
            function.language == "c" && super::REFINT.contains(&function.body.as_str())
        })
    }

    /// Places in `picture.functions`; functions that are not in the picture are left out.
    pub(crate) fn places(&self, functions: impl IntoIterator<Item = FunctionOid>) -> Vec<usize> {
        functions
            .into_iter()
            .filter_map(|oid| self.function_place(oid))
            .collect()
    }

    pub(crate) fn builtin(&self, name: &str) -> Option<&Builtin> {
        self.builtins.get(name).map(|&i| &self.picture.builtins[i])
    }

    /// `row.name` would call a user's function of that name.
    pub(crate) fn is_row_function(&self, name: &str) -> bool {
        self.row_functions.contains(name)
    }

    /// The functions of the users' operators of that name.
    pub(crate) fn operator_functions(&self, name: &str) -> &[FunctionOid] {
        self.operators.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn user_type(&self, oid: TypeOid) -> Option<&UserType> {
        self.types.get(&oid).map(|&i| &self.picture.types[i])
    }

    pub(crate) fn types_called(&self, name: &str) -> impl Iterator<Item = &UserType> {
        let places = self.type_names.get(name).map_or(&[][..], Vec::as_slice);
        places.iter().map(|&i| &self.picture.types[i])
    }

    pub(crate) fn is_builtin_type(&self, name: &str) -> bool {
        self.builtin_types.contains(name)
    }

    pub(crate) fn schema(&self, name: &str) -> Option<&Schema> {
        self.schemas.get(name).map(|&i| &self.picture.schemas[i])
    }

    pub(crate) fn parents(&self, oid: RelationOid) -> &[RelationOid] {
        self.parents.get(&oid).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn children(&self, oid: RelationOid) -> &[RelationOid] {
        self.children.get(&oid).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn foreign_keys_to(&self, oid: RelationOid) -> &[ForeignKey] {
        self.references_to.get(&oid).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn triggers(&self, oid: RelationOid) -> &[FunctionOid] {
        self.triggers.get(&oid).map_or(&[], Vec::as_slice)
    }

    /// Triggers of users that run before the row is stored.
    pub(crate) fn has_early_triggers(&self, oid: RelationOid) -> bool {
        self.early_triggers.contains(&oid)
    }

    pub(crate) fn has_rules(&self, oid: RelationOid) -> bool {
        self.rules.contains(&oid)
    }

    pub(crate) fn references(&self, owner: Owner) -> &[Referred] {
        self.references.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// The relation and all that inherit from it, itself first.
    pub(crate) fn family(&self, oid: RelationOid) -> Vec<RelationOid> {
        reach(oid, |at| self.children(at))
    }

    /// The relation and all that it inherits from, itself first.
    pub(crate) fn ancestry(&self, oid: RelationOid) -> Vec<RelationOid> {
        reach(oid, |at| self.parents(at))
    }

    /// What a word of a body, in lower case, may mean.
    pub(crate) fn named(&self, word: &str) -> impl Iterator<Item = Named> {
        self.words
            .get(word)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .copied()
    }

    /// It is a view of `pg_settings`, through which settings can be set.
    pub(crate) fn shows_settings(&self, oid: RelationOid) -> bool {
        let read = self.reading_closure(oid).into_iter();
        let mut definitions = read.filter_map(|oid| self.relation(oid)?.definition.as_deref());
        definitions.any(|definition| definition.contains("pg_settings"))
    }

    /// What names that are no single word may be meant in `body`.
    pub(crate) fn odd_names_in(&self, body: &str) -> impl Iterator<Item = Named> {
        let body = body.to_lowercase();
        let named = self.odd.iter().filter(move |(name, _)| {
            // A quote in a name is doubled in code, so its parts are what can be found.
            let name = name.to_lowercase();
            name.split('"').all(|part| body.contains(part))
        });
        named.map(|&(_, named)| named)
    }

    pub(crate) fn functions_behind(&self, target: Referred) -> Vec<FunctionOid> {
        match target {
            Referred::Function(oid) => vec![oid],
            Referred::Operator(oid) => self
                .operator_functions
                .get(&oid)
                .copied()
                .into_iter()
                .collect(),
            Referred::Type(oid) => self.type_functions(oid),
            Referred::Relation(oid) => self.functions_run_by_reading(oid),
            Referred::OperatorClass => Vec::new(),
        }
    }

    /// The users' functions that reading the relation runs: those of a view's query and of policies.
    pub(crate) fn functions_run_by_reading(&self, oid: RelationOid) -> Vec<FunctionOid> {
        let mut functions = Vec::new();
        for relation in self.reading_closure(oid) {
            let owners = [Owner::View(relation), Owner::Policy(relation)];
            for &target in owners.iter().flat_map(|&owner| self.references(owner)) {
                if !matches!(target, Referred::Relation(_)) {
                    functions.extend(self.functions_behind(target));
                }
            }
        }
        functions
    }

    /// The relation, its descendants, and what their views and policies read.
    pub(crate) fn reading_closure(&self, oid: RelationOid) -> Vec<RelationOid> {
        let mut seen = HashSet::from([oid]);
        let mut order = vec![oid];
        let mut next = 0;
        while let Some(&relation) = order.get(next) {
            next += 1;
            let owners = [Owner::View(relation), Owner::Policy(relation)];
            let read = owners
                .iter()
                .flat_map(|&owner| self.references(owner))
                .filter_map(|t| match t {
                    Referred::Relation(oid) => Some(*oid),
                    _ => None,
                });
            for found in read.chain(self.children(relation).iter().copied()) {
                if seen.insert(found) {
                    order.push(found);
                }
            }
        }
        order
    }

    /// The users' functions that storing into the relation's columns runs by their types.
    pub(crate) fn column_functions(&self, oid: RelationOid) -> Vec<FunctionOid> {
        let columns = self.relation(oid).map_or(&[][..], |r| &r.columns);
        columns
            .iter()
            .flat_map(|column| self.type_functions(column.type_oid))
            .collect()
    }

    /// The users' functions that a type runs: input, output, checks, those of its parts.
    pub(crate) fn type_functions(&self, oid: TypeOid) -> Vec<FunctionOid> {
        let mut functions = Vec::new();
        for part in self.type_parts(oid) {
            for &target in self.references(Owner::Type(part)) {
                match target {
                    Referred::Function(function) => functions.push(function),
                    Referred::Operator(operator) => {
                        functions.extend(self.operator_functions.get(&operator))
                    }
                    Referred::Relation(_) | Referred::Type(_) | Referred::OperatorClass => {}
                }
            }
        }
        functions
    }

    /// The type and all types that it is made of, itself first; PostgreSQL's own among them.
    pub(crate) fn type_parts(&self, oid: TypeOid) -> Vec<TypeOid> {
        let mut order = vec![oid];
        let mut next = 0;
        while let Some(&part) = order.get(next) {
            next += 1;
            let Some(user_type) = self.user_type(part) else {
                continue;
            };
            let mut found = vec![user_type.base];
            for target in self.references(Owner::Type(part)) {
                if let Referred::Type(used) = target {
                    found.push(*used);
                }
            }
            if user_type.kind == TypeKind::Composite
                && let Some(relation) = self.relation(user_type.relation)
            {
                found.extend(relation.columns.iter().map(|c| c.type_oid));
            }
            for oid in found {
                if oid != 0 && !order.contains(&oid) {
                    order.push(oid);
                }
            }
        }
        order
    }

    /// A value of the type may be written out in another way though it has not changed.
    pub(crate) fn is_unsafe_type(&self, oid: TypeOid) -> bool {
        self.type_parts(oid).into_iter().any(|part| {
            builtin::is_unsafe_type_oid(part)
                || self.picture.ordered_by_users.contains(&part)
                || match self.user_type(part) {
                    Some(user_type) => !user_type.plain_io || user_type.kind == TypeKind::Other,
                    None => part >= super::picture::FIRST_USER_OID,
                }
        })
    }

    /// A value of the type holds dates or times.
    pub(crate) fn is_datetime(&self, oid: TypeOid) -> bool {
        self.type_parts(oid)
            .into_iter()
            .any(builtin::is_datetime_oid)
    }
}

fn push<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, Vec<V>>, key: K, value: V) {
    map.entry(key).or_default().push(value);
}

fn by_name<'a>(names: impl Iterator<Item = &'a String>) -> HashMap<String, usize> {
    names
        .enumerate()
        .map(|(i, name)| (name.clone(), i))
        .collect()
}

fn reach<'a>(
    from: RelationOid,
    next: impl Fn(RelationOid) -> &'a [RelationOid],
) -> Vec<RelationOid> {
    let mut seen = HashSet::from([from]);
    let mut order = vec![from];
    let mut at = 0;
    while let Some(&oid) = order.get(at) {
        at += 1;
        order.extend(
            next(oid)
                .iter()
                .copied()
                .filter(|&found| seen.insert(found)),
        );
    }
    order
}
