//! The server process as a part of what a session sees: which past it may have, and when a statement runs anew in
//! a process that has served nobody.

use std::cell::Cell;
use std::collections::BTreeSet;

use bytes::BytesMut;

use super::Session;
use super::analysis::Analysis;
use super::forward::Work;
use super::state::Pin;
use crate::sql::{Facts, FunctionUse, Kind, is_custom_name};
use crate::upstream::{Lease, Past};
use crate::wire::{self, TransactionStatus, frontend, tag};

/// SQLSTATE of a name that nobody may set: where a library has reserved its prefix, and so where one is loaded.
pub(super) const INVALID_NAME: [u8; 5] = *b"42602";

/// It cannot be changed any more where temporary tables have been used.
const TEMP_BUFFERS: &str = "temp_buffers";

/// What a process would have been through, had it served this session alone.
#[derive(Debug, Default)]
pub(super) struct OwnPast {
    /// Something was run that the statistics count.
    pub counted: bool,
    /// Something was run that may have loaded a library.
    pub may_have_loaded: bool,
    pub temporary_schema: bool,
    /// Custom settings that it had for a transaction: from then on they are empty, or have their defaults.
    pub heard: BTreeSet<String>,
    /// Custom settings that are empty where nobody has set them, by the server's own files.
    pub empty_anyway: BTreeSet<String>,
    /// A process of its own did not help before.
    in_vain: bool,
}

impl Session {
    /// What the process that runs the unit may have been through, as far as the texts tell.
    pub(super) fn wanted_past(&self, work: &Work<'_>) -> Past {
        if self.lease.is_some() {
            return Past::Anything;
        }
        let sized = self.settings.get(TEMP_BUFFERS).is_some();
        let sizes = |facts: &Facts| {
            matches!(&facts.kind, Kind::Set { name, .. } if name == TEMP_BUFFERS)
                || facts.functions.iter().any(|function| {
                    function.name.name == "set_config"
                        && function.first_text() == Some(TEMP_BUFFERS)
                })
        };
        if sized || self.any_statement(work, |analysis| analysis.statements.iter().any(sizes)) {
            return Past::NoTemporarySchema;
        }
        let wanted = Cell::new(Past::Anything);
        self.any_statement(work, |analysis| {
            if drops_temporary(analysis) && !self.own_past.temporary_schema {
                wanted.set(Past::NoTemporarySchema);
            }
            for function in analysis
                .statements
                .iter()
                .flat_map(|facts| &facts.functions)
            {
                let past = self.past_for(function);
                wanted.set(wanted.get().max(past));
            }
            false
        });
        match wanted.get() {
            // It would get another number than it was told.
            Past::NoTemporarySchema if self.preference.is_some() => Past::Anything,
            past => past,
        }
    }

    fn past_for(&self, function: &FunctionUse) -> Past {
        match function.name.name.as_str() {
            "pg_stat_force_next_flush" if !self.own_past.counted => Past::Nothing,
            _ if self.own_past.temporary_schema => Past::Anything,
            "pg_my_temp_schema" | "pg_is_other_temp_schema" => Past::NoTemporarySchema,
            // Without those that are searched implicitly it shows the path alone.
            "current_schemas" if function.first_boolean() != Some(false) => Past::NoTemporarySchema,
            "current_schema" | "current_schemas" if self.names_temporary_schema() => {
                Past::NoTemporarySchema
            }
            _ => Past::Anything,
        }
    }

    /// Asking for the current schema makes the temporary one.
    pub(super) fn makes_temporary_schema(&self, facts: &Facts) -> bool {
        self.names_temporary_schema()
            && facts
                .functions
                .iter()
                .any(|function| function.name.name.starts_with("current_schema"))
    }

    fn names_temporary_schema(&self) -> bool {
        let path = &self.scope.names.search_path;
        path.iter().any(|schema| schema == "pg_temp")
    }

    /// Notes what a statement adds to the past that its session's own process would have.
    pub(super) fn note_past(&mut self, facts: &Facts) {
        self.own_past.counted |= !matches!(
            facts.kind,
            Kind::Empty
                | Kind::Begin { .. }
                | Kind::Commit { .. }
                | Kind::Rollback { .. }
                | Kind::Set { .. }
                | Kind::Reset { .. }
                | Kind::SetTransaction
                | Kind::Show { .. }
        );
    }

