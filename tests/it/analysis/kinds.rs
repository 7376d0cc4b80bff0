//! What sort of statement PostgreSQL's tree is, and whether ours may be called that.

use pgditto::sql::{Isolation, Kind};
use serde_json::Value;

use super::tree::{self, Fields, flag, list, node, number, some, text};

/// Whether our kind is what PostgreSQL reads; `Unknown` always is.
pub fn agree(ours: &Kind, statement: &Value) -> bool {
    let Some((sort, fields)) = node(statement) else {
        return false;
    };
    if *ours == Kind::Unknown {
        return true;
    }
    match sort {
        "SelectStmt" => match into(fields) {
            // PostgreSQL refuses INTO within it when it runs.
            None => *ours == Kind::Select || *ours == Kind::Ddl && holds_into(statement),
            Some(target) => makes(ours, target),
        },
        "InsertStmt" => *ours == Kind::Insert,
        "UpdateStmt" => *ours == Kind::Update,
        "DeleteStmt" => *ours == Kind::Delete,
        "MergeStmt" => *ours == Kind::Merge,
        "CopyStmt" if flag(fields, "is_from") => *ours == Kind::CopyFrom,
        "CopyStmt" => *ours == Kind::CopyTo,
        "TruncateStmt" => *ours == Kind::Truncate,
        "TransactionStmt" => is_transaction(ours, fields),
        "VariableSetStmt" => is_setting(ours, fields),
        "VariableShowStmt" => {
            matches!(ours, Kind::Show { name } if name.eq_ignore_ascii_case(text(fields, "name")))
        }
        "ConstraintsSetStmt" => *ours == Kind::SetConstraints,
        "DiscardStmt" => {
            const ALL: i64 = 1;
            (*ours == Kind::DiscardAll) == (number(fields, "target") == ALL)
                && matches!(ours, Kind::DiscardAll | Kind::DiscardOther)
        }
        "PrepareStmt" => matches!(ours, Kind::Prepare { name } if name == text(fields, "name")),
        "ExecuteStmt" => matches!(ours, Kind::Execute { name } if name == text(fields, "name")),
        "DeallocateStmt" => {
            matches!(ours, Kind::Deallocate { name } if name.as_deref().unwrap_or_default() == text(fields, "name"))
        }
        "DeclareCursorStmt" => {
            const HOLD: i64 = 0x20;
            *ours
                == Kind::Declare {
                    hold: number(fields, "options") & HOLD != 0,
                }
        }
        "FetchStmt" => *ours == Kind::Fetch,
        "ClosePortalStmt" => *ours == Kind::CloseCursor,
        "ListenStmt" => *ours == Kind::Listen,
        "UnlistenStmt" => *ours == Kind::Unlisten,
        "NotifyStmt" => *ours == Kind::Notify,
        "LockStmt" => *ours == Kind::Lock,
        "ExplainStmt" => is_explain(ours, fields),
        "CallStmt" => *ours == Kind::Call,
        "DoStmt" => *ours == Kind::Do,
        "LoadStmt" => *ours == Kind::Load,
        "VacuumStmt" | "IndexStmt" | "ReindexStmt" | "CommentStmt" | "ClusterStmt"
        | "CheckPointStmt" => *ours == Kind::Maintenance,
        "RefreshMatViewStmt" => *ours == Kind::RefreshMaterializedView,
        "CreateTableAsStmt" => match into(fields) {
            Some(target) => makes(ours, target),
            None => false,
        },
        "CreateStmt" => {
            // A temporary child belongs to what its permanent parent answers.
            let child = !list(fields, "inh_relations").is_empty();
            *ours == Kind::Ddl || !child && made(ours, relation(fields, "relation"))
        }
        "CreateSeqStmt" => made(ours, relation(fields, "sequence")),
        "ViewStmt" => made(ours, relation(fields, "view")),
        _ => *ours == Kind::Ddl,
    }
}

fn relation<'a>(fields: &'a Fields, name: &str) -> Option<&'a Fields> {
    some(fields, name)?.as_object()
}

