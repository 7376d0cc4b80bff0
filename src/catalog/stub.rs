//! Stub.
use super::*;
use crate::sql::{Bypass, Facts};
use smallvec::SmallVec;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CatalogVersion(pub u64);
#[derive(Debug)]
pub struct Judgement { pub read: Result<ReadFacts, Bypass>, pub footprint: Footprint, pub effects: Effects }
#[derive(Debug)]
pub struct ReadFacts { pub dependencies: SmallVec<[RelationOid; 4]>, pub custom_settings: Vec<String>, pub relation_names: Vec<String> }
#[derive(Debug, Default)]
pub struct NameScope { pub search_path: Vec<String>, pub role: String, pub temporary_objects: bool, pub vouched_functions: Vec<String> }
pub struct Catalog { pub version: CatalogVersion }
impl Catalog { pub fn judge(&self, _f: &Facts, _n: &NameScope) -> Judgement { Judgement { read: Err(Bypass::CatalogStale), footprint: Footprint::everything(), effects: Effects::ALL } } }
