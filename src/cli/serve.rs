//! `serve`: runtime, log, and the application on them.

use super::Failure;
use crate::app;
use crate::config::{Config, LogConfig, LogFormat, Source};

pub(super) fn run(source: Source) -> Result<(), Failure> {
    let config = source.load()?;
    start_log(&config.log)?;
    runtime(&config)?.block_on(app::serve(source))?;
    Ok(())
}

fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = config.listen.workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().thread_name("pgditto").build()
}

fn start_log(log: &LogConfig) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder
                .with_ansi(std::io::stderr().is_terminal())
                .try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(started?)
}
