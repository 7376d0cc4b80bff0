//! What running a function does besides answering.

use super::is_large_object;
use crate::catalog::Effects;

/// Functions that run SQL which they are handed, or read relations that they are told by name; those of extensions too.
pub(crate) fn runs_text(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "cursor_to_xml",
        "database_to_xml",
        "dblink",
        "query_to_xml",
        "schema_to_xml",
        "table_to_xml",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("crosstab")
        // The last two are of the extensions tablefunc and xml2.
        || matches!(name, "ts_stat" | "ts_rewrite" | "connectby" | "xpath_table")
}

/// Functions that write, or may run what writes, where no target is named.
pub(crate) fn writes_unseen(name: &str) -> bool {
    let large_object_reader = matches!(
        name,
        "lo_get"
            | "lo_open"
            | "lo_close"
            | "lo_lseek"
            | "lo_lseek64"
            | "lo_tell"
            | "lo_tell64"
            | "loread"
    );
    runs_text(name)
        || (is_large_object(name) && !large_object_reader)
        || name.starts_with("binary_upgrade_")
        || name.starts_with("brin_summarize")
        || name.starts_with("pg_logical_")
        || matches!(
            name,
            "brin_desummarize_range"
                | "pg_import_system_collations"
                | "pg_extension_config_dump"
                | "pg_nextoid"
                | "pg_promote"
                | "pg_reload_conf"
                | "pg_stop_making_pinned_objects"
        )
}

/// Built-ins that change the catalogue or what settings sessions begin with.
pub(crate) fn changes_catalogue(name: &str) -> bool {
    name.starts_with("binary_upgrade_")
        || matches!(
            name,
            "pg_import_system_collations" | "pg_extension_config_dump" | "pg_reload_conf"
        )
}

/// What a call of a built-in leaves behind on its connection, or relies upon there.
pub(crate) fn effects(name: &str) -> Effects {
    match name {
        // The second is of the extension pg_trgm.
        "set_config" | "set_limit" => Effects::SETTINGS,
        "setseed" => Effects::SETTINGS.union(Effects::PROCESS),
        // Of the extensions isn and hll.
        "isn_weak" | "hll_set_defaults" | "hll_set_max_sparse" | "hll_set_output_version" => {
            Effects::PROCESS
        }
        "pg_stat_force_next_flush" => Effects::PROCESS,
        "pg_replication_origin_session_setup" => Effects::ALL.union(Effects::PROCESS),
        // Named connections, which the process keeps.
        "dblink_connect" | "dblink_connect_u" => Effects::ALL.union(Effects::PROCESS),
        "nextval" | "setval" => Effects::SEQUENCE,
        "currval" | "lastval" => Effects::SEQUENCE_READ,
        "pg_backend_pid" => Effects::BACKEND_TOLD,
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared"
        | "pg_advisory_unlock"
        | "pg_advisory_unlock_shared"
        | "pg_advisory_unlock_all" => Effects::ADVISORY_LOCKS,
        "pg_backup_stop" | "pg_stop_backup" => Effects::ALL,
        // A backup that goes on, and slots that may be temporary.
        "pg_backup_start"
        | "pg_start_backup"
        | "pg_create_logical_replication_slot"
        | "pg_create_physical_replication_slot"
        | "pg_copy_logical_replication_slot"
        | "pg_copy_physical_replication_slot" => Effects::ALL.union(Effects::PROCESS),
        _ if name.starts_with("pg_replication_origin_")
            || name.starts_with("pg_create_")
            || name.starts_with("pg_copy_")
            // A large object that is only written leaves nothing on the connection.
            || (writes_unseen(name) && !is_large_object(name)) =>
        {
            Effects::ALL
        }
        _ => Effects::NONE,
    }
}

/// Whether a name is, or may be, of what shows the text of the statement that is running: `current_query`, and of the
/// names that begin as those of the server's own views and functions all but some that are much used in triggers.
pub(crate) fn sees_text(name: &str) -> bool {
    name == "current_query"
        || name.starts_with("pg_")
            && !name.starts_with("pg_advisory_")
            && !name.starts_with("pg_try_advisory_")
            && !matches!(
                name,
                "pg_backend_pid"
                    | "pg_catalog"
                    | "pg_column_size"
                    | "pg_notify"
                    | "pg_sleep"
                    | "pg_trigger_depth"
                    | "pg_typeof"
            )
}

/// Whether a call leaves behind in its process what cannot be asked for.
pub(crate) fn keeps_process_state(name: &str) -> bool {
    effects(name).contains(Effects::PROCESS)
}

/// Extensions whose functions are known to write nothing, and to leave nothing behind but what [`effects`] says, volatile
/// ones included.
const QUIET_EXTENSIONS: &[&str] = &[
    "address_standardizer",
    "amcheck",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "h3",
    "hll",
    "hstore",
    "insert_username",
    "intarray",
    "ip4r",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "old_snapshot",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_trgm",
    "pg_uuidv7",
    "pg_visibility",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "prefix",
    "rum",
    "seg",
    "semver",
    "sslinfo",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
];

pub(crate) fn is_quiet_extension(name: &str) -> bool {
    QUIET_EXTENSIONS.contains(&name)
}
