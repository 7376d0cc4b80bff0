//! The unnamed portal after an answer of our own: inside a transaction block it outlives its unit,
//! and the client may ask for it again, where the server has none or an older one.

use bytes::{Bytes, BytesMut};

use super::Session;
use super::added::AddedRows;
use super::exchange::Exchange;
use super::expect::Expect;
use super::statements::Statement;
use crate::sql::Kind;
use crate::wire::{ErrorReport, Frame, SqlState, TransactionStatus, backend, frontend};

/// Whose the client's unnamed portal is.
#[derive(Debug, Default)]
pub(super) enum UnnamedPortal {
    /// The server's, if there is one.
    #[default]
    Upstream,
    /// There is none; the server may have an older one.
    Gone,
    /// One that was run to its end here; the server may have an older one.
    Finished(Finished),
    /// The server's, with more behind its statement than the client knows of; it is yet to be executed.
    Added(AddedRows),
}

/// What a portal that was run to its end can still say.
#[derive(Debug)]
pub(super) enum Finished {
    Rows {
        /// As the answer had it.
        description: Option<Bytes>,
        /// Of the statement, and its Bind, from which a description can be made.
        described: Option<Bytes>,
        bind: Frame,
    },
    /// BEGIN, COMMIT and their like: they cannot be run twice.
    Command,
    /// There was no statement in it.
    Empty,
}

impl Session {
    /// What is left of the portal when a unit was answered here.
    pub(super) fn finished(
        &self,
        statement: &std::sync::Arc<Statement>,
        bind: &Frame,
        description: Option<Bytes>,
    ) -> Finished {
        match statement.analysis.kind() {
            Some(Kind::Empty) => Finished::Empty,
            Some(Kind::Begin { .. } | Kind::Commit { .. } | Kind::Rollback { .. }) => {
                Finished::Command
            }
            _ => Finished::Rows {
                described: match description {
                    Some(_) => None,
                    None => self.description(statement).map(|known| known.row.clone()),
                },
                description,
                bind: bind.clone(),
            },
        }
    }

    /// Answers Execute of the unnamed portal, where the server would answer for another; false if it is the server's.
    pub(super) fn execute_unnamed(&mut self, exchange: &mut Exchange) -> bool {
        let mut out = BytesMut::new();
        match &self.unnamed_portal {
            UnnamedPortal::Upstream | UnnamedPortal::Added(_) => return false,
            UnnamedPortal::Gone => exchange.fail(&no_portal(EXECUTE)),
            UnnamedPortal::Finished(Finished::Empty) => backend::empty_query(&mut out),
            UnnamedPortal::Finished(_) if self.tx.status == TransactionStatus::Failed => {
                exchange.fail(&super::forward::aborted(EXECUTE));
            }
            UnnamedPortal::Finished(Finished::Command) => {
                let message = "portal \"\" cannot be run";
                let code = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
                let report = ErrorReport::error(code, message);
                exchange.fail(&report.in_routine("MarkPortalActive"));
            }
            UnnamedPortal::Finished(Finished::Rows { .. }) => {
                backend::command_complete(&mut out, "SELECT 0");
            }
        }
        self.executes_sent += 1;
        give(out, exchange);
        true
    }

    /// Likewise Describe.
    pub(super) fn describe_unnamed(&mut self, exchange: &mut Exchange) -> bool {
        let mut out = BytesMut::new();
        match &self.unnamed_portal {
            UnnamedPortal::Added(_) if self.tx.status == TransactionStatus::Failed => {
                backend::no_data(&mut out);
            }
            UnnamedPortal::Upstream | UnnamedPortal::Added(_) => return false,
            UnnamedPortal::Gone => exchange.fail(&no_portal(DESCRIBE)),
            UnnamedPortal::Finished(Finished::Command | Finished::Empty) => {
                backend::no_data(&mut out);
            }
            UnnamedPortal::Finished(Finished::Rows { .. })
                if self.tx.status == TransactionStatus::Failed =>
            {
                exchange.fail(&super::forward::aborted(DESCRIBE));
            }
            UnnamedPortal::Finished(Finished::Rows {
                description,
                described,
                bind,
            }) => {
                let made = || with_formats(described.as_ref()?, bind);
                match description.clone().or_else(made) {
                    Some(description) => out.extend_from_slice(&description),
                    None => exchange.fail(
                        &ErrorReport::error(
                            SqlState::FEATURE_NOT_SUPPORTED,
                            "a portal that was answered from the cache cannot be described any more",
                        )
                        .with_hint("Describe it in the unit that binds it."),
                    ),
                }
            }
        }
        give(out, exchange);
        true
    }

