//! How commands speak: data goes to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};

use super::exit::{Exit, Failure};

/// Form of the data on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document with a `schema` field; new fields may appear, old ones keep their meaning.
    Json,
    /// `check` only: one line and the exit codes of a monitoring plugin (0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN).
    Nagios,
    /// `check` only: JUnit XML, one test case for each check.
    Junit,
    /// `lint` only: one JSON object for each line of the file.
    Jsonl,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How one run of the program speaks.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Form of the data.
    pub output: Output,
    /// Errors only on stderr.
    pub quiet: bool,
    /// Colour on stdout.
    pub color: bool,
}

/// A state as shape, word and colour, so that none of them is needed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// In order.
    Good,
    /// Works, but look at it.
    Warning,
    /// Wrong.
    Bad,
    /// Nobody knows.
    Unknown,
}

impl Talk {
    /// Decides about colour once.
    #[must_use]
    pub fn new(output: Output, quiet: bool, color: Color) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match color {
            Color::Auto => io::stdout().is_terminal() && !unwanted,
            Color::Always => true,
            Color::Never => false,
        };
        Self { output, quiet, color }
    }

    /// Whether the data is to be JSON.
    #[must_use]
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// Writes text to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written. A reader that went away is none: it has seen enough.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Exit::Failed, format!("cannot write to stdout: {e}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes one JSON document and a line end to stdout.
    ///
    /// # Errors
    /// As [`Talk::data`].
    pub fn document(&self, value: &serde_json::Value) -> Result<(), Failure> {
        self.data(&format!("{value:#}\n"))
    }

    /// Says something to a person; nothing with `--quiet`.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }

    /// Ends a command with the next sensible one. In JSON it stands in the data as `next_steps`.
    pub fn next(&self, command: &str) {
        if !self.json() {
            self.say(&format!("Next: {command}"));
        }
    }

    /// A mark for the beginning of a line on stdout.
    #[must_use]
    pub fn mark(&self, mark: Mark) -> String {
        let (shape, color) = match mark {
            Mark::Good => ("✓", 32),
            Mark::Warning => ("!", 33),
            Mark::Bad => ("✗", 31),
            Mark::Unknown => ("?", 36),
        };
        if self.color { format!("\x1b[{color}m{shape}\x1b[0m") } else { shape.to_owned() }
    }

    /// Says why a command failed: people read lines, programs the last line of stderr.
    pub fn failure(&self, failure: &Failure) {
        if self.json() {
            let line = serde_json::json!({
                "schema": "twinline.exit_error/1",
                "event": "exit_error",
                "code": failure.exit as u8,
                "error": failure.what,
                "next_steps": failure.hint.iter().collect::<Vec<_>>(),
            });
            say(&line.to_string());
            return;
        }
        say(&format!("twinline: {}", failure.what));
        if let Some(hint) = &failure.hint {
            say(&format!("Next: {hint}"));
        }
    }
}

/// Where stderr itself is gone there is nobody left to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
