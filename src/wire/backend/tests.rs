use bytes::BytesMut;
use proptest::prelude::*;

use super::super::frame::take_frame;
use super::super::report::ErrorReport;
use super::super::sqlstate::SqlState;
use super::super::tag::backend as tag;
use super::*;

/// The body of the only message that `encode` appends.
fn body(expected_tag: u8, encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    let frame = take_frame(&mut out, usize::MAX).unwrap().unwrap();
    assert!(out.is_empty());
    assert_eq!(frame.tag(), expected_tag);
    frame.body().to_vec()
}

#[test]
fn authentication_requests_survive_a_round_trip() {
    let read = |encode: fn(&mut BytesMut), expected: Authentication<'_>| {
        let bytes = body(tag::AUTHENTICATION, encode);
        assert_eq!(Authentication::read(&bytes), Ok(expected));
    };
    read(authentication_ok, Authentication::Ok);
    read(authentication_cleartext, Authentication::Cleartext);
    read(
        |out| authentication_md5(out, *b"salt"),
        Authentication::Md5(*b"salt"),
    );
    read(
        |out| authentication_sasl(out, &["SCRAM-SHA-256"]),
        Authentication::Sasl(vec![b"SCRAM-SHA-256"]),
    );
    read(
        |out| authentication_sasl_continue(out, b"r=1"),
        Authentication::SaslContinue(b"r=1"),
    );
    read(
        |out| authentication_sasl_final(out, b"v=1"),
        Authentication::SaslFinal(b"v=1"),
    );
    assert_eq!(
        Authentication::read(&[0, 0, 0, 7]),
        Ok(Authentication::Other(7))
    );
    assert_eq!(
        Authentication::read(&[0, 0, 0, 0, 0]),
        Err(WireError::TrailingData)
    );
}

#[test]
fn error_fields_are_read_back() {
    let report = ErrorReport::fatal(SqlState::TOO_MANY_CONNECTIONS, "too\0many")
        .with_detail("detail")
        .with_hint("hint");
    let bytes = body(tag::ERROR, |out| error(out, &report));
    let fields = Fields::read(&bytes).unwrap();
    assert_eq!(fields.code(), SqlState::TOO_MANY_CONNECTIONS);
    assert_eq!(fields.get(b'S'), Some(&b"FATAL"[..]));
    assert_eq!(fields.get(b'V'), Some(&b"FATAL"[..]));
    assert_eq!(fields.get(b'M'), Some(&b"too many"[..]));
    assert_eq!(fields.get(b'D'), Some(&b"detail"[..]));
    assert_eq!(fields.get(b'H'), Some(&b"hint"[..]));
    assert_eq!(fields.get(b'W'), None);
    assert_eq!(fields.iter().count(), 6);
    assert_eq!(body(tag::NOTICE, |out| notice(out, &report)), bytes);
    assert!(Fields::read(b"").is_err());
    assert!(Fields::read(b"Mx\0").is_err());
    assert!(Fields::read(b"Mx\0\0y").is_err());
}

#[test]
fn version_negotiation_names_version_and_options() {
    let bytes = body(tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        negotiate_protocol_version(out, 2, &["_pq_.a", "_pq_.b"]);
    });
    let options: Vec<&[u8]> = vec![b"_pq_.a", b"_pq_.b"];
    assert_eq!(negotiated_version(&bytes), Ok((196_610, options)));
    assert!(negotiated_version(&[0, 3, 0, 2, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn keys_statuses_and_parameters_survive_a_round_trip() {
    for len in [4, 32, 256] {
        let key = vec![1; len];
        let bytes = body(tag::BACKEND_KEY_DATA, |out| {
            backend_key_data(out, 0xffff_fffe, &key);
        });
        assert_eq!(backend_key(&bytes), Ok((0xffff_fffe, &key[..])));
    }
    assert_eq!(
        backend_key(&[0, 0, 0, 1, 1, 2, 3]),
        Err(WireError::CancelKeyLength)
    );
    for status in [
        TransactionStatus::Idle,
        TransactionStatus::InBlock,
        TransactionStatus::Failed,
    ] {
        let bytes = body(tag::READY_FOR_QUERY, |out| ready_for_query(out, status));
        assert_eq!(ready_status(&bytes), Ok(status));
    }
    assert_eq!(ready_status(b"?"), Err(WireError::TransactionStatus(b'?')));
    let bytes = body(tag::PARAMETER_STATUS, |out| {
        parameter_status_message(out, b"TimeZone", b"\xff");
    });
    assert_eq!(
        parameter_status(&bytes),
        Ok((&b"TimeZone"[..], &b"\xff"[..]))
    );
    let bytes = body(tag::COMMAND_COMPLETE, |out| {
        command_complete(out, "SELECT 1");
    });
    assert_eq!(command_tag(&bytes), Ok(&b"SELECT 1"[..]));
}

#[test]
fn bare_answers_have_no_body() {
    type Encoder = fn(&mut BytesMut);
    let table: [(u8, Encoder); 6] = [
        (tag::PARSE_COMPLETE, parse_complete),
        (tag::BIND_COMPLETE, bind_complete),
        (tag::CLOSE_COMPLETE, close_complete),
        (tag::NO_DATA, no_data),
        (tag::EMPTY_QUERY, empty_query),
        (tag::PORTAL_SUSPENDED, portal_suspended),
    ];
    for (tag, encode) in table {
        assert!(body(tag, encode).is_empty());
    }
}

#[test]
fn columns_are_read_back() {
    let columns = [Column {
        name: "cl_active",
        type_oid: 20,
        type_len: 8,
    }];
    let bytes = body(tag::ROW_DESCRIPTION, |out| {
        row_description_message(out, &columns);
    });
    let read = row_description(&bytes).unwrap();
    assert_eq!(
        read,
        [ColumnView {
            name: b"cl_active",
            table_oid: 0,
            column: 0,
            type_oid: 20,
            type_len: 8,
            type_modifier: -1,
            format: 0,
        }]
    );
    assert!(row_description(&bytes[..bytes.len() - 1]).is_err());
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..120)) {
        let _ = Authentication::read(&body);
        if let Ok(fields) = Fields::read(&body) {
            let len: usize = fields.iter().map(|(_, text)| text.len() + 2).sum();
            prop_assert_eq!(len + 1, body.len());
        }
        let _ = command_tag(&body);
        let _ = ready_status(&body);
        let _ = parameter_status(&body);
        let _ = backend_key(&body);
        let _ = negotiated_version(&body);
        let _ = row_description(&body);
        let _ = data_row(&body);
        let _ = parameter_description(&body);
    }

    #[test]
    fn rows_survive_a_round_trip(values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)), 0..12)) {
        let borrowed: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
        let bytes = body(tag::DATA_ROW, |out| data_row_message(out, &borrowed));
        let read = data_row(&bytes).unwrap();
        prop_assert_eq!(read.as_slice(), &borrowed[..]);
    }
}
