//! Why a statement is or is not answered from the cache, in words: for `pgditto explain` and for the
//! console's EXPLAIN.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{AppError, House, control_target};
use crate::admin::CommandError;
use crate::cache::Moment;
use crate::catalog::{Catalog, Given, Judgement, Loader, NameScope, Order, ReadFacts};
use crate::config::{CacheMode, CacheRule, Config, Level};
use crate::session::{matching_rule, search_path};
use crate::sql::{self, Bypass, ShapeId};
use crate::tls;
use crate::upstream::Target;

/// How long the server may take to tell what names mean.
const PATIENCE: Duration = Duration::from_secs(15);

/// A rule with its position, as SHOW CACHE_RULES counts.
type Rule<'a> = (usize, &'a CacheRule);

/// For whom, and by what, a statement is judged.
struct Viewpoint<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    names: &'a NameScope,
    database: &'a str,
    /// What stops answers of level `strict` at this moment.
    hindrance: Option<Bypass>,
    /// Verification has taken the shape out of the cache.
    is_off: &'a dyn Fn(ShapeId) -> bool,
}

/// Asks the server what the names in `sql` mean, and says what follows for the
/// cache. Starts nothing that a running pgditto would notice.
pub(super) async fn explain(config: &Config, sql: &str) -> Result<String, AppError> {
    let tls = tls::upstream(&config.server_tls)?;
    let user = config.upstream.user.clone();
    let user = user.unwrap_or_else(|| "postgres".into());
    let dbname = config.upstream.dbname.clone();
    let target = Target::new(
        &config.upstream,
        &config.server_tls,
        tls,
        dbname.unwrap_or_else(|| user.clone()),
        user.clone(),
        config.upstream.password.clone(),
    );
    let (catalog, names) = ask(config, &target, &user, None)
        .await
        .map_err(AppError::Explain)?;
    let viewpoint = Viewpoint {
        config,
        catalog: &catalog,
        names: &names,
        database: &target.dbname,
        hindrance: None,
        is_off: &|_| false,
    };
    Ok(viewpoint.describe(sql))
}

impl House {
    /// The same of the running process: with its picture of the catalogue, and what it serves at this moment.
    pub(super) async fn explain_here(
        &self,
        database: Option<&str>,
        user: &str,
        sql: &str,
    ) -> Result<String, CommandError> {
        let config = self.shared.config.load_full();
        let upstream = &config.upstream;
        let user = upstream.user.as_deref().unwrap_or(user);
        let database = database
            .or(upstream.dbname.as_deref())
            .or(upstream.user.as_deref())
            .ok_or_else(|| CommandError::Failed("EXPLAIN ON <db> needs a database".into()))?;
        let unknown = |_| CommandError::NoSuchDatabase(database.to_owned());
        let target = self.shared.pools.target(database, user).map_err(unknown)?;
        let open = self.shared.databases.of_target(&target);
        let authority = open.as_ref().map(|open| &open.authority);
        let picture = authority.and_then(|authority| authority.catalog());
        let (catalog, names) = ask(&config, &target, user, picture)
            .await
            .map_err(CommandError::Failed)?;
        let may_serve =
            |authority: &Arc<crate::authority::Authority>| authority.may_serve(Moment::now()).err();
        let viewpoint = Viewpoint {
            config: &config,
            catalog: &catalog,
            names: &names,
            database,
            hindrance: authority.and_then(may_serve),
            is_off: &|shape| self.shared.verifier.off.holds(shape),
        };
        Ok(viewpoint.describe(sql))
    }
}

