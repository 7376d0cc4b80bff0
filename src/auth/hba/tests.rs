use std::collections::HashSet;

use super::*;

fn network(address: &str, prefix: u8) -> Network {
    Network::new(address.parse().unwrap(), prefix).unwrap()
}

/// Files that exist nowhere else. A directory is a path that ends in a slash.
fn read(path: &str, files: &[(&str, &str)]) -> Result<Hba, HbaError> {
    with(files, |files| Hba::read(Path::new(path), files))
}

fn with<T>(known: &[(&str, &str)], then: impl FnOnce(&Files<'_>) -> T) -> T {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    then(&Files {
        read: &|path| {
            let mut known = known.iter();
            let found = known.find(|(name, _)| Path::new(name) == path);
            found
                .map(|(_, text)| (*text).to_owned())
                .ok_or_else(missing)
        },
        list: &|path| {
            let inside = |name: &&str| Path::new(name).parent() == Some(path);
            let names: Vec<String> = known
                .iter()
                .map(|(name, _)| *name)
                .filter(inside)
                .filter_map(|name| Some(Path::new(name).file_name()?.to_str()?.to_owned()))
                .collect();
            match names.is_empty() {
                true => Err(missing()),
                false => Ok(names),
            }
        },
    })
}

fn parse(hba: &str) -> Result<Hba, HbaError> {
    read("hba", &[("hba", hba)])
}

fn maps(text: &str) -> Result<IdentMaps, HbaError> {
    with(&[("ident", text)], |files| {
        IdentMaps::read(Path::new("ident"), files)
    })
}

/// A visit in clear from 10.0.0.1.
fn visit<'a>(user: &'a str, database: &'a str) -> Visit<'a> {
    Visit {
        address: Some(IpAddr::from([10, 0, 0, 1])),
        encrypted: false,
        user,
        database,
        is_physical: false,
        roles: None,
        is_own: &|_| false,
        own_networks: &Vec::new,
    }
}

/// The line that decides over a client of this address in clear; 0 for none.
fn decided(hba: &str, address: &str, user: &str, database: &str) -> usize {
    let hba = parse(hba).unwrap();
    let visit = Visit {
        address: (address != "local").then(|| address.parse().unwrap()),
        is_physical: database == "<physical>",
        is_own: &|address| address == IpAddr::from([10, 1, 2, 3]),
        own_networks: &|| vec![network("10.1.2.0", 24), network("::1", 128)],
        ..visit(user, database)
    };
    hba.decide(&visit).unwrap().map_or(0, |rule| rule.line)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let hba = "\
# comment
local   all             postgres                        trust
host    shop,\"all\", x amy,bob     10.0.0.0/8           md5 # comment
host    sameuser        all         10.0.0.0 255.0.0.0   scram-sha-256
host    replication     all         all                  trust
host    all             \"all\"     ::1/128              trust
host    all             /^w[0-9]+$  samenet \\
        password
host    all             own         samehost             password
";
    for (expected, address, user, database) in [
        (2, "local", "postgres", "any"),
        (0, "local", "amy", "shop"),
        (3, "10.200.0.1", "amy", "shop"),
        (3, "10.200.0.1", "bob", "all"),
        (3, "::ffff:10.200.0.1", "bob", "x"),
        (0, "10.200.0.1", "amy", "other"),
        (0, "11.0.0.1", "amy", "shop"),
        (4, "10.9.9.9", "eve", "eve"),
        (0, "192.0.2.1", "eve", "replication"),
        (5, "192.0.2.1", "eve", "<physical>"),
        (5, "::1", "all", "<physical>"),
        (2, "local", "postgres", "replication"),
        (0, "local", "postgres", "<physical>"),
        (6, "::1", "all", "shop"),
        (0, "::1", "eve", "shop"),
        (7, "10.1.2.77", "w12", "shop"),
        (0, "10.1.3.77", "w12", "shop"),
        (0, "10.1.2.77", "w", "shop"),
        (9, "10.1.2.3", "own", "shop"),
        (0, "10.1.2.4", "own", "shop"),
    ] {
        assert_eq!(
            decided(hba, address, user, database),
            expected,
            "{address} {user} {database}"
        );
    }
}

#[test]
fn rules_may_ask_for_encryption_or_for_none() {
    let decided = |hba: &str, encrypted| {
        let visit = Visit {
            encrypted,
            ..visit("amy", "shop")
        };
        parse(hba).unwrap().decide(&visit).unwrap().is_some()
    };
    for (kind, encrypted, expected) in [
        ("host", true, true),
        ("host", false, true),
        ("hostnogssenc", false, true),
        ("hostssl", true, true),
        ("hostssl", false, false),
        ("hostnossl", true, false),
        ("hostnossl", false, true),
        ("hostgssenc", true, false),
    ] {
        let hba = format!("{kind} all all all trust");
        assert_eq!(decided(&hba, encrypted), expected, "{kind} {encrypted}");
    }
}

