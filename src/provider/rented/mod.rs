//! What drivers of clouds that rent out types have in common. All but `follow` is pure: time and randomness are passed in.
#![allow(dead_code, reason = "not every driver needs all of it, and each can be left out of a build")]

pub mod aside;
pub mod bucket;
pub mod follow;
pub mod pages;
pub mod retry;
pub mod snapshot;
