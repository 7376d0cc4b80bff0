//! The catalogue queries, for PostgreSQL 13 to 18 and any role.
//!
//! Every name is qualified. Temporary objects are left out everywhere: they are one
//! session's own, and making one must not change the version.

/// Begins the reading transaction. The empty path makes functions qualify names;
/// JIT compilation would cost more than the queries.
pub(super) const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL search_path = ''; SET LOCAL quote_all_identifiers = off; SET LOCAL jit = off; \
    SET LOCAL statement_timeout = 0";

/// The same for a picture: `pg_get_expr` may lock what it names.
pub(super) const BEGIN_PICTURE: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL search_path = ''; SET LOCAL quote_all_identifiers = off; SET LOCAL jit = off; \
    SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 200";

/// Begins another one for what `pg_get_viewdef` and its like give: they lock what they name until the transaction ends.
/// Sooner than a deadlock is looked for, it is this one that gives up. They write constants as they are read here.
pub(super) const BEGIN_DEFINITIONS: &str = "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY; \
    SET LOCAL standard_conforming_strings = on; SET LOCAL search_path = ''; SET LOCAL quote_all_identifiers = off; SET LOCAL jit = off; \
    SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 200";

pub(super) const SNAPSHOT: &str = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text";

/// One row: a text that is equal as long as nothing that the picture shows has changed.
///
/// Rows are told apart by (oid, xmin), summed over a 64-bit hash, so that their order does not
/// matter. `pg_class` is told by content instead: TRUNCATE, REINDEX and VACUUM FULL
/// write its rows without changing what they mean here. Plain indexes are left out;
/// those with expressions are told by `pg_index`. Sequences are left out: nothing that
/// is cached depends on one.
pub(super) const VERSION: &str = r"
WITH temporary AS MATERIALIZED (
    SELECT oid FROM pg_catalog.pg_namespace
    WHERE nspname LIKE 'pg\_temp\_%' OR nspname LIKE 'pg\_toast%'
), watched AS MATERIALIZED (
    SELECT oid, relname, relnamespace, relkind, relpersistence, relowner, relrowsecurity,
           relforcerowsecurity, relispartition, reltype, reloftype, relacl, reloptions
    FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
      AND oid >= 16384 AND relpersistence <> 't'
      AND relnamespace NOT IN (SELECT oid FROM temporary)
)
SELECT pg_catalog.concat_ws(' ',
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', relname, relnamespace, relkind,
        relpersistence, relowner, relrowsecurity, relforcerowsecurity, relispartition, reltype, reloftype,
        relacl, reloptions), oid::int8)) FROM watched),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(a.xmin::text, a.attrelid::int8 * 2048 + a.attnum))
        FROM pg_catalog.pg_attribute a JOIN watched w ON w.oid = a.attrelid
        WHERE a.attnum > 0),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(d.xmin::text, d.oid::int8))
        FROM pg_catalog.pg_attrdef d JOIN watched w ON w.oid = d.adrelid),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(i.xmin::text, i.indexrelid::int8))
        FROM pg_catalog.pg_index i JOIN watched w ON w.oid = i.indrelid
        WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(i.xmin::text, i.inhrelid::int8 * 64 + i.inhseqno))
        FROM pg_catalog.pg_inherits i JOIN watched w ON w.oid = i.inhrelid),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(t.xmin::text, t.oid::int8))
        FROM pg_catalog.pg_trigger t JOIN watched w ON w.oid = t.tgrelid WHERE NOT t.tgisinternal),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(r.xmin::text, r.oid::int8))
        FROM pg_catalog.pg_rewrite r JOIN watched w ON w.oid = r.ev_class),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(p.xmin::text, p.oid::int8))
        FROM pg_catalog.pg_policy p JOIN watched w ON w.oid = p.polrelid),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(s.xmin::text, s.oid::int8))
        FROM pg_catalog.pg_statistic_ext s JOIN watched w ON w.oid = s.stxrelid),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_constraint
        WHERE connamespace NOT IN (SELECT oid FROM temporary) AND oid >= 16384),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_type
        WHERE typnamespace NOT IN (SELECT oid FROM temporary) AND oid >= 16384),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_enum),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, rngtypid::int8)) FROM pg_catalog.pg_range),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_proc
        WHERE pronamespace NOT IN (SELECT oid FROM temporary)),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_operator
        WHERE oid >= 16384 AND oprnamespace NOT IN (SELECT oid FROM temporary)),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_opclass
        WHERE oid >= 16384 AND opcnamespace NOT IN (SELECT oid FROM temporary)),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_amop WHERE oid >= 16384),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_cast WHERE oid >= 16384),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_namespace
        WHERE oid NOT IN (SELECT oid FROM temporary)),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_collation WHERE oid >= 16384),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_conversion WHERE oid >= 16384),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_extension),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_language),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_event_trigger),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_ts_config),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, oid::int8)) FROM pg_catalog.pg_ts_dict),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text,
        mapcfg::int8 * 65536 + maptokentype * 64 + mapseqno)) FROM pg_catalog.pg_ts_config_map),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, setdatabase::int8 * 4294967296 + setrole::int8))
        FROM pg_catalog.pg_db_role_setting),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(xmin::text, roleid::int8 * 4294967296 + member::int8))
        FROM pg_catalog.pg_auth_members),
    (SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', rolname, rolsuper, rolinherit,
        rolcanlogin, rolbypassrls, rolconfig), oid::int8)) FROM pg_catalog.pg_roles)
)";

