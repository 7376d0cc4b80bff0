//! Stub.
use std::sync::Arc;
use crate::catalog::Catalog;
use crate::cache::KeptMark;
pub struct Authority;
impl Authority {
    pub fn catalog(&self) -> Option<Arc<Catalog>> { None }
    pub fn may_serve(&self) -> Result<(), crate::sql::Bypass> { Err(crate::sql::Bypass::Guard) }
    pub fn invalidate(&self) {}
    pub fn settled(&self) {}
    pub async fn wait_before_first_write(&self) {}
    pub fn resolve_unknown(&self, kept: KeptMark, _pid: u32) { std::mem::forget(kept) }
    pub async fn introduce(&self, _c: &mut crate::upstream::Connection) -> Result<(), crate::upstream::UpstreamError> { Ok(()) }
    pub fn departed(&self, _pid: u32) {}
}
