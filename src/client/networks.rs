//! This machine's own addresses and networks, for `samehost` and `samenet`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::auth::hba::Network;

/// Whether the address is one of this machine's: only then can a socket have it.
pub(super) fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// The networks that this machine is part of, as Linux tells them; none where it does not.
pub(super) fn own_networks() -> Vec<Network> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (routes, addresses) = (read("/proc/net/route"), read("/proc/net/if_inet6"));
    let v4 = routes.lines().skip(1).filter_map(route);
    let v6 = addresses.lines().filter_map(inet6);
    let loopback = Network::new(Ipv4Addr::LOCALHOST.into(), 8);
    loopback.into_iter().chain(v4).chain(v6).collect()
}

/// A line of /proc/net/route; `None` for networks behind a gateway.
fn route(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // In the byte order of the machine, as the kernel has them in memory.
    let bits = |at: usize| Some(u32::from_str_radix(fields.get(at)?, 16).ok()?.to_ne_bytes());
    let (network, gateway, mask) = (bits(1)?, bits(2)?, bits(7)?);
    let prefix = u32::from_be_bytes(mask).leading_ones();
    if gateway != [0; 4] || prefix == 0 {
        return None;
    }
    Network::new(Ipv4Addr::from(network).into(), u8::try_from(prefix).ok()?)
}

/// A line of /proc/net/if_inet6.
fn inet6(line: &str) -> Option<Network> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let prefix = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    Network::new(Ipv6Addr::from_bits(address).into(), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_our_own_and_other_peoples_addresses_are_not() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
        let networks = own_networks();
        let within = |address: &str| {
            let address = address.parse().unwrap();
            networks.iter().any(|network| network.contains(address))
        };
        assert!(within("127.1.2.3"));
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let network = |address: &str, prefix| Network::new(address.parse().unwrap(), prefix);
        let line = "eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0";
        if cfg!(target_endian = "little") {
            assert_eq!(route(line), network("192.0.2.0", 24));
        }
        assert_eq!(
            route("eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0"),
            None
        );
        let line = "fd000000000000000000000000000002 04 40 00 82     eth0";
        assert_eq!(inet6(line), network("fd00::2", 64));
        assert_eq!(inet6("odd"), None);
    }
}
