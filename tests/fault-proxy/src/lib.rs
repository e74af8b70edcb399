//! A proxy between a client and the server that it is tested against, which makes go wrong what goes wrong in networks.
//!
//! Rules say which requests are meant and what happens to them: another answer, a delay, a connection reset before the
//! server sees the request, a reply lost after it has acted, half a reply, no reply at all, old news in answer to a read. Rules count, roll dice with
//! a seed, or wait for a rate to be exceeded. They are changed while the proxy runs, in code or over HTTP, and an audit
//! log tells what came and what became of it.
//!
//! Requests and replies pass as streams; only the beginning of a request that names its action in its body (a form, XML
//! or JSON) is read first. HTTP/1.1 on both sides; HTTPS with a certificate authority of its own towards the client,
//! any certificate towards the server.

pub mod action;
mod admin;
mod audit;
mod memory;
mod proxy;
mod rule;
mod serve;
mod tls;
mod upstream;

pub use audit::{Entry, Outcome};
pub use proxy::{Options, Proxy, StartError};
pub use rule::{Fault, Matching, Rate, Rule, Seed};
pub use tls::Identity;
