use super::*;

fn network(address: &str, prefix: u8) -> Network {
    Network::new(address.parse().unwrap(), prefix).unwrap()
}

/// The line that decides over a client of this address in clear; 0 for none.
fn decided(hba: &str, address: &str, user: &str, database: &str) -> usize {
    let hba = Hba::parse(hba).unwrap();
    let visit = Visit {
        address: (address != "local").then(|| address.parse().unwrap()),
        encrypted: false,
        user,
        database,
        is_physical: database == "<physical>",
        is_own: &|address| address == IpAddr::from([10, 1, 2, 3]),
        own_networks: &|| vec![network("10.1.2.0", 24), network("::1", 128)],
    };
    hba.decide(&visit).map_or(0, |rule| rule.line)
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
            address: Some("10.0.0.1".parse().unwrap()),
            encrypted,
            user: "amy",
            database: "shop",
            is_physical: false,
            is_own: &|_| false,
            own_networks: &Vec::new,
        };
        Hba::parse(hba).unwrap().decide(&visit).is_some()
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
fn options_are_read() {
    let hba = Hba::parse(
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
        "host all +admins all trust",
        "host samerole all all trust",
        "host @file all all trust",
        "host \"all all all trust",
        "host,local all all all trust",
        "host all , all trust",
        // PostgreSQL takes this for the next field.
        "host all ,all all trust",
        "host all /( all trust",
        "include other.conf",
    ] {
        let error = Hba::parse(&format!("# first\n{line}")).unwrap_err();
        assert_eq!(error.line, 2, "{line}");
    }
}

#[test]
fn maps_say_who_may_be_whom() {
    let maps = IdentMaps::parse(
        "# map system user\n\
         people ann amy\n\
         people /^(.*)@example\\.com$ \\1\n\
         people \"Mr X\" \"guest user\"\n\
         all /^.*$ guest\n",
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
    ] {
        assert_eq!(
            maps.allows(map, system, user),
            expected,
            "{map:?} {system} {user}"
        );
    }
    for wrong in ["a b", "a b c d", "a b,c d", "a /( b", "a b \\1", "a /b \\1"] {
        assert!(IdentMaps::parse(wrong).is_err(), "{wrong}");
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