pub(super) const SCHEMAS: &str = r"
SELECT n.nspname::text,
       pg_catalog.bool_or(a.grantee = 0),
       pg_catalog.array_remove(pg_catalog.array_agg(DISTINCT r.rolname::text), NULL)
FROM pg_catalog.pg_namespace n
CROSS JOIN LATERAL (
    SELECT e.grantee FROM pg_catalog.aclexplode(
        COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) e
    WHERE e.privilege_type = 'USAGE'
    UNION SELECT n.nspowner) a
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
WHERE n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast%'
GROUP BY n.oid, n.nspname";

pub(super) const ROLES: &str = "SELECT rolname::text, oid, rolsuper FROM pg_catalog.pg_roles";

/// Columns as parallel arrays: one row a relation.
pub(super) const RELATIONS: &str = r"
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, r.rolname::text,
       c.relrowsecurity OR c.relforcerowsecurity,
       a.names, a.types, a.identity,
       a.numbers, a.modifiers, a.deterministic, a.generated
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
LEFT JOIN (
    SELECT a.attrelid,
           pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) AS names,
           pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) AS types,
           pg_catalog.bool_or(a.attidentity <> '') AS identity,
           pg_catalog.array_agg(a.attnum ORDER BY a.attnum) AS numbers,
           pg_catalog.array_agg(a.atttypmod ORDER BY a.attnum) AS modifiers,
           pg_catalog.array_agg(COALESCE(l.collisdeterministic, true) ORDER BY a.attnum) AS deterministic,
           pg_catalog.array_agg(a.attgenerated <> '' ORDER BY a.attnum) AS generated
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    JOIN pg_catalog.pg_class k ON k.oid = a.attrelid AND k.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
) a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast%'";

