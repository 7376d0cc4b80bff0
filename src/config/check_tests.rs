use crate::config::Source;

/// The messages for a file that is otherwise fine.
fn messages(text: &str) -> Vec<String> {
    let trust = match text.contains("auth_type") {
        true => "",
        false => "[auth]\nauth_type = \"trust\"\n",
    };
    match crate::config::check_text(&format!("{text}\n{trust}")) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let table = [
        (
            "[client_tls]\nclient_tls_sslmode = \"require\"",
            "line:2: client_tls.client_tls_sslmode needs client_tls.client_tls_key_file",
        ),
        (
            "[client_tls]\nclient_tls_sslmode = \"require\"",
            "line:2: client_tls.client_tls_sslmode needs client_tls.client_tls_cert_file",
        ),
        (
            "[client_tls]\nclient_tls_key_file = \"/nowhere\"",
            "line:2: client_tls.client_tls_key_file: cannot read /nowhere: No such file or directory (os error 2)",
        ),
        (
            "[server_tls]\nserver_tls_cert_file = \"/dev/null\"",
            "line:2: server_tls.server_tls_cert_file needs server_tls.server_tls_key_file",
        ),
        (
            "[server_tls]\nserver_tls_ca_file = \"/dev/null\"\nserver_tls_sslmode = \"require\"",
            "line:2: server_tls.server_tls_ca_file would not be used: set server_tls.server_tls_sslmode to verify-full or verify-ca",
        ),
        (
            "[server_tls]\nserver_tls_sslnegotiation = \"direct\"",
            "line:2: server_tls.server_tls_sslnegotiation is direct: set server_tls.server_tls_sslmode to require, verify-ca or verify-full",
        ),
        (
            "[pool]\nmin_pool_size = 21",
            "line:2: pool.min_pool_size is more than pool.default_pool_size",
        ),
        (
            "[pool]\nmin_pool_size = 5\nmax_db_connections = 4",
            "line:3: pool.max_db_connections is less than pool.min_pool_size",
        ),
        (
            "[cache]\nmax_entry_size = \"2MB\"\nmemory_limit = \"1MB\"",
            "line:2: cache.max_entry_size is more than cache.memory_limit",
        ),
        (
            "[slow_log]\nwarn = \"6s\"",
            "line:2: slow_log.warn is more than slow_log.error",
        ),
        (
            "[upstream]\npassword = \"x\"",
            "line:2: upstream.password has no user: set upstream.user, or name the user in the URL",
        ),
        (
            "[upstream]\nport = 6432",
            "the upstream 127.0.0.1:6432 is pgditto itself: name the PostgreSQL server, or choose another listen.listen_port",
        ),
        (
            "[listen]\nlisten_addr = \"\"",
            "line:2: nothing to listen on: set listen.listen_addr or listen.unix_socket_dir",
        ),
        (
            "[listen]\nlisten_addr = \"127.0.0.1, ::1\"",
            "line:2: listen.listen_addr: expected one address, or * for every interface",
        ),
        (
            "[http]\nlisten = \"9930\"",
            "line:2: http.listen: expected ADDR:PORT, such as 127.0.0.1:9930 or 0.0.0.0:9930",
        ),
        (
            "[http]\nlisten = \"127.0.0.1:6432\"",
            "line:2: http.listen is where applications connect (listen.listen_addr and listen_port): choose another port",
        ),
        (
            "[[databases]]\nname = \"pgbouncer\"",
            "line:1: pgbouncer is the name of the console",
        ),
        (
            "[[databases]]\npool_size = 1",
            "line:1: a database needs a name",
        ),
        (
            "[[databases]]\nname = \"a\"\n[[databases]]\nname = \"a\"",
            "line:3: the database a is listed twice",
        ),
        (
            "[[users]]\nname = \"a\"\n[[users]]\nname = \"a\"",
            "line:3: the user a is listed twice",
        ),
        (
            "[[users]]\nname = \"a\"\nscram_secret = \"hush\"",
            "line:1: the scram_secret of a is neither SCRAM-SHA-256$… nor md5…",
        ),
        (
            "[[users]]\nname = \"a\"\npassword = \"x\"\nscram_secret = \"SCRAM-SHA-256$x\"",
            "line:1: a has a password and a scram_secret: give one",
        ),
        (
            "[auth]\nauth_type = \"scram-sha-256\"\n[[users]]\nname = \"a\"\nscram_secret = \"md50123456789abcdef0123456789abcdef\"",
            "line:3: a has an md5 secret, which cannot log in with auth_type = \"scram-sha-256\"",
        ),
        (
            "[[cache.rules]]\nttl = \"1s\"\n[[cache.rules]]\nusers = [\"a\"]\ncache = false",
            "line:1: a rule without conditions matches everything: put it last",
        ),
        (
            "[[cache.rules]]\nusers = [\"a\"]",
            "line:1: a rule must say something: cache, level, ttl, tags or functions",
        ),
        (
            "[[cache.rules]]\ncache = false\nttl = \"1s\"",
            "line:1: a rule with cache = false takes no level, ttl, tags or functions",
        ),
        (
            "[[cache.rules]]\ntables = [\"db.public.t\"]\ncache = false",
            "line:1: tables: write table or schema.table; the database is a condition of its own",
        ),
        (
            "[[cache.rules]]\nshape = \"12\"\ncache = false",
            "line:2: cache.rules.shape: expected 16 hexadecimal digits, got \"12\"",
        ),
    ];
    for (text, message) in table {
        let found = messages(text);
        assert!(found.contains(&message.to_owned()), "{text}\n{found:#?}");
    }
}

#[test]
fn wrong_log_filter_is_refused() {
    let found = messages("[log]\nlevel = \"pgditto=loud\"");
    assert!(found[0].starts_with("line:2: log.level: "), "{found:?}");
}

#[test]
fn start_without_any_secret_names_the_way_out() {
    let source = Source::new(None, []);
    let errors = source.load().unwrap_err();
    assert_eq!(errors.iter().len(), 1);
    let text = errors.to_string();
    assert!(
        text.starts_with("auth.auth_type is scram-sha-256, and no password"),
        "{text}"
    );
    assert!(text.contains("--set auth.auth_type=trust"), "{text}");

    let mut source = Source::new(None, []);
    source.set("auth.auth_type=trust");
    assert!(source.load().is_ok());

    assert!(
        messages("[auth]\nauth_type = \"md5\"\n[[users]]\nname = \"a\"")[0]
            .contains("auth.auth_type is md5")
    );
    assert!(
        messages("[auth]\nauth_type = \"md5\"\n[[users]]\nname = \"a\"\npassword = \"x\"")
            .is_empty()
    );
}

#[test]
fn what_follows_from_a_reported_mistake_is_not_reported_again() {
    let found = messages("[auth]\nauth_type = \"md5\"\n[upstream]\nurl = \"postgres://u:p@a:x\"");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn level_ttl_and_rules_are_accepted() {
    let text = "[cache]\nlevel = \"ttl\"\n[[cache.rules]]\nshape = \"00ff00ff00ff00ff\"\ntags = [\"a\"]\n[[cache.rules]]\ncache = false";
    assert_eq!(messages(text), Vec::<String>::new());
}
