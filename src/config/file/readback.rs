//! How doubt and gaps are read back from the source.

use std::time::Duration;

use crate::config::ReadBack;
use crate::config::document::Section;

pub(super) fn read(section: Section<'_>) -> ReadBack {
    let known = ReadBack::default();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let readback = ReadBack {
        enabled: section.flag("enabled", known.enabled),
        pause: section.span("pause", known.pause, Duration::ZERO..=10 * minute),
        per_minute: section.count("per_minute", known.per_minute, 1..=6_000),
        hold_max: section.span("hold_max", known.hold_max, second..=minute),
    };
    section.finish();
    readback
}
