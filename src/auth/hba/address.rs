//! Addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the bits of it that its network has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Network {
    /// `None` if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// An IPv4 network holds nothing of IPv6, nor the other way round. An IPv4 client of a socket
    /// that speaks both counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = mask_v4(self.prefix);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = mask_v6(self.prefix);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX
        .checked_shl(128 - u32::from(prefix.min(128)))
        .unwrap_or(0)
}

/// The bits of a mask such as 255.255.0.0; `None` if they do not stand together.
pub(super) fn prefix_of(mask: IpAddr) -> Option<u8> {
    let (leading, ones) = match mask {
        IpAddr::V4(mask) => bits_v4(mask),
        IpAddr::V6(mask) => bits_v6(mask),
    };
    (leading == ones).then(|| u8::try_from(ones).ok())?
}

fn bits_v4(mask: Ipv4Addr) -> (u32, u32) {
    (mask.to_bits().leading_ones(), mask.to_bits().count_ones())
}

fn bits_v6(mask: Ipv6Addr) -> (u32, u32) {
    (mask.to_bits().leading_ones(), mask.to_bits().count_ones())
}
