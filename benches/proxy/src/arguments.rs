//! `--name VALUE`s and `--flag`s of a measurement; what cargo adds is ignored.

use std::path::PathBuf;

/// Those of a process.
#[derive(Clone, Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this one.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Whether the flag is there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|argument| argument == flag)
    }

    /// The text after a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The number after a name, or what is usual.
    ///
    /// # Panics
    /// Where something else stands there.
    #[must_use]
    pub fn number(&self, name: &str, usual: f64) -> f64 {
        self.text(name)
            .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} needs a number, not {text}")))
    }

    /// The program that is measured: `--twinline FILE`, else the release build beside these benchmarks.
    ///
    /// # Panics
    /// Where it is not there.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/twinline");
        let path = PathBuf::from(self.text("--twinline").unwrap_or(usual));
        assert!(path.exists(), "{} is not there: cargo build --release, or --twinline FILE", path.display());
        path
    }

    /// Where logs and data lie meanwhile: `--disk DIR`, else the folder for temporary files.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.text("--disk").map_or_else(std::env::temp_dir, PathBuf::from)
    }
}