#[test]
fn expressions_may_stand_in_quotes_for_the_sake_of_a_comma() {
    let hba = "host db,\"/^s[a-z]{1,3}p$\" \"+amy\",\"/^a\" all trust\nhost \"all\" bob all trust";
    for (expected, user, database) in [
        (1, "amy", "shop"),
        (1, "+amy", "db"),
        (0, "amy", "s"),
        (0, "bob", "shop"),
        (2, "bob", "all"),
    ] {
        let decided = decided(hba, "10.0.0.1", user, database);
        assert_eq!(decided, expected, "{user} {database}");
    }
}

#[test]
fn roles_are_asked_for_only_where_they_decide() {
    let hba = parse(
        "host shop amy,+staff all trust\n\
         host samerole +\"old guard\" all trust\n\
         host all +staff 192.0.2.0/24 trust\n\
         host all bob all reject\n",
    )
    .unwrap();
    let roles = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let staff: HashSet<String> = roles(&["eve", "staff"]);
    let guard: HashSet<String> = roles(&["eve", "old guard", "attic"]);
    let nobody = HashSet::new();
    let line = |user, database, roles| {
        let visit = Visit {
            roles,
            ..visit(user, database)
        };
        let decided = hba.decide(&visit);
        decided.map(|rule| rule.map_or(0, |rule| rule.line))
    };
    assert_eq!(line("amy", "shop", None), Ok(1));
    assert_eq!(line("eve", "shop", None), Err(NeedsRoles));
    assert_eq!(line("bob", "attic", None), Err(NeedsRoles));
    for (expected, user, database, roles) in [
        (1, "eve", "shop", &staff),
        (2, "eve", "attic", &guard),
        (0, "eve", "cellar", &guard),
        (0, "eve", "attic", &staff),
        (4, "bob", "attic", &nobody),
    ] {
        let decided = line(user, database, Some(roles));
        assert_eq!(decided, Ok(expected), "{user} {database} {roles:?}");
    }
}

#[test]
fn physical_replication_is_only_for_rules_that_name_it() {
    let hba = parse("host all all all trust\nhost x,replication amy all md5").unwrap();
    let line = |user| {
        let visit = Visit {
            is_physical: true,
            ..visit(user, "x")
        };
        hba.decide(&visit).unwrap().map(|rule| rule.line)
    };
    assert_eq!((line("amy"), line("bob")), (Some(2), None));
}

#[test]
fn files_name_files() {
    let files = [
        (
            "/etc/hba",
            "include rules/first.conf\n\
             include_if_exists missing.conf\n\
             include_if_exists \"with blank\"\n\
             include_dir rules/more\n\
             host @lists/databases amy,@\"lists/some users\" all trust\n",
        ),
        (
            "/etc/rules/first.conf",
            "include second.conf\nhost a a all trust",
        ),
        ("/etc/rules/second.conf", "host b b all trust"),
        ("/etc/with blank", "host c c all trust"),
        ("/etc/rules/more/2.conf", "host e e all trust"),
        ("/etc/rules/more/1.conf", "# d\nhost d d all trust"),
        ("/etc/rules/more/.hidden.conf", "host h h all trust"),
        ("/etc/rules/more/other", "mistake"),
        ("/etc/lists/databases", "shop, # the first\n\"all\" other\n"),
        ("/etc/lists/some users", "bob\n@more\n"),
        ("/etc/lists/more", "eve \"@ann\""),
    ];
    let hba = read("/etc/hba", &files).unwrap();
    let decided = |user, database| {
        let rule = hba.decide(&visit(user, database)).unwrap()?;
        Some((rule.file.to_str().unwrap().to_owned(), rule.line))
    };
    let at = |file: &str, line| Some((format!("/etc/{file}"), line));
    for (name, expected) in [
        ("b", at("rules/second.conf", 1)),
        ("a", at("rules/first.conf", 2)),
        ("c", at("with blank", 1)),
        ("d", at("rules/more/1.conf", 2)),
        ("e", at("rules/more/2.conf", 1)),
        ("h", None),
    ] {
        assert_eq!(decided(name, name), expected, "{name}");
    }
    for user in ["amy", "bob", "eve", "@ann"] {
        for database in ["shop", "all", "other"] {
            assert_eq!(decided(user, database), at("hba", 5), "{user} {database}");
        }
    }
    assert_eq!(decided("more", "shop"), None);
    let seen: Vec<_> = hba
        .files()
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect();
    for path in ["/etc/missing.conf", "/etc/rules/more", "/etc/lists/more"] {
        assert!(seen.contains(&path), "{path}: {seen:?}");
    }
}

