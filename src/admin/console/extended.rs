//! Parse, Bind, Describe, Execute, Close.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::vec;

use super::command::Command;
use super::encode::{self, Formats};
use super::{Console, Next, report, utf8};
use crate::admin::table::{Cell, Column};
use crate::wire::{ErrorReport, Frame, SqlState, backend, frontend, tag};

/// More statements or portals than this are nobody's console session.
const NAMES_MAX: usize = 1000;

/// What Parse and Bind have left. `None` is an empty statement.
#[derive(Default)]
pub(super) struct Prepared {
    statements: HashMap<Box<[u8]>, Option<Arc<Command>>>,
    portals: HashMap<Box<[u8]>, Portal>,
}

struct Portal {
    command: Option<Arc<Command>>,
    formats: Formats,
    /// Rows that are still to be sent, and the tag after them, once it was executed.
    running: Option<Running>,
}

struct Running {
    columns: &'static [Column],
    rows: vec::IntoIter<Vec<Cell>>,
    tag: String,
}

impl Prepared {
    pub fn close_portals(&mut self) {
        self.portals.clear();
    }

    /// A Query takes the place of the unnamed statement and portal.
    pub fn close_unnamed(&mut self) {
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
    }

    fn statement(&self, name: &[u8]) -> Result<&Option<Arc<Command>>, ErrorReport> {
        self.statements.get(name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let what = format!("prepared statement \"{name}\" does not exist");
            ErrorReport::error(SqlState::INVALID_STATEMENT_NAME, what)
        })
    }

    fn portal(&mut self, name: &[u8]) -> Result<&mut Portal, ErrorReport> {
        self.portals.get_mut(name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let what = format!("portal \"{name}\" does not exist");
            ErrorReport::error(SqlState::INVALID_CURSOR_NAME, what)
        })
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), ErrorReport> {
        let parse = frontend::Parse::read(body).map_err(report)?;
        let mut commands = Command::parse_all(utf8(parse.sql)?)?;
        let command = match commands.len() {
            0 => None,
            1 => commands.pop().map(Arc::new),
            _ => {
                return Err(ErrorReport::error(
                    SqlState::SYNTAX_ERROR,
                    "cannot insert multiple commands into a prepared statement",
                ));
            }
        };
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            let what = format!("prepared statement \"{name}\" already exists");
            return Err(ErrorReport::error(SqlState::DUPLICATE_STATEMENT, what));
        }
        bound(self.statements.len())?;
        self.statements.insert(parse.name.into(), command);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), ErrorReport> {
        let bind = frontend::Bind::read(body).map_err(report)?;
        let command = self.statement(bind.statement)?.clone();
        if !bind.parameters.is_empty() {
            let what = format!(
                "bind message supplies {} parameters, but prepared statement requires 0",
                bind.parameters.len()
            );
            return Err(ErrorReport::error(SqlState::PROTOCOL_VIOLATION, what));
        }
        let columns = command.as_ref().and_then(|command| command.columns());
        let formats = Formats::new(&bind.result_formats, columns.map_or(0, <[_]>::len))?;
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            let name = String::from_utf8_lossy(bind.portal);
            let what = format!("cursor \"{name}\" already exists");
            return Err(ErrorReport::error(SqlState::DUPLICATE_CURSOR, what));
        }
        bound(self.portals.len())?;
        let portal = Portal {
            command,
            formats,
            running: None,
        };
        self.portals.insert(bind.portal.into(), portal);
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Result<(), ErrorReport> {
        let close = frontend::Close::read(body).map_err(report)?;
        match close.target {
            frontend::Target::Statement => drop(self.statements.remove(close.name)),
            frontend::Target::Portal => drop(self.portals.remove(close.name)),
        }
        Ok(())
    }
}

fn bound(count: usize) -> Result<(), ErrorReport> {
    if count < NAMES_MAX {
        return Ok(());
    }
    Err(ErrorReport::error(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        "too many prepared statements on the console",
    ))
}