/// The relation that SELECT INTO or CREATE TABLE AS makes.
fn into(fields: &Fields) -> Option<&Fields> {
    let clause = relation(fields, "into").or_else(|| relation(fields, "into_clause"));
    match clause {
        Some(clause) => relation(clause, "rel"),
        // The leftmost query of a set operation has it.
        None => into(relation(fields, "larg")?),
    }
}

fn holds_into(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(holds_into),
        Value::Object(fields) => {
            some(fields, "into_clause").is_some() || fields.values().any(holds_into)
        }
        _ => false,
    }
}

fn is_temporary(target: &Fields) -> bool {
    text(target, "relpersistence") == "t" || text(target, "schemaname") == "pg_temp"
}

fn makes(ours: &Kind, target: &Fields) -> bool {
    *ours == Kind::Ddl || *ours == Kind::TemporaryDdl && is_temporary(target)
}

fn made(ours: &Kind, target: Option<&Fields>) -> bool {
    target.is_some_and(|target| makes(ours, target))
}

fn option<'a>(options: &'a [Value], name: &str) -> Option<&'a Fields> {
    options
        .iter()
        .filter_map(|option| tree::fields(option, "DefElem"))
        .rfind(|option| text(option, "defname") == name)
}

fn is_explain(ours: &Kind, fields: &Fields) -> bool {
    let Kind::Explain { analyze } = ours else {
        return false;
    };
    *analyze
        || option(list(fields, "options"), "analyze").is_none_or(|option| {
            let value = some(option, "arg")
                .map(Value::to_string)
                .unwrap_or_default();
            let value = value.to_ascii_lowercase();
            value.contains("off") || value.contains("false") || value.contains("\"ival\":0")
        })
}

fn is_transaction(ours: &Kind, fields: &Fields) -> bool {
    let chain = flag(fields, "chain");
    match number(fields, "kind") {
        1 | 2 => is_begin(ours, list(fields, "options")),
        3 => *ours == Kind::Commit { chain },
        4 => *ours == Kind::Rollback { chain },
        5 => *ours == Kind::Savepoint,
        6 => *ours == Kind::Release,
        7 => *ours == Kind::RollbackTo,
        8 => matches!(ours, Kind::PrepareTransaction { gid } if gid == text(fields, "gid")),
        9 => matches!(ours, Kind::CommitPrepared { .. }),
        10 => *ours == Kind::RollbackPrepared,
        _ => false,
    }
}

fn is_begin(ours: &Kind, options: &[Value]) -> bool {
    let Kind::Begin {
        isolation,
        read_only,
        deferrable,
    } = ours
    else {
        return false;
    };
    let constant = |name| {
        let constant = tree::fields(option(options, name)?.get("arg")?, "AConst")?;
        constant.get("val")?.as_object().cloned()
    };
    let value = |name| {
        let value = constant(name)?;
        let value = value.get("Ival")?.get("ival")?.as_i64();
        value.map(|value| value != 0)
    };
    let level = constant("transaction_isolation").and_then(|value| {
        match value.get("Sval")?.get("sval")?.as_str()? {
            "read uncommitted" => Some(Isolation::ReadUncommitted),
            "read committed" => Some(Isolation::ReadCommitted),
            "repeatable read" => Some(Isolation::RepeatableRead),
            "serializable" => Some(Isolation::Serializable),
            _ => None,
        }
    });
    *isolation == level
        && *read_only == value("transaction_read_only")
        && *deferrable == value("transaction_deferrable").unwrap_or_default()
}

fn is_setting(ours: &Kind, fields: &Fields) -> bool {
    const MULTIPLE: i64 = 4;
    const RESET: i64 = 5;
    const RESET_ALL: i64 = 6;
    let theirs = text(fields, "name").to_ascii_lowercase();
    match (number(fields, "kind"), ours) {
        (MULTIPLE, Kind::SetTransaction) => theirs.starts_with("transaction"),
        (RESET_ALL, Kind::Reset { name: None }) => true,
        (RESET, Kind::Reset { name: Some(name) }) => *name == theirs,
        (RESET | RESET_ALL, _) => false,
        (_, Kind::Set { name, local }) => *name == theirs && *local == flag(fields, "is_local"),
        _ => false,
    }
}