    /// An answer of our own has taken its place and ended; the server does not know.
    pub(super) fn lose_unnamed(&mut self) {
        if self.tx.status != TransactionStatus::Idle {
            self.portals.remove(&b""[..]);
            self.unnamed_portal = UnnamedPortal::Gone;
        }
    }

    /// It was bound and run to its end here.
    pub(super) fn keep_unnamed(&mut self, finished: Finished) {
        if self.tx.status != TransactionStatus::Idle {
            self.portals.remove(&b""[..]);
            self.unnamed_portal = UnnamedPortal::Finished(finished);
        }
    }

    /// A Query is sent, which with a statement in it ends the server's.
    pub(super) fn replace_unnamed(&mut self, kind: Option<&Kind>) {
        if kind != Some(&Kind::Empty) {
            self.unnamed_portal = UnnamedPortal::Upstream;
        }
    }

    /// What ends a part of a transaction is sent: a portal that only we know does not outlive it.
    pub(super) fn end_unnamed(&mut self, kind: Option<&Kind>) {
        let ends = matches!(
            kind,
            Some(
                Kind::Commit { .. }
                    | Kind::Rollback { .. }
                    | Kind::RollbackTo
                    | Kind::PrepareTransaction { .. }
            )
        );
        if ends && matches!(self.unnamed_portal, UnnamedPortal::Finished(_)) {
            self.unnamed_portal = UnnamedPortal::Gone;
        }
    }

    /// The transaction is over.
    pub(super) fn forget_portals(&mut self) {
        self.portals.clear();
        self.unnamed_portal = UnnamedPortal::Upstream;
    }
}

fn give(bytes: BytesMut, exchange: &mut Exchange) {
    if !bytes.is_empty() {
        exchange.expects.push_back(Expect::Given {
            bytes: bytes.freeze(),
            change: None,
        });
    }
}

/// PostgreSQL's functions.
const EXECUTE: &str = "exec_execute_message";
const DESCRIBE: &str = "exec_describe_portal_message";

fn no_portal(routine: &'static str) -> ErrorReport {
    ErrorReport::error(SqlState::INVALID_CURSOR_NAME, "portal \"\" does not exist")
        .in_routine(routine)
}

/// The RowDescription of a statement as that of a portal which `bind` made.
fn with_formats(description: &[u8], bind: &Frame) -> Option<Bytes> {
    const TYPE_BYTES: usize = 18;
    let bind = frontend::Bind::read(bind.body()).ok()?;
    let formats = &bind.result_formats;
    let mut frame = BytesMut::from(description);
    let mut at = 7;
    let mut column = 0;
    while at < frame.len() {
        at += memchr::memchr(0, frame.get(at..)?)? + 1 + TYPE_BYTES;
        let format = match &formats[..] {
            [] => 0,
            [all] => *all,
            each => *each.get(column)?,
        };
        frame
            .get_mut(at - 2..at)?
            .copy_from_slice(&format.to_be_bytes());
        column += 1;
    }
    Some(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::take_frame;

    #[test]
    fn a_portal_is_described_with_its_own_formats() {
        let columns = ["a", "bb"].map(|name| backend::Column {
            name,
            type_oid: 23,
            type_len: 4,
        });
        let mut description = BytesMut::new();
        backend::row_description_message(&mut description, &columns);
        let formats_of = |tail: &[u8]| {
            let mut buf = BytesMut::new();
            frontend::bind_raw(&mut buf, b"", b"", &[&[0, 0, 0, 0], tail].concat());
            let bind = take_frame(&mut buf, 1000).unwrap().unwrap();
            let made = with_formats(&description, &bind)?;
            let columns = backend::row_description(&made[5..]).unwrap();
            Some(
                columns
                    .iter()
                    .map(|column| column.format)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(formats_of(&[0, 0]), Some(vec![0, 0]));
        assert_eq!(formats_of(&[0, 1, 0, 1]), Some(vec![1, 1]));
        assert_eq!(formats_of(&[0, 2, 0, 0, 0, 1]), Some(vec![0, 1]));
        assert_eq!(formats_of(&[0, 3, 0, 0, 0, 1, 0, 1]), Some(vec![0, 1]));
    }
}
