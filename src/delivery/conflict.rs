//! Lines with the field whose type the destination does not take go by themselves: one request for them instead of many that halve.
//!
//! Promise: nothing is taken for stored, or for refused, that the answers do not prove. The others go again first: an answer names the
//! first reason of one shard alone, and may hide that some of them were dropped for another. Then the lines of the named field go alone; where
//! as many are refused as there are, these are letters. What an answer does not explain is halved as before.

use std::collections::HashSet;

use super::part::Part;
use super::settle::Work;
use crate::db::answer::Conflict;
use crate::line::{self, Dialect, Precision};

/// The lines of the field that an answer names, and the others; `None` where that does not divide the part, or would change the order of
/// what is written to one place.
fn divided(part: &Part, said: &str) -> Option<(Part, Part)> {
    let conflict = Conflict::of(said)?;
    let is_of = |text: &[u8]| {
        let mut lines = line::lines(text, Dialect::Influx2, Precision::Nanosecond);
        matches!(lines.next(), Some(Ok(line)) if conflict.is_of(&line))
    };
    let named: Vec<usize> =
        part.texts().enumerate().filter(|(_, text)| is_of(text)).map(|(number, _)| number).collect();
    if named.is_empty() {
        return None;
    }
    let others = part.without(&named)?;
    let rest: HashSet<usize> = named.into_iter().collect();
    let gone: Vec<usize> = (0..part.len()).filter(|number| !rest.contains(number)).collect();
    let named = part.without(&gone)?;
    (!named.shares_cells(&others)).then_some((named, others))
}

impl Work<'_> {
    /// Lines are refused for the type of a field.
    pub(super) fn conflicts(&mut self, part: Part, said: &str) {
        match divided(&part, said) {
            Some((named, others)) => {
                self.parts.push_front(named);
                self.parts.push_front(others);
            }
            None => part.halve(&mut self.parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::base::{Lsn, RouteId};
    use crate::delivery::batch::{Batch, LineAt};
    use crate::delivery::target::TargetId;

    const SAID: &str = "partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1";

    fn part(lines: &[(u64, &str)]) -> Part {
        let mut batch = Batch::new(TargetId(0), Duration::ZERO);
        for (number, (cell, text)) in (0u32..).zip(lines) {
            batch.push(LineAt { lsn: Lsn(1), line: number, route: RouteId(0), cell: *cell }, text.as_bytes());
        }
        Part::whole(&Rc::new(batch))
    }

    fn numbers(part: &Part) -> Vec<u32> {
        part.lines.clone().map(|index| part.batch.line(index).0.line).collect()
    }

    #[test]
    fn the_named_lines_go_apart() {
        let all = [(1, "m v=1 1\n"), (2, "m v=\"x\" 2\n"), (3, "m,h=a w=1,v=\"y\ny\" 3\n"), (4, "n v=\"x\" 4\n")];
        let (named, others) = divided(&part(&all), SAID).unwrap();
        assert_eq!((numbers(&named), numbers(&others)), (vec![1, 2], vec![0, 3]));
    }

    #[test]
    fn what_the_answer_does_not_divide_is_halved() {
        assert!(divided(&part(&[(1, "m v=1 1\n"), (2, "n v=\"x\" 2\n")]), SAID).is_none(), "none has it");
        assert!(divided(&part(&[(1, "m v=\"x\" 1\n"), (2, "m v=\"x\" 2\n")]), SAID).is_none(), "all have it");
        assert!(
            divided(&part(&[(1, "m v=1 1\n"), (1, "m v=\"x\" 1\n")]), SAID).is_none(),
            "one place, whose order counts"
        );
    }
}
