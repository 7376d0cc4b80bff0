//! Who may see and do what.
//!
//! `/metrics` and the probes are for everybody who reaches the port. What shows statements and
//! addresses is for this machine, or for a holder of the admin token. What changes state is
//! for a holder of the token, and never for a page of another site in a browser.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};

use super::Access;

/// Tokens shorter than this can be guessed.
const TOKEN_LEN_MIN: usize = 16;
const TOKEN_LEN_MAX: u64 = 4096;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    CrossSite,
    /// `http.admin_token_file` is not set.
    NoTokenSet,
    /// The file cannot be read, or what it holds is too short.
    BadTokenFile,
    WrongToken,
    /// Only for this machine, or with the token.
    NotLocal,
}

impl Denial {
    pub fn explanation(self) -> &'static str {
        match self {
            Denial::CrossSite => "requests from other sites are refused",
            Denial::NoTokenSet => {
                "http.admin_token_file is not set, so nothing can be changed here"
            }
            Denial::BadTokenFile => {
                "http.admin_token_file cannot be read or holds fewer than 16 characters"
            }
            Denial::WrongToken => "this needs the token of http.admin_token_file",
            Denial::NotLocal => {
                "this is shown to the same machine only, or with the token of http.admin_token_file"
            }
        }
    }
}

/// Whether the request may change state.
pub(super) async fn may_change(headers: &HeaderMap, access: &Access) -> Result<(), Denial> {
    same_site(headers)?;
    holds_token(headers, access).await
}

/// Whether the request may see statements, users and addresses.
pub(super) async fn may_look(
    headers: &HeaderMap,
    peer: SocketAddr,
    access: &Access,
) -> Result<(), Denial> {
    if headers.contains_key(AUTHORIZATION) {
        return holds_token(headers, access).await;
    }
    same_site(headers)?;
    // A name that somebody else's DNS points here would make their page same-site.
    if peer.ip().to_canonical().is_loopback() && names_this_machine(headers) {
        Ok(())
    } else {
        Err(Denial::NotLocal)
    }
}

/// Browsers say where a request comes from; programs say nothing.
fn same_site(headers: &HeaderMap) -> Result<(), Denial> {
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(Denial::CrossSite);
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (origin.strip_prefix("http://"), host) {
        (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Denial::CrossSite),
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        // HTTP/1.0 has none, and no browser speaks it.
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

async fn holds_token(headers: &HeaderMap, access: &Access) -> Result<(), Denial> {
    let file = access.token_file.load_full().ok_or(Denial::NoTokenSet)?;
    let unreadable = |_| Denial::BadTokenFile;
    let length = tokio::fs::metadata(&*file).await.map_err(unreadable)?.len();
    if length > TOKEN_LEN_MAX {
        return Err(Denial::BadTokenFile);
    }
    let token = tokio::fs::read(&*file).await.map_err(unreadable)?;
    let token = token.trim_ascii();
    if token.len() < TOKEN_LEN_MIN {
        return Err(Denial::BadTokenFile);
    }
    let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.split_at_checked(7));
    match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"Bearer ") => {
            if same(given.trim_ascii(), token) {
                Ok(())
            } else {
                Err(Denial::WrongToken)
            }
        }
        _ => Err(Denial::WrongToken),
    }
}

/// Compares in a time that does not tell where the first difference is; only the length shows.
fn same(given: &[u8], token: &[u8]) -> bool {
    let mut difference = usize::from(given.len() != token.len());
    for (index, byte) in token.iter().enumerate() {
        let other = given.get(index).copied().unwrap_or_default();
        difference |= usize::from(std::hint::black_box(byte ^ other));
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn token_file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[tokio::test]
    async fn only_the_token_opens_what_changes_state() {
        let file = token_file(&format!("{TOKEN}\n"));
        let access = Access::new(Some(file.path().to_owned()));
        let ask = async |value: &str| {
            let headers = headers(&[("authorization", value)]);
            may_change(&headers, &access).await
        };
        assert_eq!(ask(&format!("Bearer {TOKEN}")).await, Ok(()));
        assert_eq!(ask(&format!("bearer {TOKEN}")).await, Ok(()));
        for wrong in [
            String::new(),
            "Bearer".into(),
            "Bearer ".into(),
            format!("Bearer {TOKEN}x"),
            format!("Bearer {}", &TOKEN[1..]),
            format!("Basic {TOKEN}"),
        ] {
            assert_eq!(ask(&wrong).await, Err(Denial::WrongToken), "{wrong}");
        }
        let none = may_change(&HeaderMap::new(), &access).await;
        assert_eq!(none, Err(Denial::WrongToken));
    }

    #[tokio::test]
    async fn without_a_token_nothing_changes_state() {
        let given = headers(&[("authorization", &format!("Bearer {TOKEN}"))]);
        let unset = may_change(&given, &Access::new(None)).await;
        assert_eq!(unset, Err(Denial::NoTokenSet));
        for bad in ["", "short"] {
            let file = token_file(bad);
            let access = Access::new(Some(file.path().to_owned()));
            let given = headers(&[("authorization", &format!("Bearer {bad}"))]);
            let denied = may_change(&given, &access).await;
            assert_eq!(denied, Err(Denial::BadTokenFile), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_new_token_in_the_file_holds_at_once() {
        let file = token_file(TOKEN);
        let access = Access::new(Some(file.path().to_owned()));
        let given = headers(&[("authorization", &format!("Bearer {TOKEN}"))]);
        assert_eq!(may_change(&given, &access).await, Ok(()));
        std::fs::write(file.path(), "another-token-of-ours").unwrap();
        let old = may_change(&given, &access).await;
        assert_eq!(old, Err(Denial::WrongToken));
    }

    #[tokio::test]
    async fn other_sites_are_refused_even_with_the_token() {
        let file = token_file(TOKEN);
        let access = Access::new(Some(file.path().to_owned()));
        let bearer = format!("Bearer {TOKEN}");
        for (pairs, expected) in [
            (
                vec![("sec-fetch-site", "cross-site")],
                Err(Denial::CrossSite),
            ),
            (
                vec![("sec-fetch-site", "same-site")],
                Err(Denial::CrossSite),
            ),
            (vec![("sec-fetch-site", "same-origin")], Ok(())),
            (
                vec![("origin", "http://evil.example")],
                Err(Denial::CrossSite),
            ),
            (vec![("origin", "null")], Err(Denial::CrossSite)),
            (
                vec![
                    ("origin", "http://localhost:9930"),
                    ("host", "localhost:9930"),
                ],
                Ok(()),
            ),
        ] {
            let mut given = headers(&pairs);
            given.insert(AUTHORIZATION, bearer.parse().unwrap());
            assert_eq!(may_change(&given, &access).await, expected, "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn statements_are_shown_to_this_machine_only() {
        let access = Access::new(None);
        let near: SocketAddr = "127.0.0.1:5000".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:5000".parse().unwrap();
        let far: SocketAddr = "10.0.0.7:5000".parse().unwrap();
        for (peer, host, expected) in [
            (near, "localhost:9930", Ok(())),
            (near, "127.0.0.1:9930", Ok(())),
            (near, "[::1]:9930", Ok(())),
            (mapped, "127.0.0.1", Ok(())),
            (near, "rebound.example:9930", Err(Denial::NotLocal)),
            (far, "localhost", Err(Denial::NotLocal)),
        ] {
            let asked = may_look(&headers(&[("host", host)]), peer, &access).await;
            assert_eq!(asked, expected, "{peer} {host}");
        }
    }
}
