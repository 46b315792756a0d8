//! Databases as they are: how to talk to them and what their answers mean.

pub mod answer;
pub mod client;
pub mod hop;
pub mod precision;
pub mod server;
pub mod tls;
