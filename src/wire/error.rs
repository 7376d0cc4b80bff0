//! What can be wrong with bytes from the network.

use super::report::ErrorReport;
use super::sqlstate::SqlState;

/// A peer broke the protocol. The texts are PostgreSQL's own.
///
/// After an error in a message's body the framing still stands, and the
/// session may go on; after any other the connection cannot be read any more
/// ([`WireError::is_fatal`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("invalid message length")]
    MessageLength,
    #[error("invalid message length")]
    TooLong { len: usize, limit: usize },
    #[error("insufficient data left in message")]
    Truncated,
    #[error("invalid string in message")]
    UnterminatedString,
    #[error("invalid message format")]
    TrailingData,
    /// `message` is DESCRIBE or CLOSE.
    #[error("invalid {message} message subtype {subtype}")]
    Subtype { message: &'static str, subtype: u8 },
    #[error("invalid frontend message type {0}")]
    FrontendTag(u8),
    #[error("invalid transaction status {0}")]
    TransactionStatus(u8),
    #[error("invalid length of startup packet")]
    StartupLength,
    #[error("invalid startup packet layout: expected terminator as last byte")]
    StartupLayout,
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    UnsupportedProtocol { major: u16, minor: u16 },
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    Encoding,
    #[error("invalid length of cancel request packet")]
    CancelLength,
    #[error("invalid length of cancel key")]
    CancelKeyLength,
    #[error("invalid value for parameter \"replication\": \"{0}\"")]
    Replication(String),
}

impl WireError {
    /// Whether the connection ends with this error.
    pub fn is_fatal(&self) -> bool {
        match self {
            WireError::Truncated
            | WireError::UnterminatedString
            | WireError::TrailingData
            | WireError::Subtype { .. } => false,
            WireError::MessageLength
            | WireError::TooLong { .. }
            | WireError::FrontendTag(_)
            | WireError::TransactionStatus(_)
            | WireError::StartupLength
            | WireError::StartupLayout
            | WireError::UnsupportedProtocol { .. }
            | WireError::NoUser
            | WireError::Encoding
            | WireError::CancelLength
            | WireError::CancelKeyLength
            | WireError::Replication(_) => true,
        }
    }

    /// PostgreSQL's function that finds it, where it is the same one always.
    fn routine(&self) -> Option<&'static str> {
        match self {
            WireError::FrontendTag(_) => Some("SocketBackend"),
            WireError::UnterminatedString => Some("pq_getmsgstring"),
            WireError::TrailingData => Some("pq_getmsgend"),
            WireError::StartupLayout
            | WireError::UnsupportedProtocol { .. }
            | WireError::NoUser
            | WireError::Replication(_) => Some("ProcessStartupPacket"),
            WireError::Encoding => Some("report_invalid_encoding"),
            _ => None,
        }
    }

    /// What PostgreSQL would say to the client that sent it.
    pub fn report(&self) -> ErrorReport {
        let code = match self {
            WireError::UnsupportedProtocol { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            WireError::NoUser => SqlState::INVALID_AUTHORIZATION,
            WireError::Replication(_) => SqlState::INVALID_PARAMETER_VALUE,
            WireError::Encoding => SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            _ => SqlState::PROTOCOL_VIOLATION,
        };
        let mut report = if self.is_fatal() {
            ErrorReport::fatal(code, self.to_string())
        } else {
            ErrorReport::error(code, self.to_string())
        };
        report.routine = self.routine();
        match self {
            WireError::TooLong { len, limit } => report.with_detail(format!(
                "The message has {len} bytes, the limit is {limit}."
            )),
            WireError::Replication(_) => {
                report.with_hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
            }
            _ => report,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity;
    use super::*;

    #[test]
    fn reports_carry_the_texts_and_codes_of_postgresql() {
        let table = [
            (
                WireError::TrailingData,
                "08P01",
                "invalid message format",
                Severity::Error,
            ),
            (
                WireError::MessageLength,
                "08P01",
                "invalid message length",
                Severity::Fatal,
            ),
            (
                WireError::FrontendTag(b'?'),
                "08P01",
                "invalid frontend message type 63",
                Severity::Fatal,
            ),
            (
                WireError::StartupLength,
                "08P01",
                "invalid length of startup packet",
                Severity::Fatal,
            ),
            (
                WireError::UnsupportedProtocol { major: 2, minor: 0 },
                "0A000",
                "unsupported frontend protocol 2.0: server supports 3.0 to 3.2",
                Severity::Fatal,
            ),
            (
                WireError::NoUser,
                "28000",
                "no PostgreSQL user name specified in startup packet",
                Severity::Fatal,
            ),
            (
                WireError::Subtype {
                    message: "DESCRIBE",
                    subtype: b'X',
                },
                "08P01",
                "invalid DESCRIBE message subtype 88",
                Severity::Error,
            ),
        ];
        for (error, code, message, severity) in table {
            let report = error.report();
            assert_eq!(report.code.as_str(), code);
            assert_eq!(report.message, message);
            assert_eq!(report.severity, severity);
        }
    }
}
