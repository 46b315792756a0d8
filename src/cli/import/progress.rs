//! How far it is, on stderr where that is a terminal.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::source::Source;
use crate::cli::talk::Talk;

/// The bar of an import. Of stdin nobody knows how much it is.
pub(super) fn bar(talk: Talk, sources: &[Source]) -> ProgressBar {
    if talk.quiet {
        return ProgressBar::hidden();
    }
    let (bar, template) = if sources.iter().any(|source| source.path.as_os_str() == "-") {
        (ProgressBar::no_length(), "{spinner} {bytes} read, {bytes_per_sec}  {msg}")
    } else {
        let bytes = sources.iter().map(|source| source.identity.size).sum();
        (ProgressBar::new(bytes), "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {msg}")
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_finish(ProgressFinish::AndClear)
}
