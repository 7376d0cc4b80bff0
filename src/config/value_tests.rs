use std::time::Duration;

use super::*;
use crate::config::hidden::{Hidden, HiddenFile};
use crate::config::units::{Size, TIME, TIME_OR_ZERO};
use crate::config::{AuthType, Level, Secret, SslMode};

fn bare(text: &str) -> Raw {
    Raw::Bare(text.into())
}

#[test]
fn times_are_read_with_units() {
    for (text, ms) in [
        ("30s", 30_000),
        ("500ms", 500),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
        ("2min", 120_000),
        ("0", 0),
        (" 1d ", 86_400_000),
    ] {
        for raw in [bare(text), Raw::Text(text.into())] {
            assert_eq!(
                TIME_OR_ZERO.read(&raw),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }
    assert_eq!(TIME_OR_ZERO.read(&Raw::Integer(0)), Ok(Duration::ZERO));
}

#[test]
fn times_without_unit_or_out_of_range_are_refused() {
    for (raw, part) in [
        (
            Raw::Integer(30),
            "30 has no unit: write \"30s\" for seconds",
        ),
        (bare("30"), "30 has no unit"),
        (Raw::Text("soon".into()), "expected a time such as"),
        (Raw::Text(String::new()), "expected a time such as"),
        (Raw::Integer(-1), "no unit"),
        (Raw::Bool(true), "got true"),
        (bare("1000 years"), "at most 100 years"),
        (bare("99999999999999999999 years"), "expected a time"),
    ] {
        let why = TIME_OR_ZERO.read(&raw).unwrap_err();
        assert!(why.contains(part), "{raw:?}: {why}");
    }
    assert!(TIME.read(&bare("0")).unwrap_err().contains("at least 1ms"));
}

#[test]
fn sizes_use_units_of_1024() {
    let kind = Size(0, 1 << 50);
    for (text, bytes) in [
        ("256MB", 256 << 20),
        ("1MiB", 1 << 20),
        ("64kB", 64 << 10),
        ("64 KB", 64 << 10),
        ("2g", 2 << 30),
        ("1TB", 1u64 << 40),
        ("17", 17),
        ("17B", 17),
        ("0", 0),
    ] {
        assert_eq!(kind.read(&bare(text)), Ok(bytes), "{text}");
    }
    assert_eq!(kind.read(&Raw::Integer(8192)), Ok(8192u64));
    for text in ["", "MB", "-1MB", "1.5MB", "1XB", "99999999TB"] {
        let read: Result<u64, String> = kind.read(&bare(text));
        assert!(read.is_err(), "{text}");
    }
    let read: Result<u64, String> = Size(1024, 4096).read(&bare("8kB"));
    assert!(read.unwrap_err().contains("from 1kB to 4kB"));
}

#[test]
fn sizes_and_times_are_written_as_they_are_read() {
    for text in ["256MB", "1MB", "64kB", "1000B", "0B"] {
        let bytes: u64 = Size(0, MAX).read(&bare(text)).unwrap();
        assert_eq!(Size(0, MAX).show(&bytes), format!("{text:?}"));
    }
    for text in ["30s", "500ms", "1h 30m", "0s"] {
        let time = TIME_OR_ZERO.read(&bare(text)).unwrap();
        assert_eq!(TIME_OR_ZERO.show(&time), format!("{text:?}"));
    }
}

const MAX: u64 = u64::MAX;

#[test]
fn counts_hold_their_range_and_type() {
    let read = |raw| Kind::<u16>::read(&Count(1, 65_535), &raw);
    assert_eq!(read(Raw::Integer(6432)), Ok(6432));
    assert_eq!(read(bare("6432")), Ok(6432));
    for raw in [
        Raw::Integer(0),
        Raw::Integer(65_536),
        Raw::Integer(-1),
        Raw::Text("6432".into()),
        Raw::Float(1.0),
        bare("many"),
    ] {
        let why = read(raw).unwrap_err();
        assert!(
            why.contains("expected a whole number from 1 to 65535, got"),
            "{why}"
        );
    }
}

#[test]
fn booleans_take_the_words_of_postgresql() {
    for (raw, value) in [
        (Raw::Bool(true), true),
        (bare("on"), true),
        (bare("Off"), false),
        (bare("0"), false),
        (bare("yes"), true),
    ] {
        assert_eq!(Kind::<bool>::read(&OneOf, &raw), Ok(value));
    }
    assert!(Kind::<bool>::read(&OneOf, &bare("maybe")).is_err());
}

#[test]
fn lists_come_from_toml_and_from_commas() {
    let names = vec!["a".to_owned(), "b c".to_owned()];
    let list = Raw::List(vec![Raw::Text("a".into()), Raw::Text("b c".into())]);
    assert_eq!(Names.read(&list), Ok(names.clone()));
    assert_eq!(Names.read(&bare(" a, b c,")), Ok(names));
    assert_eq!(Names.read(&bare("")), Ok(vec![]));
    assert!(Names.read(&Raw::Text("a".into())).is_err());
    assert!(Names.read(&Raw::List(vec![Raw::Integer(1)])).is_err());
}

#[test]
fn words_not_available_are_never_taken_for_others() {
    for word in ["strict-all", "session", "bounded"] {
        assert_eq!(
            Kind::<Level>::read(&OneOf, &bare(word)).unwrap_err(),
            format!("{word:?} is not available in this version")
        );
    }
    for word in ["ldap", "pam", "plain"] {
        let why = Kind::<AuthType>::read(&OneOf, &bare(word)).unwrap_err();
        assert!(why.contains("not available"), "{why}");
    }
}

#[test]
fn unknown_words_name_the_nearest() {
    let why = Kind::<SslMode>::read(&OneOf, &Raw::Text("verify_full".into())).unwrap_err();
    assert_eq!(
        why,
        "expected one of disable, allow, prefer, require, verify-ca, verify-full, got \"verify_full\"; \
         did you mean \"verify-full\"?"
    );
}

#[test]
fn secrets_are_masked_and_the_mask_is_no_secret() {
    let secret = Hidden.read(&bare("hush")).unwrap();
    assert_eq!(secret.as_ref().map(Secret::reveal), Some("hush"));
    assert_eq!(Hidden.show(&secret), "\"***\"");
    assert_eq!(Hidden.show(&None), "\"\"");
    assert!(Hidden.read(&bare("***")).is_err());
    let why = Hidden
        .read(&Raw::List(vec![Raw::Text("hush".into())]))
        .unwrap_err();
    assert!(!why.contains("hush"), "{why}");
}

#[test]
fn missing_secret_file_is_named() {
    let why = HiddenFile.read(&bare("/nowhere/password")).unwrap_err();
    assert!(why.starts_with("cannot read /nowhere/password: "), "{why}");
}
