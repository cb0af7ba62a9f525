//! What a release is made of: pure data about who belongs to whom.

pub mod belongs;
pub mod journal;
