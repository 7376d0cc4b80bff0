//! The command line: arguments → configuration source → one command.
//!
//! Exit codes: 0 done, 1 failed (with the reason on standard error), 2 wrong usage.

mod drain;
mod explain;
mod health;
mod http;
mod import;
mod ini;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Source};

/// A sidecar for PostgreSQL that pools connections and answers repeated reads from memory.
///
/// To try it: `pgditto --upstream postgres://user:password@host:5432/db`, and point the application at
/// 127.0.0.1:6432 instead of the server.
#[derive(Parser)]
#[command(name = "pgditto", version, arg_required_else_help = false)]
struct Cli {
    #[command(flatten)]
    source: SourceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
#[command(next_help_heading = "Configuration")]
struct SourceArgs {
    /// Configuration file (TOML); no file is read without this flag
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// URL of the PostgreSQL server, in libpq's form [env: PGDITTO_UPSTREAM_URL, DATABASE_URL]
    ///
    /// Others on the machine can see a flag's password: prefer the environment, or
    /// `--set upstream.url_file=FILE`.
    #[arg(short, long, global = true, value_name = "URL")]
    upstream: Option<String>,
    /// Where applications connect
    #[arg(short, long, global = true, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where metrics, health and draining are served
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    http: Option<String>,
    /// Set any key; may be repeated (`print-config` lists them)
    #[arg(short, long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy (the default)
    Serve,
    /// Check the configuration; exit code 0 when it is fine
    CheckConfig,
    /// Print the effective configuration as TOML, with where each value came from
    PrintConfig {
        /// Print every key with its default and its meaning instead
        #[arg(long)]
        reference: bool,
        /// Print the tables of docs/configuration.md
        #[arg(long, hide = true, conflicts_with = "reference")]
        markdown: bool,
    },
    /// Say why a statement is or is not answered from the cache
    Explain {
        /// The statement
        sql: String,
    },
    /// Print the TOML equivalent of a PgBouncer configuration
    ///
    /// What has no equivalent is listed on standard error. The output contains the passwords of the user list.
    ImportPgbouncer {
        /// Path of pgbouncer.ini
        #[arg(value_name = "PGBOUNCER.INI")]
        ini: PathBuf,
        /// The user list, instead of the file that auth_file names
        #[arg(long, value_name = "FILE")]
        userlist: Option<PathBuf>,
    },
    /// Tell the running pgditto to stop accepting clients, and wait until transactions have ended
    ///
    /// Needs the token in http.admin_token_file.
    Drain {
        /// Give up after this long; the default is listen.drain_timeout and ten seconds
        #[arg(long, value_name = "TIME", value_parser = config::parse_time)]
        timeout: Option<Duration>,
        /// First wait until no client has been connected for three seconds, however long that takes
        ///
        /// For a hook that runs beside an application which is still finishing its work.
        #[arg(long)]
        wait_for_clients: bool,
    },
    /// Ask the running pgditto whether it is ready; exit code 0 when it is
    Healthcheck {
        /// How long to wait for the answer
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = config::parse_time)]
        timeout: Duration,
    },
}

/// Runs the command that `args` (the program's name first) ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do when even the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let source = cli.source.into_source();
    let result = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(source),
        Command::CheckConfig => check(&source),
        Command::PrintConfig { markdown: true, .. } => print(&config::markdown()),
        Command::PrintConfig {
            reference: true, ..
        } => print(&config::reference()),
        Command::PrintConfig { .. } => print_effective(&source),
        Command::Explain { sql } => explain::run(&source, &sql),
        Command::ImportPgbouncer { ini, userlist } => import::run(&ini, userlist.as_deref()),
        Command::Drain {
            timeout,
            wait_for_clients,
        } => drain::run(&source, timeout, wait_for_clients),
        Command::Healthcheck { timeout } => health::run(&source, timeout),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            for line in reason.lines() {
                eprintln!("pgditto: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

impl SourceArgs {
    fn into_source(self) -> Source {
        let mut source = Source::new(self.config, std::env::vars_os());
        for assignment in &self.set {
            source.set(assignment);
        }
        // After --set, so that the flag made for the purpose wins.
        if let Some(url) = &self.upstream {
            source.upstream(url);
        }
        if let Some(address) = &self.listen {
            source.listen(address);
        }
        if let Some(address) = &self.http {
            source.http(address);
        }
        source
    }
}

/// What a command that failed has to say, a line for each reason.
struct Failure(String);

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn check(source: &Source) -> Result<(), Failure> {
    source.load()?;
    print("the configuration is fine\n")
}

fn print_effective(source: &Source) -> Result<(), Failure> {
    print(&config::print(&source.load_with_origins()?))
}

/// Writes to standard output; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
        let cli = Cli::try_parse_from(["pgditto", "--upstream", "postgres://h"]).ok();
        assert!(cli.is_some_and(|cli| cli.command.is_none()));
        let cli = Cli::try_parse_from(["pgditto", "serve", "--upstream", "postgres://h"]).ok();
        assert!(cli.is_some_and(|cli| matches!(cli.command, Some(Command::Serve))));
    }
}
