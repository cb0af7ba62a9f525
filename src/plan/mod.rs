//! What is going to happen, as data: computed from facts, without I/O.

pub mod changes;
pub mod difference;
pub mod fields;
pub mod foreign;
pub mod intent;
pub mod inventory;
pub mod naming;
pub mod owners;
pub mod policies;
pub mod report;
pub mod request;
