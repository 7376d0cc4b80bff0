use proptest::prelude::*;

use super::*;
use crate::auth::{AuthError, Credential, Verifier};
use crate::config::Secret;

/// RFC 7677's example, as a verifier.
const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn pencil() -> ScramKeys {
    match Verifier::parse(PENCIL) {
        Ok(Verifier::Scram(keys)) => keys,
        other => panic!("{other:?}"),
    }
}

/// Plays both sides; what the server and the client think of it.
fn play(keys: ScramKeys, known: bool, password: &str) -> Result<Result<(), AuthError>, AuthError> {
    let mut server = ScramServer::new(keys, known);
    let (mut client, first) = ScramClient::new(password);
    let challenge = server.first(&first).unwrap();
    let answer = client.respond(&challenge).unwrap();
    let proof = server.last(&answer)?;
    Ok(client.finish(&proof))
}

fn password(text: &str) -> Credential {
    Credential {
        password: Some(Secret::new(text)),
        verifier: None,
    }
}

fn verifier(text: &str) -> Credential {
    Credential {
        password: None,
        verifier: Some(Secret::new(text)),
    }
}

#[test]
fn both_sides_play_the_example_of_rfc_7677() {
    // The RFC's client names its user, which changes nothing but the signatures.
    let mut server = ScramServer::new(pencil(), true);
    let first = server
        .first_with_nonce(
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
        .unwrap();
    assert_eq!(
        first,
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = server
        .last(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        .unwrap();
    assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn passwords_and_verifiers_let_the_right_ones_in() {
    let mock = MockSecret::random().unwrap();
    let from_password = password("pencil").scram_keys("amy", &mock).unwrap();
    let from_verifier = verifier(PENCIL).scram_keys("amy", &mock).unwrap();
    for keys in [from_password, from_verifier] {
        assert_eq!(play(keys.clone(), true, "pencil"), Ok(Ok(())));
        assert_eq!(play(keys.clone(), true, "pen"), Err(AuthError::Failed));
        assert_eq!(play(keys, false, "pencil"), Err(AuthError::Failed));
    }
    // Two spellings of one password.
    let keys = password("\u{2168}").scram_keys("amy", &mock).unwrap();
    assert_eq!(play(keys, true, "IX"), Ok(Ok(())));
}

#[test]
fn verifiers_serve_their_own_mechanism_only() {
    let mock = MockSecret::random().unwrap();
    let md5 = verifier("md500000000000000000000000000000000");
    assert!(md5.scram_keys("amy", &mock).is_none());
    assert!(md5.md5_verifier("amy").is_some());
    assert!(verifier(PENCIL).md5_verifier("amy").is_none());
    assert!(verifier(PENCIL).scram_keys("amy", &mock).is_some());
    assert!(password("x").md5_verifier("amy").is_some());
    for nothing in [Credential::default(), password(""), verifier("x")] {
        assert!(nothing.scram_keys("amy", &mock).is_none());
        assert!(nothing.md5_verifier("amy").is_none());
    }
}

#[test]
fn unknown_user_looks_like_a_known_one() {
    let mock = MockSecret::random().unwrap();
    let known = password("x").scram_keys("amy", &mock).unwrap();
    let fake = mock.keys("amy");
    assert_eq!(known.salt, fake.salt);
    assert_eq!(known.iterations, fake.iterations);
    assert_eq!(mock.salt("amy"), mock.salt("amy"));
    assert_ne!(mock.salt("amy"), mock.salt("bob"));
    assert_ne!(mock.salt("amy"), MockSecret::random().unwrap().salt("amy"));
}

#[test]
fn server_refuses_what_is_no_first_message() {
    let refuse = |message: &[u8]| ScramServer::new(pencil(), true).first(message).unwrap_err();
    for message in [
        &b""[..],
        b"x",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=",
        b"n,,r=abc",
        b"n,,n=,r=",
        b"n,,n=,r=a b",
        b"n,,n=,r=abc,1=2",
        b"n,,n=,r=abc\0",
        b"n,,n=\xff,r=abc",
        b"n,x,n=,r=abc",
        b"nn,,n=,r=abc",
        // Bound, where the mechanism is the one without.
        b"p=tls-server-end-point,,n=,r=abc",
    ] {
        let error = refuse(message);
        assert!(
            matches!(error, AuthError::Malformed(_)),
            "{message:?} {error}"
        );
        assert_eq!(error.report("amy").code.as_str(), "08P01");
    }
    for message in [&b"n,a=bob,n=,r=abc"[..], b"n,,m=x,n=,r=abc"] {
        let error = refuse(message);
        assert!(matches!(error, AuthError::Unsupported(_)), "{error}");
        assert_eq!(error.report("amy").code.as_str(), "0A000");
    }
}

#[test]
fn server_refuses_a_final_message_of_another_exchange() {
    let last = |header: &[u8], message: &[u8]| {
        let mut server = ScramServer::new(pencil(), true);
        let mut first = header.to_vec();
        first.extend_from_slice(b",,n=,r=abc");
        server.first_with_nonce(&first, "def").unwrap();
        server.last(message).unwrap_err()
    };
    let proof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let with_proof = |text: &str| format!("{text},{proof}").into_bytes();
    assert_eq!(
        last(b"n", &with_proof("c=biws,r=abcdef")),
        AuthError::Failed
    );
    assert_eq!(
        last(b"y", &with_proof("c=eSws,r=abcdef")),
        AuthError::Failed
    );
    assert!(matches!(
        last(b"n", &with_proof("c=eSws,r=abcdef")),
        AuthError::Malformed(_)
    ));
    assert!(matches!(
        last(b"n", &with_proof("c=biws,r=abcdeg")),
        AuthError::Response(_)
    ));
    for message in [
        &b""[..],
        b"c=biws,r=abcdef",
        b"c=biws,r=abcdef,p=",
        b"c=biws,r=abcdef,p=AAAA",
        b"p=AAAA",
    ] {
        assert!(matches!(last(b"n", message), AuthError::Malformed(_)));
    }
}

fn bound(hash: &[u8]) -> Channel {
    Channel::Bound(hash.into())
}

#[test]
fn exchange_is_bound_to_the_certificate_that_both_sides_saw() {
    let play = |server: Channel, client: Channel| {
        let mut server = ScramServer::over(server, pencil(), true);
        let (mut client, first) = ScramClient::over(client, "pencil");
        let challenge = server.first(&first)?;
        let proof = server.last(&client.respond(&challenge).unwrap())?;
        client.finish(&proof)
    };
    assert_eq!(play(bound(b"one"), bound(b"one")), Ok(()));
    // Somebody in between showed the client another certificate.
    assert_eq!(
        play(bound(b"one"), bound(b"two")),
        Err(AuthError::BindingMismatch)
    );
    // Somebody in between took the mechanism off the list.
    assert_eq!(
        play(Channel::Declined, Channel::Declined),
        Err(AuthError::Downgraded)
    );
    assert_eq!(play(Channel::Declined, Channel::Unbound), Ok(()));
    assert_eq!(play(Channel::Unbound, Channel::Declined), Ok(()));
    for (server, client) in [
        (bound(b"one"), Channel::Unbound),
        (bound(b"one"), Channel::Declined),
        (Channel::Declined, bound(b"one")),
        (Channel::Unbound, bound(b"one")),
    ] {
        assert!(matches!(play(server, client), Err(AuthError::Malformed(_))));
    }
}

#[test]
fn what_a_login_has_shown_logs_in_where_the_verifier_is_the_same() {
    let mut server = ScramServer::new(pencil(), true);
    let (mut client, first) = ScramClient::new("pencil");
    let challenge = server.first(&first).unwrap();
    assert!(server.client_keys().is_none());
    server.last(&client.respond(&challenge).unwrap()).unwrap();
    let keys = std::sync::Arc::new(server.client_keys().unwrap());

    let play = |verifier: ScramKeys| {
        let mut server = ScramServer::new(verifier, true);
        let (mut client, first) = ScramClient::with_keys(Channel::Unbound, keys.clone());
        let challenge = server.first(&first)?;
        let proof = server.last(&client.respond(&challenge)?)?;
        client.finish(&proof)
    };
    assert_eq!(play(pencil()), Ok(()));
    let salted_anew = ScramKeys::from_password("pencil", *b"another salt");
    assert_eq!(play(salted_anew), Err(AuthError::OtherVerifier));
    let other_password = ScramKeys::from_password("pen", pencil().salt.clone());
    assert_eq!(play(other_password), Err(AuthError::Failed));

    // A wrong proof shows nothing.
    let mut server = ScramServer::new(pencil(), true);
    let (mut client, first) = ScramClient::new("pen");
    let challenge = server.first(&first).unwrap();
    assert!(server.last(&client.respond(&challenge).unwrap()).is_err());
    assert!(server.client_keys().is_none());
}

#[test]
fn refused_bindings_have_the_codes_of_postgresql() {
    let mut server = ScramServer::over(bound(b"one"), pencil(), true);
    let error = server.first(b"p=tls-unique,,n=,r=abc").unwrap_err();
    assert_eq!(error.report("amy").code.as_str(), "08P01");
    for error in [AuthError::Downgraded, AuthError::BindingMismatch] {
        assert_eq!(error.report("amy").code.as_str(), "28000");
    }
}

#[test]
fn server_takes_each_step_once() {
    let mut server = ScramServer::new(pencil(), true);
    assert!(matches!(server.last(b"x"), Err(AuthError::Response(_))));
    let mut server = ScramServer::new(pencil(), true);
    server.first(b"n,,n=,r=abc").unwrap();
    assert!(server.first(b"n,,n=,r=abc").is_err());
}

#[test]
fn client_refuses_a_hostile_server() {
    let respond = |message: &[u8]| {
        let (mut client, first) = ScramClient::with_nonce(Channel::Unbound, "pencil", "abc".into());
        assert_eq!(first, b"n,,n=,r=abc");
        client.respond(message).unwrap_err()
    };
    assert_eq!(
        respond(b"r=abcdef,s=AAAA,i=1000001"),
        AuthError::Iterations(1_000_001)
    );
    for message in [&b"r=abc,s=AAAA,i=1"[..], b"r=xyzdef,s=AAAA,i=1"] {
        assert!(matches!(respond(message), AuthError::Response(_)));
    }
    for message in [
        &b""[..],
        b"r=abcdef",
        b"r=abcdef,s=,i=1",
        b"r=abcdef,s=?,i=1",
        b"r=abcdef,s=AAAA,i=0",
        b"r=abcdef,s=AAAA,i=-1",
        b"r=abcdef,s=AAAA,i=99999999999",
        b"e=other-error",
    ] {
        assert!(matches!(respond(message), AuthError::Malformed(_)));
    }
}

#[test]
fn client_wants_proof_that_the_server_knows_the_password() {
    let proven = || {
        let (mut client, _) = ScramClient::with_nonce(Channel::Unbound, "pencil", "abc".into());
        client.respond(b"r=abcdef,s=AAAA,i=1").unwrap();
        client
    };
    assert_eq!(
        proven().finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        Err(AuthError::ServerSignature)
    );
    assert_eq!(
        proven().finish(b"e=invalid-proof\x1b[1m,x"),
        Err(AuthError::Refused("invalid-proof[1m".into()))
    );
    assert!(proven().finish(b"v=").is_err());
    assert!(proven().finish(b"").is_err());
    let (mut early, _) = ScramClient::new("pencil");
    assert!(matches!(early.finish(b"v="), Err(AuthError::Response(_))));
}

proptest! {
    #[test]
    fn any_message_is_answered_or_refused(message in proptest::collection::vec(any::<u8>(), 0..80), text in "[nypcrsiev=,a-f]{0,40}") {
        for message in [&message[..], text.as_bytes()] {
            let _ = ScramServer::new(pencil(), true).first(message);
            let mut server = ScramServer::new(pencil(), true);
            server.first(b"n,,n=,r=abc").unwrap();
            prop_assert!(server.last(message).is_err());
            let (mut client, _) = ScramClient::new("pencil");
            prop_assert!(client.respond(message).is_err());
            let (mut client, _) = ScramClient::with_nonce(Channel::Unbound, "pencil", "abc".into());
            client.respond(b"r=abcdef,s=AAAA,i=1").unwrap();
            prop_assert!(client.finish(message).is_err());
            let _ = Verifier::parse(std::str::from_utf8(message).unwrap_or("md5"));
        }
    }
}
