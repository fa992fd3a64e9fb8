//! What `fix` is to heed beside the rules: `[protect]` and `[fix.KIND]`.

use std::collections::BTreeMap;

use crate::model::Kind;

/// The care that a file asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Care {
    /// Ports that are protected as well, local or remote
    pub ports: Vec<u16>,
    /// Ports of the built-in list that are not
    pub allow_ports: Vec<u16>,
    /// Names of processes that are protected as well; `*` at the end is any rest
    pub processes: Vec<String>,
    /// Names of the built-in list that are not
    pub allow_processes: Vec<String>,
    /// From when on things of a kind are touched
    pub floors: BTreeMap<Kind, Floors>,
}

/// What is asked of one kind; none is the built-in floor.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Floors {
    /// The least age
    pub min_age_s: Option<f64>,
    /// The least time unused
    pub min_idle_s: Option<f64>,
    /// The fewest that a finding must have
    pub min_count: Option<u64>,
}
