//! What drivers of clouds that rent out types have in common. Pure: time and randomness are passed in.

pub mod aside;
pub mod bucket;
pub mod pages;
pub mod retry;
pub mod snapshot;
