//! Waiting, and what is told of it.
