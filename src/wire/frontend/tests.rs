use bytes::BytesMut;
use proptest::prelude::*;

use super::super::frame::take_frame;
use super::super::tag::frontend as tag;
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
fn bind_lengths_never_leave_the_body() {
    // One parameter whose length says 5 where only 4 bytes follow.
    let bytes = b"\0s\0\0\0\0\x01\0\0\0\x05abcd";
    assert_eq!(Bind::read(bytes), Err(WireError::Truncated));
    // The length takes the result formats away.
    let bytes = b"\0s\0\0\0\0\x01\0\0\0\x02ab";
    assert_eq!(Bind::read(bytes), Err(WireError::Truncated));
    // Only -1 is NULL.
    let bytes = b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0";
    assert_eq!(Bind::read(bytes), Err(WireError::Truncated));
    // More parameters than bytes.
    let bytes = b"\0s\0\0\0\xff\xff\0\0";
    assert_eq!(Bind::read(bytes), Err(WireError::Truncated));
    let bytes = b"\0s\0\0\0\0\x02\xff\xff\xff\xff\0\0\0\0\0\0";
    let bind = Bind::read(bytes).unwrap();
    assert_eq!(bind.parameters.as_slice(), [None, Some(&b""[..])]);
    assert_eq!(bind.tail, &bytes[3..]);
}

#[test]
fn trailing_bytes_are_refused() {
    assert_eq!(Query::read(b"select 1\0x"), Err(WireError::TrailingData));
    assert_eq!(Execute::read(b"\0\0\0\0\0\0"), Err(WireError::TrailingData));
    assert_eq!(Parse::read(b"\0\0\0\0\0"), Err(WireError::TrailingData));
    assert_eq!(Close::read(b"Sx\0\0"), Err(WireError::TrailingData));
    assert_eq!(read_empty(b"x"), Err(WireError::TrailingData));
    assert_eq!(Query::read(b"select 1"), Err(WireError::UnterminatedString));
}

#[test]
fn one_format_holds_for_all_parameters() {
    let bind = Bind::read(b"\0\0\0\x01\0\x01\0\0\0\0").unwrap();
    assert_eq!(bind.parameter_format(0), 1);
    assert_eq!(bind.parameter_format(70_000), 1);
}

#[test]
fn nul_in_a_name_does_not_become_another_field() {
    let bytes = body(tag::PARSE, |out| parse(out, b"a\0b", b"select 1", &[]));
    let parse = Parse::read(&bytes).unwrap();
    assert_eq!((parse.name, parse.sql), (&b"a"[..], &b"select 1"[..]));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1u8.., 0..20)
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..120)) {
        let _ = Query::read(&body);
        let _ = Parse::read(&body);
        let _ = Bind::read(&body);
        let _ = Describe::read(&body);
        let _ = Close::read(&body);
        let _ = Execute::read(&body);
        let _ = SaslInitial::read(&body);
        let _ = read_password(&body);
        let _ = read_empty(&body);
    }

    #[test]
    fn messages_survive_a_round_trip(name in text(), sql in text(), types in proptest::collection::vec(any::<u32>(), 0..9), max_rows in any::<i32>()) {
        let bytes = body(tag::QUERY, |out| query(out, &sql));
        prop_assert_eq!(Query::read(&bytes), Ok(Query { sql: &sql }));
        let bytes = body(tag::PARSE, |out| parse(out, &name, &sql, &types));
        prop_assert_eq!(Parse::read(&bytes), Ok(Parse { name: &name, sql: &sql, parameter_types: types }));
        let bytes = body(tag::EXECUTE, |out| execute(out, &name, max_rows));
        prop_assert_eq!(Execute::read(&bytes), Ok(Execute { portal: &name, max_rows }));
        for target in [Target::Statement, Target::Portal] {
            let bytes = body(tag::DESCRIBE, |out| describe(out, target, &name));
            prop_assert_eq!(Describe::read(&bytes), Ok(Describe { target, name: &name }));
            let bytes = body(tag::CLOSE, |out| close(out, target, &name));
            prop_assert_eq!(Close::read(&bytes), Ok(Close { target, name: &name }));
        }
        let bytes = body(tag::PASSWORD, |out| sasl_initial(out, "SCRAM-SHA-256", &sql));
        let initial = SaslInitial::read(&bytes).unwrap();
        prop_assert_eq!((initial.mechanism, initial.data), (&b"SCRAM-SHA-256"[..], Some(&sql[..])));
    }

    #[test]
    fn bind_is_renamed_without_touching_its_tail(portal in text(), statement in text(), values in proptest::collection::vec(proptest::option::of(text()), 0..9)) {
        let mut tail = vec![0, 1, 0, 1];
        tail.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in &values {
            match value {
                None => tail.extend_from_slice(&(-1i32).to_be_bytes()),
                Some(bytes) => {
                    tail.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
                    tail.extend_from_slice(bytes);
                }
            }
        }
        tail.extend_from_slice(&[0, 0]);
        let bytes = body(tag::BIND, |out| bind_raw(out, &portal, &statement, &tail));
        let bind = Bind::read(&bytes).unwrap();
        prop_assert_eq!(bind.portal, &portal);
        prop_assert_eq!(bind.statement, &statement);
        prop_assert_eq!(bind.tail, &tail);
        let read: Vec<Option<Vec<u8>>> = bind.parameters.iter().map(|v| v.map(<[u8]>::to_vec)).collect();
        prop_assert_eq!(read, values);
    }
}
