//! `twinline init`: a configuration to begin with, every key in it with its default.

mod telegraf;
mod template;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Global;
use super::exit::{Exit, Failure};
use template::Beginning;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct InitArgs {
    /// Take addresses from the InfluxDB outputs of a telegraf.conf; secrets are not copied
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print the configuration instead of writing a file
    #[arg(long)]
    stdout: bool,
}

pub(super) fn run(global: &Global, args: &InitArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let (beginning, notes) = match &args.from {
        Some(path) => telegraf::read(path)?,
        None => (Beginning::default(), Vec::new()),
    };
    let text = template::fill(&beginning);
    for note in &notes {
        talk.say(note);
    }
    let path = global.config.clone().unwrap_or_else(|| PathBuf::from("twinline.toml"));
    let option = if path == Path::new("twinline.toml") { String::new() } else { format!(" -c {}", path.display()) };
    let next = format!("edit source and destination in {}, then twinline validate{option}", path.display());
    if args.stdout {
        talk.data(&text)?;
    } else {
        write_new(&path, &text)?;
        if talk.json() {
            talk.document(&serde_json::json!({
                "schema": "twinline.init/1",
                "file": path.display().to_string(),
                "notes": notes,
                "next_steps": [next],
            }))?;
        } else {
            talk.data(&format!("wrote {}\n", path.display()))?;
        }
    }
    talk.next(&next);
    Ok(Exit::Success)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Refused, format!("{} exists and is not overwritten", path.display()))
                .hint("twinline init -c ANOTHER-FILE, or twinline init --stdout")
        }
        _ => Failure::new(Exit::Failed, format!("cannot write {}: {e}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("twinline.toml");
        std::fs::write(&path, "mine").unwrap();
        let refused = write_new(&path, "new").unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
