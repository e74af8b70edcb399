//! Innkeeper: a Kubernetes operator that lodges virtual machines where they belong.

pub mod api;
pub mod plan;
