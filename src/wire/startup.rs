//! The packets that open a connection. They have no tag.

use bytes::{Buf, Bytes, BytesMut};

use super::cursor::Cursor;
use super::error::WireError;

/// The newest minor version of protocol 3 that is spoken here.
pub const NEWEST_MINOR: u16 = 2;

/// Bytes of a cancel key; versions before 3.2 know only the shortest.
pub const CANCEL_KEY_LEN_MIN: usize = 4;
pub const CANCEL_KEY_LEN_MAX: usize = 256;

/// What the length field of a packet may be, itself included.
const PACKET_LEN_MIN: usize = 8;
const PACKET_LEN_MAX: usize = 10_000 + 4;

/// Requests in the place of a protocol version have this major number.
const REQUEST_MAJOR: u16 = 1234;
const CANCEL_MINOR: u16 = 5678;
const SSL_MINOR: u16 = 5679;
const GSS_MINOR: u16 = 5680;

pub(super) const CANCEL_CODE: u32 = ((REQUEST_MAJOR as u32) << 16) | CANCEL_MINOR as u32;
pub(super) const SSL_CODE: u32 = ((REQUEST_MAJOR as u32) << 16) | SSL_MINOR as u32;

/// The length of the cancel keys that we hand out: what the client's version
/// can carry, and PostgreSQL 18's own length where that is free.
pub fn cancel_key_len(minor: u16) -> usize {
    if minor >= 2 { 32 } else { CANCEL_KEY_LEN_MIN }
}

/// The first packet on a connection, or the one after an encryption request.
#[derive(Clone, PartialEq, Eq)]
pub enum StartupPacket {
    Ssl,
    GssEnc,
    Cancel { pid: u32, key: Bytes },
    Startup(Startup),
}

/// Prints no cancel key.
impl std::fmt::Debug for StartupPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartupPacket::Ssl => f.write_str("Ssl"),
            StartupPacket::GssEnc => f.write_str("GssEnc"),
            StartupPacket::Cancel { pid, .. } => write!(f, "Cancel {{ pid: {pid} }}"),
            StartupPacket::Startup(startup) => startup.fmt(f),
        }
    }
}

/// What a replication connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replication {
    /// Of the whole server: in no database, and no SQL.
    Physical,
    /// Of one database, where SQL is understood too.
    Logical,
}

/// StartupMessage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Startup {
    /// Always 3.
    pub major: u16,
    /// As the client asked for it; may be newer than [`NEWEST_MINOR`].
    pub minor: u16,
    /// All of them in the client's order, `user`, `database`, `options` and `_pq_.…` included.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// The last value given for `name`, as PostgreSQL takes the last.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// No user, or an empty one.
    pub fn user(&self) -> Result<&str, WireError> {
        self.get("user")
            .filter(|user| !user.is_empty())
            .ok_or(WireError::NoUser)
    }

    /// The database asked for; the user's name when there is none.
    ///
    /// # Errors
    /// No user, or an empty one.
    pub fn database(&self) -> Result<&str, WireError> {
        let user = self.user()?;
        let named = self.get("database").filter(|name| !name.is_empty());
        Ok(named.unwrap_or(user))
    }

    /// Whether it asks for a replication connection.
    ///
    /// # Errors
    /// A value that PostgreSQL does not take.
    pub fn replication(&self) -> Result<Option<Replication>, WireError> {
        match self.get("replication") {
            None => Ok(None),
            Some("database") => Ok(Some(Replication::Logical)),
            Some(value) => match boolean(value) {
                Some(true) => Ok(Some(Replication::Physical)),
                Some(false) => Ok(None),
                None => Err(WireError::Replication(value.to_owned())),
            },
        }
    }

    /// Names of the protocol options (`_pq_.…`) asked for, in order. We know none of them.
    pub fn protocol_options(&self) -> impl Iterator<Item = &str> {
        self.parameters
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("_pq_."))
    }
}

/// A boolean in PostgreSQL's spellings, of which beginnings count too.
fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, len_min| value.len() >= len_min && word.starts_with(&value);
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || value == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

