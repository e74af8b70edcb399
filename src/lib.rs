//! Innkeeper: a Kubernetes operator that lodges virtual machines where they belong.
//!
//! Arrows point down only: `cli` → controllers → `plan`, `provider` → `api`.

pub mod api;
pub mod cli;
mod defect;
pub mod guest;
pub mod operator;
pub mod plan;
pub mod pool;
pub mod provider;
pub mod runtime;
pub mod scheduler;
pub mod serve;
pub mod workload;
