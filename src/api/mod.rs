//! The vocabulary: the kinds that users write, and the values they are made of. No I/O.

pub mod money;
pub mod quantity;
