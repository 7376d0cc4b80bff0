//! Carrying out a command.

use std::io;
use std::sync::Arc;

use super::Console;
use super::command::{Command, EXPLAIN};
use super::driver::Courtesy;
use crate::admin::house::{CommandError, House, Role};
use crate::admin::show::Show;
use crate::admin::table::{Table, row};
use crate::wire::{ErrorReport, Severity, SqlState};

/// What a command has to say.
pub(super) struct Reply {
    pub notices: Vec<ErrorReport>,
    pub table: Option<Table>,
    pub tag: String,
}

impl Console<'_> {
    /// Carries out `command`; `None` if the client left meanwhile.
    ///
    /// # Errors
    /// The stream's. What goes wrong with the command is inside.
    pub(super) async fn run(
        &mut self,
        command: &Command,
    ) -> io::Result<Option<Result<Reply, ErrorReport>>> {
        if let Err(report) = self.permit(command) {
            return Ok(Some(Err(report)));
        }
        let reply = match command {
            Command::Help => done(command, vec![help()]),
            Command::Show(show) => table(command, show.table(&*self.house)),
            Command::Courtesy(courtesy) => self.oblige(command, *courtesy),
            Command::Explain { database, sql } => {
                let (house, user) = (Arc::clone(&self.house), self.visitor.user);
                let explained = house.explain(database.as_deref(), user, sql);
                match self.wait(explained).await? {
                    Some(Ok(text)) => table(command, lines(&text)),
                    Some(Err(error)) => return Ok(Some(Err(report(&error)))),
                    None => return Ok(None),
                }
            }
            _ => match self.change(command).await? {
                Some(Ok(notices)) => done(command, notices),
                Some(Err(error)) => return Ok(Some(Err(report(&error)))),
                None => return Ok(None),
            },
        };
        Ok(Some(Ok(reply)))
    }

    /// Asked anew for every command: a reload may have taken the role away.
    fn permit(&self, command: &Command) -> Result<(), ErrorReport> {
        let denied = |why| Err(ErrorReport::error(SqlState::INSUFFICIENT_PRIVILEGE, why));
        match self.house.role(self.visitor.user) {
            Some(Role::Admin) => Ok(()),
            Some(Role::Stats) if !command.changes() => Ok(()),
            Some(Role::Stats) => denied("admin access needed"),
            None => denied("not allowed"),
        }
    }

    fn oblige(&mut self, command: &Command, courtesy: Courtesy) -> Reply {
        self.status = courtesy.status().unwrap_or(self.status);
        match courtesy.columns() {
            Some(columns) => {
                let rows = courtesy.rows();
                table(command, Table { columns, rows })
            }
            None => done(command, Vec::new()),
        }
    }

    /// Waits for a command that may take its time, unless the client leaves or cancels it. Then only the
    /// waiting ends: PAUSE still holds.
    async fn change(
        &mut self,
        command: &Command,
    ) -> io::Result<Option<Result<Vec<ErrorReport>, CommandError>>> {
        tracing::info!(
            user = self.visitor.user,
            client = %self.connection.peer,
            command = command.tag(),
            "console command"
        );
        let house = Arc::clone(&self.house);
        self.wait(change(&*house, command)).await
    }

    /// `None` if the client left meanwhile.
    async fn wait<T>(
        &mut self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> io::Result<Option<Result<T, CommandError>>> {
        self.connection.flush().await?;
        let mut work = std::pin::pin!(work);
        loop {
            let room = self.connection.input.len() < super::FRAME_LEN_MAX;
            tokio::select! {
                result = &mut work => return Ok(Some(result)),
                () = self.visitor.cancelled.notified() => {
                    return Ok(Some(Err(CommandError::Cancelled)));
                }
                read = self.connection.fill(), if room => {
                    if read? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

async fn change(house: &dyn House, command: &Command) -> Result<Vec<ErrorReport>, CommandError> {
    if let Some((verb, name)) = command.database()
        && super::DATABASES.contains(&name)
    {
        let database = name.to_owned();
        return Err(CommandError::AdminDatabase { verb, database });
    }
    match command {
        Command::Pause(database) => house.pause(database.as_deref()).await?,
        Command::Resume(database) => house.resume(database.as_deref()).await?,
        Command::Suspend => house.suspend().await?,
        Command::Disable(database) => house.disable(database).await?,
        Command::Enable(database) => house.enable(database).await?,
        Command::WaitClose(database) => house.wait_close(database.as_deref()).await?,
        Command::Reconnect(database) => house.reconnect(database.as_deref()).await?,
        Command::Kill(database) => house.kill(database.as_deref()).await?,
        Command::KillClient(id) => house.kill_client(*id).await?,
        Command::Shutdown(mode) => house.shutdown(*mode).await?,
        Command::Set { key, value } => house.set(key, value).await?,
        Command::CacheFlush(what) => house.cache_flush(what.clone()).await?,
        Command::CacheEnable(shape) => house.cache_enable(shape.as_deref()).await?,
        Command::Reload => {
            let reloaded = house.reload().await?;
            return Ok(reloaded.needs_restart.into_iter().map(restart).collect());
        }
        Command::Help | Command::Show(_) | Command::Explain { .. } | Command::Courtesy(_) => (),
    }
    Ok(Vec::new())
}

fn done(command: &Command, notices: Vec<ErrorReport>) -> Reply {
    Reply {
        notices,
        table: None,
        tag: command.tag(),
    }
}

fn table(command: &Command, table: Table) -> Reply {
    Reply {
        notices: Vec::new(),
        table: Some(table),
        tag: command.tag(),
    }
}

fn lines(text: &str) -> Table {
    Table {
        columns: EXPLAIN,
        rows: text.lines().map(|line| row![line]).collect(),
    }
}

fn restart(key: String) -> ErrorReport {
    let message = format!("\"{key}\" has changed and takes effect after a restart");
    ErrorReport::new(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, message)
}

fn help() -> ErrorReport {
    let mut detail = String::from("\n\tSHOW HELP");
    for (index, show) in Show::ALL.iter().enumerate() {
        detail.push_str(if index % 8 == 7 { "\n\tSHOW " } else { "|" });
        detail.push_str(show.as_str());
    }
    detail.push_str(
        "\n\tSET key = arg\n\tRELOAD\n\tPAUSE [<db>]\n\tRESUME [<db>]\n\tDISABLE <db>\n\tENABLE <db>\
         \n\tRECONNECT [<db>]\n\tWAIT_CLOSE [<db>]\n\tKILL [<db>]\n\tKILL_CLIENT <id>\n\tSUSPEND\n\tSHUTDOWN [WAIT_FOR_CLIENTS|WAIT_FOR_SERVERS]\
         \n\tCACHE FLUSH [TABLE <table>|TAG <tag>|SHAPE <shape>]\
         \n\tCACHE ENABLE [SHAPE <shape>]\n\tEXPLAIN [ON <db>] <statement>",
    );
    let code = SqlState::SUCCESSFUL_COMPLETION;
    ErrorReport::new(Severity::Notice, code, "Console usage").with_detail(detail)
}

fn report(error: &CommandError) -> ErrorReport {
    let code = match error {
        CommandError::NoSuchDatabase(_) => SqlState::NO_SUCH_DATABASE,
        CommandError::NoSuchClient(_)
        | CommandError::UnknownKey { .. }
        | CommandError::NoSuchTable(_)
        | CommandError::NoSuchShape(_)
        | CommandError::ShapeNotOff(_) => SqlState::UNDEFINED_OBJECT,
        CommandError::AlreadyPaused
        | CommandError::NotPaused
        | CommandError::DatabaseNotPaused(_)
        | CommandError::DatabasesPaused
        | CommandError::AdminDatabase { .. } => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        CommandError::InvalidValue { .. } => SqlState::INVALID_PARAMETER_VALUE,
        CommandError::NeedsRestart(_) => SqlState::CANNOT_CHANGE_PARAMETER,
        CommandError::NotReloaded(_) => SqlState::CONFIG_FILE_ERROR,
        CommandError::Cancelled => SqlState::QUERY_CANCELED,
        CommandError::Failed(_) => SqlState::INTERNAL_ERROR,
    };
    let report = ErrorReport::error(code, error.to_string());
    match error {
        CommandError::UnknownKey {
            nearest: Some(nearest),
            ..
        } => report.with_hint(format!("Perhaps you meant \"{nearest}\".")),
        CommandError::Cancelled => {
            report.with_hint("What it began goes on: see SHOW STATE, and RESUME after PAUSE.")
        }
        _ => report,
    }
}