/// PostgreSQL's own functions that expressions call which run unseen: (sort as in [`REFERENCES`], owner, name). `pg_depend`
/// does not know of them.
pub(super) const HIDDEN_CALLS: &str = r"
SELECT DISTINCT e.sort, e.owner, p.proname::text
FROM (
    SELECT 'w' AS sort, adrelid AS owner, adbin::text AS tree FROM pg_catalog.pg_attrdef
    UNION ALL
    SELECT CASE WHEN contypid <> 0 THEN 't' ELSE 'w' END, COALESCE(NULLIF(contypid, 0), conrelid), conbin::text
        FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL AND oid >= 16384
    UNION ALL
    SELECT 't', oid, typdefaultbin::text FROM pg_catalog.pg_type WHERE typdefaultbin IS NOT NULL AND oid >= 16384
    UNION ALL
    SELECT 'w', tgrelid, tgqual::text FROM pg_catalog.pg_trigger WHERE tgqual IS NOT NULL
    UNION ALL
    SELECT 'f', oid, proargdefaults::text FROM pg_catalog.pg_proc WHERE proargdefaults IS NOT NULL AND oid >= 16384
    UNION ALL
    SELECT 'p', polrelid, pg_catalog.concat(polqual::text, polwithcheck::text) FROM pg_catalog.pg_policy
) e
CROSS JOIN LATERAL pg_catalog.regexp_matches(e.tree, ':funcid (\d+) ', 'g') AS called
JOIN pg_catalog.pg_proc p ON p.oid = called[1]::pg_catalog.oid
WHERE p.oid < 16384";

/// Columns of unique and foreign keys: (relation, columns, sort), primary keys first.
pub(super) const KEYS: &str = r"
SELECT i.indrelid, (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1],
       CASE WHEN i.indisprimary THEN 'a' ELSE 'b' END AS sort
FROM pg_catalog.pg_index i
WHERE i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL AND i.indrelid >= 16384
UNION ALL
SELECT c.conrelid, c.conkey, 'c' FROM pg_catalog.pg_constraint c WHERE c.contype = 'f'
ORDER BY 3, 2";

/// One row: the database's encoding is UTF-8; some collation is not deterministic.
pub(super) const TEXTS: &str = r"
SELECT d.encoding = 6, EXISTS (SELECT FROM pg_catalog.pg_collation WHERE NOT collisdeterministic)
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

pub(super) const INHERITANCE: &str = r"
SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE c.relpersistence <> 't' AND c.relkind NOT IN ('i', 'I')";

pub(super) const FOREIGN_KEYS: &str = r"
SELECT conrelid, confrelid, confdeltype::text, confupdtype::text
FROM pg_catalog.pg_constraint WHERE contype = 'f'";

pub(super) const TRIGGERS: &str = r"
SELECT tgrelid, tgfoid, tgtype & 66 <> 0 FROM pg_catalog.pg_trigger WHERE NOT tgisinternal";

pub(super) const EVENT_TRIGGERS: &str = "SELECT evtfoid FROM pg_catalog.pg_event_trigger";

pub(super) const RULES: &str = r"
SELECT DISTINCT ev_class FROM pg_catalog.pg_rewrite
WHERE rulename <> '_RETURN' AND ev_class >= 16384";

