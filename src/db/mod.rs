//! Databases as they are: how to talk to them and what their answers mean.

pub mod client;
pub mod tls;
