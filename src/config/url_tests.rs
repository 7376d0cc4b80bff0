use super::*;

fn url() -> UpstreamUrl {
    UpstreamUrl::default()
}

fn text(text: &str) -> Option<String> {
    Some(text.into())
}

#[test]
fn urls_name_what_libpq_says_they_name() {
    let table = [
        ("postgres://", url()),
        ("postgresql://", url()),
        (
            "postgresql://localhost",
            UpstreamUrl {
                host: text("localhost"),
                ..url()
            },
        ),
        (
            "postgres://localhost:5433",
            UpstreamUrl {
                host: text("localhost"),
                port: Some(5433),
                ..url()
            },
        ),
        (
            "postgres://shop:s%40cret%2F@db.internal:5433/orders",
            UpstreamUrl {
                host: text("db.internal"),
                port: Some(5433),
                user: text("shop"),
                password: text("s@cret/"),
                dbname: text("orders"),
                ..url()
            },
        ),
        (
            "postgres://shop:a:b@db/orders",
            UpstreamUrl {
                host: text("db"),
                user: text("shop"),
                password: text("a:b"),
                dbname: text("orders"),
                ..url()
            },
        ),
        (
            "postgres://[2001:db8::1]:5433/x",
            UpstreamUrl {
                host: text("2001:db8::1"),
                port: Some(5433),
                dbname: text("x"),
                ..url()
            },
        ),
        (
            "postgres://[::1]",
            UpstreamUrl {
                host: text("::1"),
                ..url()
            },
        ),
        (
            "postgres://%2Fvar%2Frun%2Fpostgresql/app",
            UpstreamUrl {
                host: text("/var/run/postgresql"),
                dbname: text("app"),
                ..url()
            },
        ),
        (
            "postgres:///app?host=/var/run/postgresql&port=5433",
            UpstreamUrl {
                host: text("/var/run/postgresql"),
                port: Some(5433),
                dbname: text("app"),
                ..url()
            },
        ),
        (
            "postgres://u@h?user=v&password=w&dbname=x",
            UpstreamUrl {
                host: text("h"),
                user: text("v"),
                password: text("w"),
                dbname: text("x"),
                ..url()
            },
        ),
        (
            "postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem",
            UpstreamUrl {
                host: text("h"),
                dbname: text("d"),
                sslmode: Some(SslMode::VerifyFull),
                sslrootcert: Some(Some("/ca.pem".into())),
                sslcert: Some("/c.pem".into()),
                sslkey: Some("/k.pem".into()),
                ..url()
            },
        ),
        (
            "postgres://h?application_name=my+app%20x&connect_timeout=3&options=-c%20geqo%3Doff",
            UpstreamUrl {
                host: text("h"),
                application_name: text("my+app x"),
                connect_timeout: Some(Duration::from_secs(3)),
                options: text("-c geqo=off"),
                ..url()
            },
        ),
        (
            "postgres://h?connect_timeout=0&target_session_attrs=any&channel_binding=prefer",
            UpstreamUrl {
                host: text("h"),
                target_session_attrs: Some(TargetSessionAttrs::Any),
                ..url()
            },
        ),
        (
            "postgres://u:p@h1:1,h2,[::1]:3/d?target_session_attrs=read-write",
            UpstreamUrl {
                host: text("h1:1,h2:5432,[::1]:3"),
                user: text("u"),
                password: text("p"),
                dbname: text("d"),
                target_session_attrs: Some(TargetSessionAttrs::ReadWrite),
                ..url()
            },
        ),
        (
            "postgres:///d?host=a,%2Frun&port=7",
            UpstreamUrl {
                host: text("a:7,/run:7"),
                dbname: text("d"),
                ..url()
            },
        ),
        (
            "postgres:///d?host=a,b&port=1,",
            UpstreamUrl {
                host: text("a:1,b:5432"),
                dbname: text("d"),
                ..url()
            },
        ),
    ];
    for (given, meant) in table {
        assert_eq!(UpstreamUrl::parse(given), Ok(meant), "{given}");
    }
}