/// Functions with a body in standard SQL have no `prosrc`: see [`DEFINITIONS`].
pub(super) const FUNCTIONS: &str = r"
SELECT p.oid, n.nspname::text, p.proname::text, l.lanname::text, p.provolatile::text,
       p.prokind = 'a', e.extname::text,
       COALESCE((SELECT t.typtype IN ('c', 'p') FROM pg_catalog.pg_type t WHERE t.oid = p.proargtypes[0]), false),
       CASE WHEN p.prokind = 'a' THEN
                (SELECT pg_catalog.concat_ws(' ', g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn,
                    g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn)
                 FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid = p.oid)
            WHEN l.lanname NOT IN ('sql', 'plpgsql')
                 AND NOT (l.lanname = 'c' AND p.prosrc IN ('check_primary_key', 'check_foreign_key')) THEN ''
            ELSE p.prosrc END,
       p.prorettype,
       CASE WHEN l.lanname = 'sql' AND p.prokind = 'f' AND p.proconfig IS NULL AND NOT p.prosecdef
                 AND p.pronargdefaults = 0 AND p.provariadic = 0 THEN p.proargtypes::pg_catalog.oid[] END,
       p.proargnames
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
    AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE (p.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema'))
  AND n.nspname NOT LIKE 'pg\_temp\_%'";

/// Of views (v), the conditions of the policies that a read may be under as one query (p), and functions with a
/// body in standard SQL (f), which the loader cuts to the body.
pub(super) const DEFINITIONS: &str = r"
SELECT 'v', c.oid, pg_catalog.pg_get_viewdef(c.oid)
FROM pg_catalog.pg_class c
WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't'
UNION ALL
SELECT 'p', c.oid, COALESCE((
    SELECT 'SELECT ' || pg_catalog.string_agg('(' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', ', ')
    FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')), 'SELECT true')
FROM pg_catalog.pg_class c
WHERE (c.relrowsecurity OR c.relforcerowsecurity) AND c.oid >= 16384 AND c.relpersistence <> 't'
UNION ALL
SELECT 'f', p.oid, pg_catalog.pg_get_functiondef(p.oid)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.prosrc = '' AND p.prokind <> 'a' AND l.lanname IN ('sql', 'plpgsql')
  AND (p.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema'))
  AND n.nspname NOT LIKE 'pg\_temp\_%'";

pub(super) const BUILTINS: &str = r"
SELECT p.proname::text, pg_catalog.bool_or(p.provolatile = 'v'), pg_catalog.bool_or(p.provolatile = 's'), o.names
FROM pg_catalog.pg_proc p
LEFT JOIN (
    SELECT f.proname, pg_catalog.array_agg(DISTINCT f.proargnames[i]) AS names
    FROM pg_catalog.pg_proc f, pg_catalog.generate_subscripts(f.proargmodes, 1) i
    WHERE f.proargmodes IS NOT NULL AND f.proargmodes[i] IN ('o', 'b', 't') AND f.proargnames[i] <> ''
      AND f.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
    GROUP BY f.proname
) o ON o.proname = p.proname
WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.oid < 16384
GROUP BY p.proname, o.names";

pub(super) const OPERATORS: &str = r"
SELECT oid, oprname::text, oprcode::oid, oprleft, oprright FROM pg_catalog.pg_operator WHERE oid >= 16384";

pub(super) const CASTS: &str = r"
SELECT casttarget, castfunc, castmethod = 'i' FROM pg_catalog.pg_cast WHERE oid >= 16384";

pub(super) const BUILTIN_TYPES: &str = r"
SELECT typname::text FROM pg_catalog.pg_type
WHERE typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND oid < 16384
  AND typrelid = 0 AND typtype IN ('b', 'r', 'm') AND (typelem = 0 OR typlen <> -1 OR typname NOT LIKE '\_%')";

pub(super) const TYPES: &str = r"
SELECT t.oid, n.nspname::text, t.typname::text,
       CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typtype = 'b' THEN 'a' ELSE t.typtype::text END,
       COALESCE(NULLIF(t.typbasetype, 0), g.rngsubtype, t.typelem), t.typrelid,
       NOT EXISTS (SELECT FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_language l ON l.oid = f.prolang
                   WHERE f.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend) AND f.oid >= 16384
                     AND (f.provolatile = 'v' OR l.lanname NOT IN ('c', 'internal')))
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'
                       AND (c.conbin::text ~ 'SQLVALUEFUNCTION| :resulttype (1082|1083|1114|1184|1266) '
                            OR EXISTS (SELECT FROM pg_catalog.regexp_matches(c.conbin::text, ':(?:op)?funcid (\d+) ', 'g') called
                                       JOIN pg_catalog.pg_proc f ON f.oid = called[1]::pg_catalog.oid
                                       WHERE f.oid < 16384 AND f.provolatile <> 'i'))),
       EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'),
       (SELECT pg_catalog.hashtextextended(pg_catalog.string_agg(
            pg_catalog.concat(e.oid, ' ', e.enumlabel), ',' ORDER BY e.oid), 0)
        FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_range g ON g.rngtypid = t.oid
WHERE t.oid >= 16384
  AND n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast%'";

/// `pg_depend` from whatever holds an expression to what it calls: (owner's sort, owner,
/// sort of the target, target). Before PostgreSQL 15 the expression of a generated column belongs to the
/// table's own row of `pg_class` there, later to `pg_attrdef`.
pub(super) const REFERENCES: &str = r"
WITH d AS MATERIALIZED (
    SELECT classid, objid, refclassid, refobjid
    FROM pg_catalog.pg_depend
    WHERE refobjid >= 16384 AND objid >= 16384 AND deptype NOT IN ('e', 'x', 'P', 'S')
      AND refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                         'pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass,
                         'pg_catalog.pg_opclass'::pg_catalog.regclass)
      AND (refclassid <> 'pg_catalog.pg_class'::pg_catalog.regclass
           OR classid IN ('pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_policy'::pg_catalog.regclass,
                          'pg_catalog.pg_proc'::pg_catalog.regclass))
), owned AS (
    SELECT 'w' AS sort, a.adrelid AS owner, d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
        WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
    UNION ALL
    SELECT CASE WHEN c.contypid <> 0 THEN 't' ELSE 'w' END, COALESCE(NULLIF(c.contypid, 0), c.conrelid),
           d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_constraint c ON c.oid = d.objid AND c.contype IN ('c', 'x')
        WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
    UNION ALL
    SELECT CASE WHEN i.indexrelid IS NULL THEN 'w' ELSE 'i' END, COALESCE(i.indrelid, c.oid),
           d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_class c ON c.oid = d.objid
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND (c.relkind IN ('i', 'I', 'p') OR EXISTS (
              SELECT FROM pg_catalog.pg_attribute g WHERE g.attrelid = c.oid AND g.attgenerated <> ''))
    UNION ALL
    SELECT 'i', s.stxrelid, d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_statistic_ext s ON s.oid = d.objid
        WHERE d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass
    UNION ALL
    SELECT 'w', g.tgrelid, d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_trigger g ON g.oid = d.objid AND NOT g.tgisinternal
        WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
    UNION ALL
    SELECT 'p', l.polrelid, d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_policy l ON l.oid = d.objid
        WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
    UNION ALL
    SELECT CASE c.relkind WHEN 'm' THEN 'm' ELSE 'v' END, w.ev_class, d.refclassid, d.refobjid FROM d
        JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
        JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
        WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    UNION ALL
    SELECT 'f', d.objid, d.refclassid, d.refobjid FROM d
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT 't', d.objid, d.refclassid, d.refobjid FROM d
        WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
)
SELECT DISTINCT o.sort, o.owner,
    CASE o.refclassid WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'f'
                      WHEN 'pg_catalog.pg_operator'::pg_catalog.regclass THEN 'o'
                      WHEN 'pg_catalog.pg_type'::pg_catalog.regclass THEN 't'
                      WHEN 'pg_catalog.pg_opclass'::pg_catalog.regclass THEN 'k'
                      ELSE 'r' END,
    o.refobjid
FROM owned o
WHERE o.owner <> o.refobjid
  AND NOT (o.refclassid = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND EXISTS (
      SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_opclass'::pg_catalog.regclass
        AND e.objid = o.refobjid AND e.deptype = 'e'))";

/// Types that a user taught PostgreSQL to compare, and the users' functions by which it does.
pub(super) const ORDERED_BY_USERS: &str = r"
SELECT c.opcintype, ARRAY(
    SELECT a.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc a
    WHERE a.amprocfamily = c.opcfamily AND a.amproc::pg_catalog.oid >= 16384
    UNION
    SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_amop m JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
    WHERE m.amopfamily = c.opcfamily AND o.oprcode::pg_catalog.oid >= 16384)
FROM pg_catalog.pg_opclass c
WHERE c.oid >= 16384 AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_opclass'::pg_catalog.regclass
      AND e.objid = c.oid AND e.deptype = 'e')";
