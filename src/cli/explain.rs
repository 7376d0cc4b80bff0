//! `explain "<sql>"`.

use super::Failure;
use crate::app;
use crate::config::Source;

pub(super) fn run(source: &Source, sql: &str) -> Result<(), Failure> {
    let config = source.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let text = runtime.block_on(app::explain(config, sql))?;
    super::print(&format!("{}\n", text.trim_end()))
}
