//! What there is to compare in a pair of places: every measurement of either side, in every shard group of either side.

use std::collections::BTreeMap;

use super::compare::Names;
use crate::backfill::scope::{Groups, uncovered};
use crate::base::Result;
use crate::db::read::{Reader, Window};
use crate::line::Rules;

/// Measurements that are one at the destination, in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What they are called.
    pub names: Names,
    /// A shard group of the source, or what of one of the destination no group of the source covers.
    pub window: Window,
}

/// A place as a reader sees it: database and policy.
pub type At<'a> = (&'a Reader, (&'a str, &'a str));

/// Names at the source, and windows without overlap.
type Found = (Vec<Vec<u8>>, Vec<Window>);

/// Asks both sides; the newest windows come first. `rules`: what mapping makes of names on the way.
///
/// # Errors
/// As [`Groups::of`].
pub async fn units(source: At<'_>, destination: At<'_>, rules: Option<&Rules>, within: Window) -> Result<Vec<Unit>> {
    let mut found: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    for unit in Groups::of(source.0, source.1, within).await?.units(0) {
        let name = match rules {
            // A rule leaves all of it out.
            Some(rules) => match rules.measurement(&unit.measurement) {
                Some(name) => name.into_owned(),
                None => continue,
            },
            None => unit.measurement.to_vec(),
        };
        let (names, windows) = found.entry(name).or_default();
        if !names.iter().any(|known| **known == *unit.measurement) {
            names.push(unit.measurement.to_vec());
        }
        add(windows, unit.group);
    }
    for unit in Groups::of(destination.0, destination.1, within).await?.units(0) {
        add(&mut found.entry(unit.measurement.to_vec()).or_default().1, unit.group);
    }
    let mut units: Vec<Unit> = Vec::new();
    for (name, (source, windows)) in found {
        let names = Names { source, destination: vec![name] };
        units.extend(windows.into_iter().map(|window| Unit { names: names.clone(), window }));
    }
    units.sort_by_key(|unit| std::cmp::Reverse(unit.window.start_ns));
    Ok(units)
}

/// What no window covers yet.
fn add(windows: &mut Vec<Window>, window: Window) {
    windows.sort();
    let covered: Vec<(i64, i64)> = windows.iter().map(|one| (one.start_ns, one.end_ns)).collect();
    windows.extend(uncovered(window, &covered));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_compared_twice() {
        let window = |start_ns, end_ns| Window { start_ns, end_ns };
        let mut windows = Vec::new();
        for one in [window(0, 10), window(20, 30), window(5, 25), window(-5, 40)] {
            add(&mut windows, one);
        }
        windows.sort();
        assert_eq!(windows, [window(-5, 0), window(0, 10), window(10, 20), window(20, 30), window(30, 40)]);
    }
}
