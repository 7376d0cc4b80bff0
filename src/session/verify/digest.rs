//! The digest of an answer, by which two are compared without keeping either.

use crate::cache::KeySecret;
use crate::catalog::Order;
use crate::wire::{frame_header, tag::backend as tag};

/// What of an answer counts: its rows, how it ends, and their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub rows: u64,
    ordered: u128,
    unordered: u128,
}

impl Digest {
    /// Of the frames of an answer that is kept.
    pub fn of(mut body: &[u8], secret: &KeySecret) -> Self {
        let mut digest = Self::default();
        while let Ok(Some(header)) = frame_header(body) {
            let Some((frame, rest)) = body.split_at_checked(header.frame_len) else {
                break;
            };
            digest.add(frame, secret);
            body = rest;
        }
        digest
    }

    /// Adds a whole frame.
    pub fn add(&mut self, frame: &[u8], secret: &KeySecret) {
        let hash = secret.hash(frame);
        self.rows += u64::from(frame.first() == Some(&tag::DATA_ROW));
        let chain = [self.ordered.to_be_bytes(), hash.to_be_bytes()].concat();
        self.ordered = secret.hash(&chain);
        self.unordered = self.unordered.wrapping_add(hash);
    }

    /// The same answer, as far as `order` determines it.
    pub fn same(&self, other: &Self, order: Order) -> bool {
        match order {
            Order::Total => self == other,
            Order::Multiset => (self.rows, self.unordered) == (other.rows, other.unordered),
            Order::Undetermined => true,
        }
    }

    /// For logs: it differs between processes, so that it tells nothing of the values.
    pub fn short(&self) -> String {
        format!("{:016x}", (self.ordered >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::backend;

    fn answer(rows: &[&str]) -> BytesMut {
        let mut out = BytesMut::new();
        for row in rows {
            backend::data_row_message(&mut out, &[Some(row.as_bytes())]);
        }
        backend::command_complete(&mut out, &format!("SELECT {}", rows.len()));
        out
    }

    #[test]
    fn rows_are_compared_in_order_or_as_a_multiset() {
        let secret = KeySecret::random().unwrap();
        let of = |rows: &[&str]| Digest::of(&answer(rows), &secret);
        let (same, turned) = (of(&["1", "2", "2"]), of(&["2", "1", "2"]));
        assert!(same.same(&of(&["1", "2", "2"]), Order::Total));
        assert!(!same.same(&turned, Order::Total));
        assert!(same.same(&turned, Order::Multiset));
        for other in [of(&["1", "1", "2"]), of(&["1", "2"]), of(&[])] {
            assert!(!same.same(&other, Order::Multiset));
            assert!(!same.same(&other, Order::Total));
        }
        assert_eq!(same.rows, 3);
    }
}