impl Console<'_> {
    pub(super) async fn extended(&mut self, frame: &Frame) -> io::Result<Next> {
        use tag::frontend as from_client;
        let body = frame.body();
        let result = match frame.tag() {
            from_client::PARSE => self.prepared.parse(body).map(|()| {
                backend::parse_complete(&mut self.connection.output);
            }),
            from_client::BIND => self.prepared.bind(body).map(|()| {
                backend::bind_complete(&mut self.connection.output);
            }),
            from_client::CLOSE => self.prepared.close(body).map(|()| {
                backend::close_complete(&mut self.connection.output);
            }),
            from_client::DESCRIBE => self.describe(body),
            from_client::EXECUTE => match self.execute(body).await? {
                Some(result) => result,
                None => return Ok(Next::Close),
            },
            unknown => {
                let what = format!("invalid frontend message type {unknown}");
                let report = ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, what);
                backend::error(&mut self.connection.output, &report);
                return Ok(Next::Close);
            }
        };
        if let Err(report) = result {
            backend::error(&mut self.connection.output, &report);
            self.skipping = true;
        }
        Ok(Next::Continue)
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), ErrorReport> {
        let describe = frontend::Describe::read(body).map_err(report)?;
        let out = &mut self.connection.output;
        let (command, formats) = match describe.target {
            frontend::Target::Statement => {
                let command = self.prepared.statement(describe.name)?.clone();
                encode::no_parameters(out);
                (command, Formats::default())
            }
            frontend::Target::Portal => {
                let portal = self.prepared.portal(describe.name)?;
                (portal.command.clone(), portal.formats.clone())
            }
        };
        match command.as_ref().and_then(|command| command.columns()) {
            Some(columns) => encode::description(out, columns, &formats),
            None => backend::no_data(out),
        }
        Ok(())
    }

    /// `None` if the client left meanwhile.
    async fn execute(&mut self, body: &[u8]) -> io::Result<Option<Result<(), ErrorReport>>> {
        let execute = match frontend::Execute::read(body) {
            Ok(execute) => execute,
            Err(error) => return Ok(Some(Err(report(error)))),
        };
        let command = match self.prepared.portal(execute.portal) {
            Err(report) => return Ok(Some(Err(report))),
            Ok(portal) if portal.running.is_some() => None,
            Ok(portal) => match &portal.command {
                Some(command) => Some(Arc::clone(command)),
                None => {
                    backend::empty_query(&mut self.connection.output);
                    return Ok(Some(Ok(())));
                }
            },
        };
        if let Some(command) = command {
            let reply = match self.run(&command).await? {
                Some(Ok(reply)) => reply,
                Some(Err(report)) => return Ok(Some(Err(report))),
                None => return Ok(None),
            };
            for notice in &reply.notices {
                backend::notice(&mut self.connection.output, notice);
            }
            let running = Running {
                columns: reply.table.as_ref().map_or(&[], |table| table.columns),
                rows: reply
                    .table
                    .map_or(Vec::new(), |table| table.rows)
                    .into_iter(),
                tag: reply.tag,
            };
            if let Ok(portal) = self.prepared.portal(execute.portal) {
                portal.running = Some(running);
            }
        }
        Ok(Some(self.send_rows(execute.portal, execute.max_rows)))
    }

    /// At most `max_rows` of what a portal still has; zero or less is all.
    fn send_rows(&mut self, portal: &[u8], max_rows: i32) -> Result<(), ErrorReport> {
        let portal = self.prepared.portal(portal)?;
        let out = &mut self.connection.output;
        let Some(running) = &mut portal.running else {
            return Ok(());
        };
        let limit = usize::try_from(max_rows).ok().filter(|&limit| limit > 0);
        for row in running.rows.by_ref().take(limit.unwrap_or(usize::MAX)) {
            encode::data_row(out, running.columns, &row, &portal.formats);
        }
        if running.rows.len() > 0 {
            backend::portal_suspended(out);
        } else {
            backend::command_complete(out, &running.tag);
        }
        Ok(())
    }
}
