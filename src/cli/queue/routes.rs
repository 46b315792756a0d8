//! Names of routes, learnt from the intents in the log: so that no other file need be opened.

use std::collections::HashMap;

use crate::base::RouteId;
use crate::cli::exit::Failure;
use crate::queue::{Intent, Statement};
use crate::wal::look::{Look, Row, SegmentSeen, Sight};
use crate::wal::{Damage, Kind};

use super::place::failure;
use super::text::{plural, printable, time};

/// Numbers that are remembered.
const NAMES_MAX: usize = 100_000;

/// Numbers and names.
#[derive(Debug, Default)]
pub(super) struct Routes(HashMap<RouteId, String>);

impl Routes {
    /// The name in a record's own text; remembered with its number.
    pub(super) fn learn(&mut self, row: &Row) -> Option<String> {
        let record = &row.record;
        if row.kind() == Some(Kind::Statement) {
            let place = Statement::decode(&record.meta).ok()?.place();
            return Some(place).filter(|place| !place.is_empty());
        }
        if row.kind() != Some(Kind::Intent) {
            return None;
        }
        if let Some(known) = self.0.get(&record.route).filter(|_| record.route != RouteId(0)) {
            return Some(known.clone());
        }
        let name = Intent::decode(&record.meta).ok()?.name.to_string();
        if record.route != RouteId(0) && self.0.len() < NAMES_MAX {
            self.0.insert(record.route, name.clone());
        }
        Some(name)
    }

    /// Learns from a whole segment, where one of its numbers is not known yet: a route's first records are without it.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(super) fn learn_all(
        &mut self,
        look: &Look,
        segment: &SegmentSeen,
        route: Option<RouteId>,
    ) -> Result<(), Failure> {
        if route.is_none_or(|route| self.0.contains_key(&route)) {
            return Ok(());
        }
        let Some(mut scan) = look.scan(segment, true).map_err(failure)? else { return Ok(()) };
        while let Some(sight) = scan.next().map_err(failure)? {
            if let Sight::Row(row) = sight {
                self.learn(&row);
            }
        }
        Ok(())
    }

    /// The name of a number, or the number.
    pub(super) fn name(&self, route: Option<RouteId>) -> Option<String> {
        let route = route?;
        Some(self.0.get(&route).cloned().unwrap_or_else(|| format!("route {route}")))
    }

    /// What is lost, in words.
    pub(super) fn lost(&self, damage: &Damage) -> String {
        let records = match damage.last.0 - damage.first.0 {
            0 => format!("record {}", damage.first),
            _ => format!("records {} to {}", damage.first, damage.last),
        };
        let route = self.name(damage.route).unwrap_or_else(|| "route not known".to_owned());
        let route: String = route.chars().map(printable).collect();
        let lines = if damage.lines == 0 { "lines not known".to_owned() } else { plural(damage.lines, "line") };
        let (from, to) = (time(damage.from_ns), time(damage.to_ns));
        let when = if damage.from_ns == damage.to_ns { from } else { format!("{from} to {to}") };
        format!("{records} lost: {route}, {lines}, received {when}")
    }
}
