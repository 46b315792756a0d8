//! A stretch of a file, with the fields of one point joined.
//!
//! Promise: in a window each cell has one value, the last of the file's; windows in order, whatever the order in them, leave the cells as the
//! file's lines in order do. An export of 1.x has one field a line, and all times of a field before the next one: so points come together as
//! far as a window reaches.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Context, Point, Position};
use crate::cell::Series;

/// Lines of a window.
pub const WINDOW_LINES: u64 = 50_000;
/// Bytes of the file that it stands for.
pub const WINDOW_BYTES: u64 = 4 << 20;

/// A point, and where it was found.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// Where it belongs by the headers above it.
    pub context: Option<Arc<Context>>,
    /// It.
    pub point: Point,
    /// Its first line.
    pub at: Position,
    /// So many lines of the file are in it.
    pub lines: u64,
}

/// What became of a point.
#[derive(Debug)]
pub enum Add {
    /// It is in the window.
    Done,
    /// It belongs into the next one.
    Full(Point),
}

type Key = (Option<Arc<Context>>, Arc<Series>, i64);

/// Points of a stretch.
#[derive(Debug, Default)]
pub struct Window {
    points: Vec<Gathered>,
    index: HashMap<Key, usize>,
    bytes: u64,
    lines: u64,
    /// Values of the file that a later one of this window replaces.
    replaced: u64,
}

impl Window {
    /// Adds a point of so many bytes.
    pub fn add(&mut self, context: Option<&Arc<Context>>, point: Point, at: Position, bytes: u64) -> Add {
        let is_full = self.lines >= WINDOW_LINES || self.bytes + bytes > WINDOW_BYTES;
        if is_full && self.lines > 0 {
            return Add::Full(point);
        }
        let key = (context.cloned(), Arc::clone(&point.series), point.time_ns);
        if let Some(own) = self.index.get(&key).map(|number| &mut self.points[*number]) {
            let kind = |fields: &[(Vec<u8>, crate::cell::Value)], key: &[u8]| {
                fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.field_type())
            };
            // Two types of one field: the server is to see both, in order.
            let conflicts = point
                .fields
                .iter()
                .any(|(field, value)| kind(&own.point.fields, field).is_some_and(|known| known != value.field_type()));
            if conflicts {
                return Add::Full(point);
            }
            own.lines += 1;
            for (field, value) in point.fields {
                match own.point.fields.iter_mut().find(|(known, _)| *known == field) {
                    Some((_, known)) => {
                        *known = value;
                        self.replaced += 1;
                    }
                    None => own.point.fields.push((field, value)),
                }
            }
        } else {
            self.index.insert(key, self.points.len());
            self.points.push(Gathered { context: context.cloned(), point, at, lines: 1 });
        }
        self.lines += 1;
        self.bytes += bytes;
        Add::Done
    }

    /// Counts bytes that are no point, such as those of a fault that is kept beside it; whether it is full then.
    pub fn weigh(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        self.bytes > WINDOW_BYTES
    }

    /// Lines in it.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Values of the file that a later one of this window replaces.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Its points, in the order of the first line of each.
    #[must_use]
    pub fn into_points(self) -> Vec<Gathered> {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Value;

    fn point(field: &str, value: Value, time_ns: i64) -> Point {
        let series = Arc::new(Series::new(b"m".to_vec(), Vec::new()));
        Point { series, fields: vec![(field.as_bytes().to_vec(), value)], time_ns }
    }

    #[test]
    fn fields_of_a_point_come_together_and_the_last_value_stays() {
        let mut window = Window::default();
        let mut add = |point| matches!(window.add(None, point, Position::default(), 10), Add::Done);
        assert!(add(point("a", Value::Integer(1), 7)));
        assert!(add(point("a", Value::Integer(2), 8)));
        assert!(add(point("b", Value::Boolean(true), 7)));
        assert!(add(point("a", Value::Integer(3), 7)));
        assert!(!add(point("a", Value::Float(3.0), 7)), "of two types of a field the server sees both");
        assert_eq!((window.lines(), window.replaced()), (4, 1));
        let points = window.into_points();
        assert_eq!(points.iter().map(|one| (one.point.time_ns, one.lines)).collect::<Vec<_>>(), [(7, 3), (8, 1)]);
        assert_eq!(points[0].point.fields[0].1, Value::Integer(3));
        assert_eq!(points[0].point.fields.len(), 2);
    }

    #[test]
    fn a_window_is_bounded_but_takes_one_line_of_any_length() {
        let mut window = Window::default();
        let add = |window: &mut Window, at| {
            matches!(window.add(None, point("a", Value::Integer(1), at), Position::default(), WINDOW_BYTES), Add::Done)
        };
        assert!(add(&mut window, 1));
        assert!(!add(&mut window, 2));
    }
}
