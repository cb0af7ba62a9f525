//! What is going to happen, as data: computed from facts, without I/O.

pub mod changes;
pub mod fields;
pub mod intent;
pub mod naming;
pub mod policies;
pub mod request;
