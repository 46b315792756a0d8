//! `twinline version`.

use super::Global;
use super::exit::{Exit, Failure};

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let talk = global.talk();
    let (version, os, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    if talk.json() {
        talk.document(&serde_json::json!({
            "schema": "twinline.version/1",
            "version": version,
            "os": os,
            "arch": arch,
            "config_schema": 1,
            "next_steps": ["twinline --help"],
        }))?;
    } else {
        talk.data(&format!("twinline {version} ({os} {arch})\n"))?;
    }
    talk.next("twinline --help");
    Ok(Exit::Success)
}