/// Takes the first packet off `buf`; `None` if it is not whole yet. What
/// follows it stays in `buf`.
///
/// # Errors
/// A length that PostgreSQL refuses too, as soon as the length is there; a
/// protocol other than 3; a layout that does not end with the packet; names or
/// values that are not UTF-8.
pub fn take_startup(buf: &mut BytesMut) -> Result<Option<StartupPacket>, WireError> {
    let Some(length) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(PACKET_LEN_MIN..=PACKET_LEN_MAX).contains(&len) {
        return Err(WireError::StartupLength);
    }
    if buf.len() < len {
        return Ok(None);
    }
    let mut packet = buf.split_to(len).freeze();
    packet.advance(4);
    let code = packet.get_u32();
    let [major, minor] = [(code >> 16) as u16, (code & 0xffff) as u16];
    match (major, minor) {
        (REQUEST_MAJOR, SSL_MINOR) => bare(&packet, StartupPacket::Ssl),
        (REQUEST_MAJOR, GSS_MINOR) => bare(&packet, StartupPacket::GssEnc),
        (REQUEST_MAJOR, CANCEL_MINOR) => cancel(packet),
        (3, _) => {
            let parameters = parameters(&packet)?;
            Ok(StartupPacket::Startup(Startup {
                major,
                minor,
                parameters,
            }))
        }
        _ => Err(WireError::UnsupportedProtocol { major, minor }),
    }
    .map(Some)
}

fn bare(body: &[u8], packet: StartupPacket) -> Result<StartupPacket, WireError> {
    if body.is_empty() {
        Ok(packet)
    } else {
        Err(WireError::StartupLength)
    }
}

fn cancel(mut body: Bytes) -> Result<StartupPacket, WireError> {
    if body.len() < 4 {
        return Err(WireError::CancelLength);
    }
    let pid = body.get_u32();
    if !(CANCEL_KEY_LEN_MIN..=CANCEL_KEY_LEN_MAX).contains(&body.len()) {
        return Err(WireError::CancelKeyLength);
    }
    Ok(StartupPacket::Cancel { pid, key: body })
}

fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, WireError> {
    let mut cursor = Cursor::new(body);
    let mut parameters = Vec::new();
    let layout = |_| WireError::StartupLayout;
    loop {
        let name = cursor.cstr().map_err(layout)?;
        if name.is_empty() {
            break;
        }
        let value = cursor.cstr().map_err(layout)?;
        parameters.push((utf8(name)?, utf8(value)?));
    }
    cursor.finish().map_err(layout)?;
    Ok(parameters)
}

