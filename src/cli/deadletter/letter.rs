//! A letter as the commands look at it: whose it is, of which measurement and time.

use super::FilterArgs;
pub(super) use crate::backfill::form::any_line as line;
use crate::line::Precision;
use crate::route::RouteName;
use crate::state::StoredLetter;

/// A letter, read.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) stored: StoredLetter,
    /// As people write it.
    pub(super) route: String,
    /// Unescaped; where no dialect reads the line, what stands before its first comma or space.
    pub(super) measurement: Vec<u8>,
    /// Of the point, ns.
    pub(super) time_ns: Option<i64>,
}

impl Letter {
    /// `unit`: of the times in lines as they were sent.
    pub(super) fn new(stored: StoredLetter, unit: Precision) -> Self {
        let name = RouteName::from_key(&stored.route);
        let route = match &name {
            Some(name) => name.to_string(),
            None if stored.route.is_empty() => "unknown route".to_owned(),
            None => stored.route.clone(),
        };
        let head = || {
            let end = stored.text.iter().position(|byte| b", ".contains(byte)).unwrap_or(stored.text.len());
            stored.text[..end].to_vec()
        };
        let read = line(&stored.text, unit).map(|line| (line.measurement().into_owned(), line.timestamp_ns()));
        let (measurement, time_ns) = read.unwrap_or_else(|| (head(), last_number(&stored.text, unit)));
        Self { route, measurement, time_ns, stored }
    }

    pub(super) fn fits(&self, filter: &FilterArgs) -> bool {
        let is =
            |wanted: &Option<String>, found: &[u8]| wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == found);
        let is_route = is(&filter.route, self.route.as_bytes()) || is(&filter.route, self.stored.route.as_bytes());
        is_route && is(&filter.reason, self.stored.code.as_bytes()) && is(&filter.measurement, &self.measurement)
    }

    pub(super) fn measurement_text(&self) -> String {
        String::from_utf8_lossy(&self.measurement).into_owned()
    }
}

fn last_number(text: &[u8], unit: Precision) -> Option<i64> {
    let last = text.rsplit(|byte| *byte == b' ').next()?;
    let number: i64 = std::str::from_utf8(last).ok()?.parse().ok()?;
    number.checked_mul(unit.unit_ns())
}
