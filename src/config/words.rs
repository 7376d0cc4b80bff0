//! The words of the settings that are a choice among a few.

use super::{
    AuthType, CacheMode, ClientSslMode, Level, LogFormat, PoolMode, SslMode, SslNegotiation,
    TargetSessionAttrs, WithoutTls,
};

/// A setting whose values are words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every word, its usual spelling first.
    const WORDS: &'static [(&'static str, Self)];
    /// Words that mean something which this version does not do: answered so, never taken for something weaker.
    const NOT_AVAILABLE: &'static [&'static str] = &[];
}

impl Word for bool {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("true", true),
        ("false", false),
        ("on", true),
        ("off", false),
        ("yes", true),
        ("no", false),
        ("1", true),
        ("0", false),
    ];
}

impl Word for AuthType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("scram-sha-256", Self::ScramSha256),
        ("md5", Self::Md5),
        ("trust", Self::Trust),
        ("cert", Self::Cert),
        ("hba", Self::Hba),
        ("passthrough", Self::Passthrough),
    ];
    const NOT_AVAILABLE: &'static [&'static str] = &["any", "ldap", "pam", "peer", "plain"];
}

impl Word for WithoutTls {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("unix", Self::Unix),
        ("loopback", Self::Loopback),
    ];
}

impl Word for ClientSslMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        // Offering is all that a server can do about preferring.
        ("prefer", Self::Allow),
        ("require", Self::Require),
        ("verify-full", Self::Verify),
        // As in PgBouncer: a client's name cannot be checked against its host.
        ("verify-ca", Self::Verify),
    ];
}

impl Word for SslMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl Word for SslNegotiation {
    const WORDS: &'static [(&'static str, Self)] =
        &[("postgres", Self::Postgres), ("direct", Self::Direct)];
}

impl Word for TargetSessionAttrs {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];
}

impl Word for PoolMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("transaction", Self::Transaction),
        ("session", Self::Session),
    ];
    const NOT_AVAILABLE: &'static [&'static str] = &["statement"];
}

impl Word for CacheMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("on", Self::On),
        ("off", Self::Off),
        ("shadow", Self::Shadow),
    ];
}

impl Word for Level {
    const WORDS: &'static [(&'static str, Self)] = &[("strict", Self::Strict), ("ttl", Self::Ttl)];
    const NOT_AVAILABLE: &'static [&'static str] = &["strict-all", "session", "bounded"];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
