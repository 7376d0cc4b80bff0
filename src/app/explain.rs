//! Why a statement is or is not answered from the cache, in words.

use std::fmt::Write as _;

use super::{AppError, control_target};
use crate::catalog::{Catalog, Footprint, Loader, NameScope, Order};
use crate::config::Config;
use crate::session::search_path;
use crate::sql;
use crate::tls;

/// Asks the server what the names in `sql` mean, and says what follows for the
/// cache. Starts nothing that a running pgditto would notice.
pub(super) async fn explain(config: &Config, sql: &str) -> Result<String, AppError> {
    let tls = tls::upstream(&config.server_tls)?;
    let user = config
        .upstream
        .user
        .clone()
        .unwrap_or_else(|| "postgres".into());
    let dbname = config
        .upstream
        .dbname
        .clone()
        .unwrap_or_else(|| user.clone());
    let target = crate::upstream::Target::new(
        &config.upstream,
        &config.server_tls,
        tls,
        dbname,
        user.clone(),
        config.upstream.password.clone(),
    );
    let control = control_target(config, &target, &user);
    let failed = |error: &dyn std::fmt::Display| AppError::Explain(error.to_string());
    let (client, _task) = control
        .connect("-explain")
        .await
        .map_err(|error| failed(&error))?;
    let catalog = Loader::load(&client)
        .await
        .map_err(|error| failed(&error))?;
    let row = client
        .query_one("SELECT pg_catalog.current_setting('search_path')", &[])
        .await
        .map_err(|error| failed(&error))?;
    let path: String = row.try_get(0).map_err(|error| failed(&error))?;
    let names = NameScope {
        search_path: search_path(&path, &user),
        role: user,
        vouched_functions: config.cache.vouched_functions(),
        ..NameScope::default()
    };
    Ok(describe(&catalog, &names, sql))
}

fn describe(catalog: &Catalog, names: &NameScope, sql: &str) -> String {
    let scan = sql::scan(sql, true);
    let mut text = String::new();
    if !scan.well_formed {
        return "decision: forwarded\nreason:   unparsed: the text is not complete SQL\n".into();
    }
    let _ = writeln!(text, "shape:      {}", scan.shape);
    let single = scan.statements.len() == 1;
    for statement in &scan.statements {
        let facts = sql::analyse(statement);
        let judgement = catalog.judge(&facts, names);
        let hindrance = match &judgement.read {
            Err(reason) => Some(*reason),
            Ok(_) if !single => Some(sql::Bypass::MultiStatement),
            Ok(_) if scan.hints.no_cache => Some(sql::Bypass::Hint),
            Ok(_) if scan.clock_literal => Some(sql::Bypass::ClockValue),
            Ok(_) => None,
        };
        let _ = writeln!(text, "statement:  {}", sql::shape_text(statement));
        match (hindrance, &judgement.read) {
            (None, Ok(read)) => {
                let _ = writeln!(text, "decision:   answered from the cache when it can be");
                let _ = writeln!(text, "depends on: {}", list(&read.relation_names));
                if !read.custom_settings.is_empty() {
                    let _ = writeln!(text, "reads:      {}", list(&read.custom_settings));
                }
                let order = match read.order {
                    Order::Total => "rows and their order are determined",
                    Order::Multiset => "rows are determined, their order is not",
                    Order::Undetermined => "more than one answer is right",
                };
                let _ = writeln!(text, "answer:     {order}");
            }
            (reason, _) => {
                let reason = reason.unwrap_or(sql::Bypass::NotSelect);
                let _ = writeln!(text, "decision:   forwarded");
                let _ = writeln!(
                    text,
                    "reason:     {}: {}",
                    reason.as_str(),
                    reason.explanation()
                );
            }
        }
        let _ = writeln!(
            text,
            "may touch:  {}",
            footprint(catalog, &judgement.footprint)
        );
    }
    text
}

fn footprint(catalog: &Catalog, footprint: &Footprint) -> String {
    if footprint.catalogue {
        "the catalogue, and with it everything".into()
    } else if footprint.everything {
        "everything".into()
    } else if footprint.relations.is_empty() {
        "nothing".into()
    } else {
        let names = footprint.relations.iter();
        let names: Vec<String> = names
            .map(|oid| {
                catalog
                    .relation_name(*oid)
                    .unwrap_or_else(|| oid.to_string())
            })
            .collect();
        list(&names)
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "no relation".into()
    } else {
        names.join(", ")
    }
}
