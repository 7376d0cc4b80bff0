//! Whom a certificate or the system says a client is.

use tokio::net::UnixStream;

use super::stream::Stream;
use crate::tls;

/// The common name of the client's certificate. One that is there has been checked: a handshake
/// with another fails. `Some(None)` for a certificate without such a name.
pub(super) fn certificate_name(stream: &Stream) -> Option<Option<String>> {
    let Stream::Tls(tls) = stream else {
        return None;
    };
    let certificate = tls.get_ref().1.peer_certificates()?.first()?;
    Some(tls::common_name(certificate))
}

/// The system's name of the user at the other end of a Unix socket.
pub(super) fn system_user(stream: &Stream) -> Option<String> {
    match stream {
        Stream::Unix(unix) => user_of(unix),
        Stream::Tcp(_) | Stream::Tls(_) => None,
    }
}

fn user_of(stream: &UnixStream) -> Option<String> {
    let uid = stream.peer_cred().ok()?.uid();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let is_user = fields.nth(1)?.parse() == Ok(uid);
        is_user.then(|| name.to_owned())
    })
}