#[test]
fn files_that_name_each_other_end_in_an_error() {
    for (files, file, line) in [
        (&[("a", "\ninclude a")][..], "a", 2),
        (
            &[("a", "include b"), ("b", "host @a all all trust")],
            "a",
            1,
        ),
        (
            &[("a", "include_dir d"), ("d/x.conf", "include x.conf")],
            "d/x.conf",
            1,
        ),
        // Not deep, but without end.
        (
            &[
                ("a", "include b\ninclude b"),
                ("b", "host @a,@a all all trust\n"),
            ],
            "",
            1,
        ),
        (
            &[("a", "host all @nobody all trust"), ("nobody", "# none")],
            "a",
            1,
        ),
        (
            &[("a", "host all all all trust\ninclude b"), ("b", "\nhots")],
            "b",
            2,
        ),
    ] {
        let error = read("a", files).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(file.is_empty() || error.file == Path::new(file), "{error}");
    }
}

#[test]
fn options_are_read() {
    let hba = parse(
        "hostssl all all all cert map=people clientname=CN\n\
         hostssl all all all scram-sha-256 clientcert=verify-ca\n\
         local all all ident map=\"os people\"\n",
    )
    .unwrap();
    let [cert, scram, peer] = hba.rules() else {
        panic!("{hba:?}");
    };
    assert_eq!(cert.method, Method::Cert);
    assert_eq!(cert.client_cert, Some(ClientCert::VerifyFull));
    assert_eq!(cert.map.as_deref(), Some("people"));
    assert_eq!(scram.client_cert, Some(ClientCert::VerifyCa));
    assert_eq!(peer.method, Method::Peer);
    assert_eq!(peer.map.as_deref(), Some("os people"));
}

#[test]
fn what_is_not_understood_stops_everything() {
    for line in [
        "hots all all all trust",
        "host",
        "host all",
        "host all all",
        "host all all 10.0.0.1",
        "host all all 10.0.0.0/33 trust",
        "host all all 10.0.0.0/+8 trust",
        "host all all 10.0.0.0 255.0.255.0 trust",
        "host all all 10.0.0.0 ffff:: trust",
        "host all all example.com trust",
        "host all all all",
        "host all all all ldap ldapserver=x",
        "host all all all peer",
        "local all all cert",
        "host all all all cert",
        "host all all all md5 clientcert=verify-ca",
        "hostssl all all all md5 clientcert=1",
        "hostssl all all all cert clientcert=verify-ca",
        "host all all all md5 map=x",
        "host all all all trust option",
        "host @file all all trust",
        "host \"all all all trust",
        "host,local all all all trust",
        "host all , all trust",
        // PostgreSQL takes this for the next field.
        "host all ,all all trust",
        "host all /( all trust",
        "include other.conf",
        "include_dir folder",
        "include one two",
        "include_if_exists",
    ] {
        let error = parse(&format!("# first\n{line}")).unwrap_err();
        assert_eq!(error.line, 2, "{line}");
    }
}

#[test]
fn maps_say_who_may_be_whom() {
    let known = maps(
        "# map system user\n\
         people ann amy\n\
         people /^(.*)@example\\.com$ \\1\n\
         people \"Mr X\" \"guest user\"\n\
         all /^.*$ guest\n\
         any root all\n\
         any \"lone\" \"all\"\n\
         some root /^a\n",
    )
    .unwrap();
    for (map, system, user, expected) in [
        (None, "ann", "ann", true),
        (None, "ann", "amy", false),
        (Some("people"), "ann", "amy", true),
        (Some("people"), "ann", "ann", false),
        (Some("people"), "bob@example.com", "bob", true),
        (Some("people"), "bob@example.com", "amy", false),
        (Some("people"), "bob@example.org", "bob", false),
        (Some("people"), "Mr X", "guest user", true),
        (Some("all"), "anybody", "guest", true),
        (Some("missing"), "ann", "ann", false),
        (Some("any"), "root", "amy", true),
        (Some("any"), "ann", "amy", false),
        (Some("any"), "lone", "all", true),
        (Some("any"), "lone", "amy", false),
        (Some("some"), "root", "amy", true),
        (Some("some"), "root", "bob", false),
    ] {
        assert_eq!(
            known.allows(map, system, user),
            expected,
            "{map:?} {system} {user}"
        );
    }
    for wrong in [
        "a b", "a b c d", "a b,c d", "a /( b", "a b \\1", "a /b \\1", "a b +c", "a b /(",
    ] {
        assert!(maps(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn networks_of_every_length() {
    assert!(network("0.0.0.0", 0).contains("203.0.113.9".parse().unwrap()));
    assert!(!network("0.0.0.0", 0).contains("::1".parse().unwrap()));
    assert!(network("::", 0).contains("2001:db8::1".parse().unwrap()));
    assert!(network("2001:db8::", 33).contains("2001:db8:7fff::1".parse().unwrap()));
    assert!(!network("2001:db8::", 33).contains("2001:db8:8000::1".parse().unwrap()));
    assert!(Network::new("10.0.0.1".parse().unwrap(), 33).is_none());
}