/// What the names of `user` mean where `target` leads, by `picture` or by one that is loaded for it.
async fn ask(
    config: &Config,
    target: &Target,
    user: &str,
    picture: Option<Arc<Catalog>>,
) -> Result<(Arc<Catalog>, NameScope), String> {
    let asked = async {
        let control = control_target(config, target, user);
        let (client, _task) = control
            .connect("-explain")
            .await
            .map_err(|error| error.to_string())?;
        let catalog = match picture {
            Some(picture) => picture,
            None => {
                let loaded = Loader::load(&client).await;
                Arc::new(loaded.map_err(|error| error.to_string())?)
            }
        };
        let row = client
            .query_one("SELECT pg_catalog.current_setting('search_path')", &[])
            .await
            .map_err(|error| error.to_string())?;
        let path: String = row.try_get(0).map_err(|error| error.to_string())?;
        let names = NameScope {
            search_path: search_path(&path, user),
            role: user.to_owned(),
            vouched_functions: config.cache.vouched_functions(),
            ..NameScope::default()
        };
        Ok((catalog, names))
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.unwrap_or_else(|_| Err("the server did not answer in time".into()))
}

impl Viewpoint<'_> {
    /// Lines of a label and what it is; of the statement itself only the shape.
    fn describe(&self, sql: &str) -> String {
        let scan = sql::scan(sql, true);
        let mut text = String::new();
        if !scan.well_formed {
            refuse(&mut text, Bypass::Unparsed);
            return text;
        }
        line(&mut text, "shape", &scan.shape.to_string());
        for statement in &scan.statements {
            let facts = sql::analyse(statement);
            let judgement = self.catalog.judge(&facts, self.names);
            let given = Given {
                literals: sql::Literals::of(statement),
                parameter_types: &[],
                inferred_now: false,
                parameters: &[],
                formats: &[],
                utf8: true,
            };
            line(&mut text, "statement", &sql::shape_text(statement));
            match self.plan(&scan, &judgement) {
                Ok((read, rule)) => {
                    line(
                        &mut text,
                        "decision",
                        "answered from the cache when it can be",
                    );
                    self.terms(&mut text, &scan, rule);
                    line(&mut text, "key", &key(read, statement));
                    let on = self.catalog.describe_dependencies(read, &given);
                    line(&mut text, "depends on", &list(&on, "no relation"));
                    let order = match read.order {
                        Order::Total => "rows and their order are determined",
                        Order::Multiset => "rows are determined, their order is not",
                        Order::Undetermined => "more than one answer is right",
                    };
                    line(&mut text, "answer", order);
                }
                Err(reason) => refuse(&mut text, reason),
            }
            let touched = self.catalog.describe_footprint(&judgement, &given);
            line(&mut text, "may touch", &list(&touched, "nothing"));
            let returnable = self.catalog.describe_returnable(&judgement);
            if !returnable.is_empty() && scan.statements.len() == 1 && self.config.cache.learn_keys
            {
                let columns = returnable.join(", ");
                let how = "by a RETURNING that is added, of those by which answers are told apart";
                line(&mut text, "learns", &format!("{columns} ({how})"));
            }
        }
        text
    }

    /// As a session that has nothing of its own decides.
    fn plan<'a>(
        &self,
        scan: &sql::Scan<'_>,
        judgement: &'a Judgement,
    ) -> Result<(&'a ReadFacts, Option<Rule<'_>>), Bypass> {
        if self.config.cache.mode == CacheMode::Off {
            return Err(Bypass::CacheOff);
        }
        if scan.statements.len() != 1 {
            return Err(Bypass::MultiStatement);
        }
        let read = judgement.read.as_ref().map_err(|reason| *reason)?;
        if scan.hints.no_cache {
            return Err(Bypass::Hint);
        }
        if scan.clock_literal {
            return Err(Bypass::ClockValue);
        }
        if (self.is_off)(scan.shape) {
            return Err(Bypass::Mismatch);
        }
        let rules = &self.config.cache.rules;
        let user = &self.names.role;
        let at = matching_rule(rules, user, self.database, scan.shape, &read.relation_names);
        let rule = at.and_then(|at| Some((at + 1, rules.get(at)?)));
        if rule.is_some_and(|(_, rule)| rule.cache == Some(false)) {
            return Err(Bypass::Rule);
        }
        if self.level(scan, rule) == Level::Strict
            && let Some(reason) = self.hindrance
        {
            return Err(reason);
        }
        Ok((read, rule))
    }

    fn level(&self, scan: &sql::Scan<'_>, rule: Option<Rule<'_>>) -> Level {
        let of_rule = rule.and_then(|(_, rule)| rule.level);
        let level = scan.hints.level.or(of_rule);
        level.unwrap_or(self.config.cache.level)
    }

    fn terms(&self, text: &mut String, scan: &sql::Scan<'_>, rule: Option<Rule<'_>>) {
        let of_rule = rule.and_then(|(_, rule)| rule.ttl);
        let ttl = scan.hints.ttl.or(of_rule).unwrap_or(self.config.cache.ttl);
        let level = match self.level(scan, rule) {
            Level::Strict => "strict",
            Level::Ttl => "ttl",
        };
        let by = match rule {
            Some((position, _)) => format!(" (rule {position})"),
            None => String::new(),
        };
        let ttl = humantime::format_duration(ttl);
        line(
            text,
            "level",
            &format!("{level}, kept for {ttl} at most{by}"),
        );
    }
}

/// What an answer is the answer to, beside the text itself.
fn key(read: &ReadFacts, statement: &str) -> String {
    let mut parts = vec!["database", "user", "role", "session settings", "text"];
    if sql::shape_text(statement).contains('$') {
        parts.extend(["parameters", "their types and formats"]);
    }
    parts.push("result formats");
    parts.extend(read.custom_settings.iter().map(String::as_str));
    parts.join(", ")
}

fn refuse(text: &mut String, reason: Bypass) {
    line(text, "decision", "forwarded");
    let why = format!("{}: {}", reason.as_str(), reason.explanation());
    line(text, "reason", &why);
    line(text, "what helps", reason.remedy());
}

fn line(text: &mut String, label: &str, what: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<11} {what}", format!("{label}:"));
}

fn list(names: &[String], none: &str) -> String {
    match names.is_empty() {
        true => none.into(),
        false => names.join(", "),
    }
}
