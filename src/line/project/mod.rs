//! Lines for destinations that do not hold what InfluxDB holds: what can be kept is written in their dialect, the rest is named.
//!
//! Promise: what a written line holds at the destination is what the source keeps of it, but for the cells that [`Changes`]
//! counts; each cell counts at most once for each reason. A line that the destination would refuse together with its
//! neighbours, or answer with success and not keep, is never written: it is left out, counted, or refused by name.

mod changes;
mod influx3;
mod questdb;
#[cfg(test)]
mod tests;
mod victoria;

pub use changes::{Change, Changes};
pub use influx3::influx3;
pub use questdb::{QuestRules, questdb, table_name, without_case};
pub use victoria::{VictoriaRules, victoria};

use super::point::{Field, Line};

/// The fields of a line as InfluxDB keeps them: of one name the last.
fn kept_fields<'l, 'a>(line: &'l Line<'a>) -> impl Iterator<Item = &'l Field<'a>> {
    let fields = line.fields();
    fields
        .iter()
        .enumerate()
        .filter(|(at, field)| !fields[at + 1..].iter().any(|later| later.key() == field.key()))
        .map(|(_, field)| field)
}

/// Decimal digits that a float needs so that it can be read back to the bit.
fn significant_digits(value: f64) -> usize {
    let text = format!("{value:e}");
    let digits = text.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit);
    digits.count()
}