fn utf8(bytes: &[u8]) -> Result<String, WireError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| WireError::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frontend;
    use super::*;

    fn packet(body: &[u8]) -> BytesMut {
        let mut buf = BytesMut::new();
        buf.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        buf.extend_from_slice(body);
        buf
    }

    fn startup(body: &[u8]) -> Result<Startup, WireError> {
        let mut bytes = vec![0, 3, 0, 0];
        bytes.extend_from_slice(body);
        match take_startup(&mut packet(&bytes))?.unwrap() {
            StartupPacket::Startup(startup) => Ok(startup),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lengths_are_bounded_as_postgresql_bounds_them() {
        for (len, refused) in [
            (0u32, true),
            (7, true),
            (8, false),
            (10_004, false),
            (10_005, true),
            (u32::MAX, true),
        ] {
            let mut buf = BytesMut::from(&len.to_be_bytes()[..]);
            let expected = if refused {
                Err(WireError::StartupLength)
            } else {
                Ok(None)
            };
            assert_eq!(take_startup(&mut buf), expected, "{len}");
        }
    }

    #[test]
    fn user_is_required_and_names_the_database() {
        let named = startup(b"user\0amy\0database\0shop\0\0").unwrap();
        assert_eq!(named.database(), Ok("shop"));
        let unnamed = startup(b"user\0amy\0database\0\0\0").unwrap();
        assert_eq!(unnamed.database(), Ok("amy"));
        assert_eq!(startup(b"\0").unwrap().user(), Err(WireError::NoUser));
        assert_eq!(
            startup(b"user\0\0\0").unwrap().database(),
            Err(WireError::NoUser)
        );
        let twice = startup(b"user\0amy\0user\0bob\0\0").unwrap();
        assert_eq!(twice.user(), Ok("bob"));
    }

    #[test]
    fn layout_must_end_with_the_packet() {
        for body in [
            &b""[..],
            b"user",
            b"user\0",
            b"user\0amy",
            b"user\0amy\0",
            b"user\0amy\0\0x",
            b"\0\0",
        ] {
            assert_eq!(startup(body), Err(WireError::StartupLayout), "{body:?}");
        }
        assert_eq!(startup(b"user\0\xff\0\0"), Err(WireError::Encoding));
    }

    #[test]
    fn other_protocols_are_refused_by_name() {
        for (major, minor) in [(2u16, 0u16), (4, 0), (1234, 1)] {
            let mut body = major.to_be_bytes().to_vec();
            body.extend_from_slice(&minor.to_be_bytes());
            assert_eq!(
                take_startup(&mut packet(&body)),
                Err(WireError::UnsupportedProtocol { major, minor })
            );
        }
    }

    #[test]
    fn encryption_requests_have_no_body() {
        let mut buf = BytesMut::new();
        frontend::ssl_request(&mut buf);
        assert_eq!(take_startup(&mut buf), Ok(Some(StartupPacket::Ssl)));
        let mut gss = packet(&[0x04, 0xd2, 0x16, 0x30]);
        assert_eq!(take_startup(&mut gss), Ok(Some(StartupPacket::GssEnc)));
        let mut long = packet(&[0x04, 0xd2, 0x16, 0x2f, 0]);
        assert_eq!(take_startup(&mut long), Err(WireError::StartupLength));
    }

    #[test]
    fn cancel_keys_have_4_to_256_bytes() {
        for (len, fits) in [(0, false), (3, false), (4, true), (256, true), (257, false)] {
            let mut buf = BytesMut::new();
            frontend::cancel_request(&mut buf, 7, &vec![9; len]);
            let taken = take_startup(&mut buf);
            if fits {
                let key = Bytes::from(vec![9; len]);
                assert_eq!(taken, Ok(Some(StartupPacket::Cancel { pid: 7, key })));
            } else {
                assert_eq!(taken, Err(WireError::CancelKeyLength));
            }
        }
        let mut short = packet(&[0x04, 0xd2, 0x16, 0x2e, 0, 0]);
        assert_eq!(take_startup(&mut short), Err(WireError::CancelLength));
    }

    #[test]
    fn replication_is_asked_for_in_every_spelling_of_postgresql() {
        let asked = |value: &str| {
            let body = format!("user\0amy\0replication\0{value}\0\0");
            startup(body.as_bytes()).unwrap().replication()
        };
        for value in ["true", "TRUE", "t", "tr", "yes", "y", "on", "1"] {
            assert_eq!(asked(value), Ok(Some(Replication::Physical)), "{value}");
        }
        for value in ["false", "f", "no", "n", "off", "of", "0"] {
            assert_eq!(asked(value), Ok(None), "{value}");
        }
        assert_eq!(asked("database"), Ok(Some(Replication::Logical)));
        for value in ["", "o", "Database", "2", "truer", "10"] {
            let error = asked(value).unwrap_err();
            assert_eq!(
                error.report().code,
                crate::wire::SqlState::INVALID_PARAMETER_VALUE
            );
        }
    }

    #[test]
    fn protocol_options_are_listed() {
        let startup = startup(b"user\0amy\0_pq_.a\x001\0_pq_.b\0\0\0").unwrap();
        let options: Vec<_> = startup.protocol_options().collect();
        assert_eq!(options, ["_pq_.a", "_pq_.b"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(code in prop_oneof![Just(3u32 << 16), Just(CANCEL_CODE), Just(SSL_CODE), any::<u32>()],
                                         body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = code.to_be_bytes().to_vec();
            bytes.extend_from_slice(&body);
            let _ = take_startup(&mut packet(&bytes));
            let _ = take_startup(&mut BytesMut::from(&body[..]));
        }

        #[test]
        fn startup_survives_a_round_trip(minor in 0u16..10, pairs in proptest::collection::vec(("[a-z_.]{1,8}", "[^\0]{0,8}"), 0..6)) {
            let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let mut buf = BytesMut::new();
            frontend::startup(&mut buf, minor, &borrowed);
            buf.extend_from_slice(b"rest");
            let taken = take_startup(&mut buf).unwrap().unwrap();
            prop_assert_eq!(taken, StartupPacket::Startup(Startup { major: 3, minor, parameters: pairs }));
            prop_assert_eq!(&buf[..], b"rest");
        }
    }
}
