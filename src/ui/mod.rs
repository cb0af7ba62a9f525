//! The displays. Only this module prints.