    /// Whether the unit may run again if it fails with [`INVALID_NAME`]: it sets one custom setting and does nothing
    /// else, the process has served others, and they, not this session, may have loaded the library.
    /// `lease` was taken for it.
    pub(super) fn may_run_again(&self, work: &Work<'_>, lease: &Lease) -> bool {
        self.tx.status == TransactionStatus::Idle
            && self.tx.unsent_begin.is_none()
            && !lease.is_first()
            && !self.own_past.may_have_loaded
            && !self.own_past.in_vain
            && match work {
                Work::Query { analysis, .. } => sets_custom_setting(analysis),
                Work::FunctionCall(_) | Work::Extended { open: true, .. } => false,
                Work::Extended { frames, .. } => {
                    let count = |tag| frames.iter().filter(|frame| frame.tag() == tag).count();
                    count(tag::frontend::EXECUTE) == 1
                        && count(tag::frontend::BIND) == 1
                        && frames.iter().all(|frame| match frame.tag() {
                            tag::frontend::PARSE => {
                                frontend::Parse::read(frame.body()).is_ok_and(|parse| {
                                    let types = &parse.parameter_types;
                                    sets_custom_setting(&self.intern(parse.sql, types).analysis)
                                })
                            }
                            tag::frontend::BIND => self.binds_only_a_setting(frame, frames),
                            tag::frontend::DESCRIBE
                            | tag::frontend::EXECUTE
                            | tag::frontend::SYNC => true,
                            _ => false,
                        })
                }
            }
    }

    /// Of a statement that the unit itself prepares, or an earlier one.
    fn binds_only_a_setting(&self, bind: &wire::Frame, frames: &[wire::Frame]) -> bool {
        let parsed = |frame: &wire::Frame| frame.tag() == tag::frontend::PARSE;
        frames.iter().any(parsed)
            || frontend::Bind::read(bind.body()).is_ok_and(|bind| {
                self.statements
                    .get(bind.statement)
                    .is_some_and(|statement| sets_custom_setting(&statement.analysis))
            })
    }

    /// The session keeps the process that it has now.
    pub(super) fn keep_process(&mut self) {
        self.pins.insert(Pin::OwnProcess);
    }

    /// The process that was taken anew did not help: it need not be kept, nor tried again.
    pub(super) fn give_up_process(&mut self) {
        self.pins.remove(&Pin::OwnProcess);
        self.own_past.in_vain = true;
    }
}

fn sets_custom_setting(analysis: &Analysis) -> bool {
    let Some(facts) = analysis.single() else {
        return false;
    };
    match (&facts.kind, &facts.functions[..]) {
        (Kind::Set { name, local: false }, _) => is_custom_name(name),
        (Kind::Select, [function]) if facts.complete && facts.relations.is_empty() => {
            function.name.name == "set_config" && function.first_text().is_some_and(is_custom_name)
        }
        _ => false,
    }
}

/// Takes back what the client was to see of a unit since `from`, but for what came between by chance.
pub(super) fn take_back(output: &mut BytesMut, from: usize) {
    let mut replies = output.split_off(from.min(output.len()));
    while let Ok(Some(header)) = wire::frame_header(&replies)
        && header.frame_len <= replies.len()
    {
        let frame = replies.split_to(header.frame_len);
        if matches!(
            header.tag,
            tag::backend::PARAMETER_STATUS | tag::backend::NOTIFICATION
        ) {
            output.extend_from_slice(&frame);
        }
    }
}

/// DROP TABLE pg_temp.x: where there is no such schema, the server says that, and not that it holds no such thing.
fn drops_temporary(analysis: &Analysis) -> bool {
    let holds = |word: &[u8]| {
        let mut windows = analysis.key_text.windows(word.len());
        windows.any(|bytes| bytes.eq_ignore_ascii_case(word))
    };
    analysis
        .statements
        .iter()
        .any(|facts| facts.kind == Kind::Ddl)
        && holds(b"drop")
        && holds(b"pg_temp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::backend;

    #[test]
    fn only_replies_are_taken_back() {
        let mut output = BytesMut::from(&b"before"[..]);
        backend::command_complete(&mut output, "SET");
        backend::parameter_status_message(&mut output, b"a", b"b");
        backend::command_complete(&mut output, "SET");
        let mut left = BytesMut::from(&b"before"[..]);
        backend::parameter_status_message(&mut left, b"a", b"b");
        take_back(&mut output, 6);
        assert_eq!(output, left);
    }
}