#[test]
fn tls_may_begin_without_a_request() {
    let negotiation = |word: &str| {
        let url = UpstreamUrl::parse(&format!("postgres://h?sslnegotiation={word}"));
        url.map(|url| url.sslnegotiation)
    };
    assert_eq!(negotiation("direct"), Ok(Some(SslNegotiation::Direct)));
    assert_eq!(negotiation("postgres"), Ok(Some(SslNegotiation::Postgres)));
    let error = negotiation("requiredirect").unwrap_err();
    assert!(
        error[0]
            .to_string()
            .starts_with("sslnegotiation: expected one of postgres, direct")
    );
}

#[test]
fn root_certificates_never_weaken_the_mode() {
    let mode =
        |query: &str| UpstreamUrl::parse(&format!("postgres://h?{query}")).map(|url| url.sslmode);
    assert_eq!(mode("sslrootcert=system"), Ok(Some(SslMode::VerifyFull)));
    assert_eq!(
        mode("sslmode=require&sslrootcert=/ca.pem"),
        Ok(Some(SslMode::VerifyCa))
    );
    assert_eq!(mode("ssl=true"), Ok(Some(SslMode::Require)));
    assert!(mode("sslmode=require&sslrootcert=system").is_err());
}

#[test]
fn wrong_urls_say_what_is_wrong() {
    let table = [
        ("", UrlError::Scheme),
        ("mysql://h", UrlError::Scheme),
        ("host=h dbname=d", UrlError::Scheme),
        ("postgres://h1:1,,h2:2/d", UrlError::EmptyHost),
        ("postgres://h1:1,h2:x/d", UrlError::Port),
        (
            "postgres:///d?host=a,b,c&port=1,2",
            UrlError::PortCount { ports: 2, hosts: 3 },
        ),
        ("postgres://[::1", UrlError::Bracket),
        ("postgres://[::1]x", UrlError::AfterBracket),
        ("postgres://u:p@ss@h/d", UrlError::AtSign),
        ("postgres://h:0", UrlError::Port),
        ("postgres://h:65536", UrlError::Port),
        ("postgres://h:x", UrlError::Port),
        ("postgres://h/%zz", UrlError::Percent),
        ("postgres://h/%4", UrlError::Percent),
        ("postgres://h/%00", UrlError::Percent),
        ("postgres://h/%ff", UrlError::Encoding),
        ("postgres://h?sslmode", UrlError::NoValue("sslmode".into())),
        (
            "postgres://h?ssl_mode=require",
            UrlError::UnknownParameter {
                name: "ssl_mode".into(),
                nearest: Some("sslmode"),
            },
        ),
        (
            "postgres://h?keepalives_idle=5",
            UrlError::Unsupported("keepalives_idle".into()),
        ),
        (
            "postgres://h?channel_binding=require",
            UrlError::Unsupported("channel_binding".into()),
        ),
    ];
    for (given, error) in table {
        assert_eq!(UpstreamUrl::parse(given), Err(vec![error]), "{given}");
    }
}

#[test]
fn every_wrong_parameter_is_reported() {
    let errors =
        UpstreamUrl::parse("postgres://h?sslmode=full&connect_timeout=soon&pgbouncer=true")
            .unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(text[0].starts_with("sslmode: expected one of disable"));
    assert_eq!(
        text[1],
        "connect_timeout: expected a whole number of seconds"
    );
    assert!(text[2].starts_with("unknown parameter pgbouncer"));
}

#[test]
fn errors_never_repeat_a_password() {
    for given in [
        "postgres://u:hush@ush@h/d",
        "postgres://u:hu%sh@h/d",
        "postgres://u@h?password=x&hush!",
        "postgres://u@h?password=x&hush!=1",
    ] {
        let errors = UpstreamUrl::parse(given).unwrap_err();
        assert!(
            !format!("{errors:?}").contains("ush"),
            "{given}: {errors:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", query in "[a-z=&%0-9]*") {
        let _ = UpstreamUrl::parse(&text);
        let _ = UpstreamUrl::parse(&format!("postgres://{text}"));
        let _ = UpstreamUrl::parse(&format!("postgres://h/d?{query}"));
    }
}
