//! Lines that go a second time, once a request of a dead process can no longer take effect: it may put an older value over theirs.
//!
//! Promise: no newer line of a cell goes between the end of that time and the repetition. Of a cell only the newest lines are
//! kept that between them have each of its fields: the older ones need not be seen again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::Lsn;
use crate::delivery::batch::{Batch, LineAt, held_bytes};
use crate::delivery::target::TargetId;
use crate::line::{self, Dialect, Precision};

/// A batch of repetitions grows up to this.
const BATCH_LINES: usize = 1000;
const BATCH_BYTES: usize = 256 << 10;

/// What a lane will send again.
#[derive(Debug, Default)]
pub(super) struct Again {
    targets: BTreeMap<TargetId, Repetitions>,
    /// When they go. All of one process wait for the same death.
    due: Duration,
}

/// What one target gets again; never empty.
#[derive(Debug)]
struct Repetitions {
    /// By cell, oldest first.
    cells: BTreeMap<u64, Vec<Kept>>,
    bytes: usize,
    /// No record with a line in there is older.
    first: Lsn,
}

#[derive(Debug)]
struct Kept {
    at: LineAt,
    text: Box<[u8]>,
}

impl Again {
    /// These lines were delivered, and go once more from `due` on.
    pub(super) fn add(&mut self, batch: &Batch, due: Duration) {
        self.due = self.due.max(due);
        for index in 0..batch.len() {
            let (at, text) = batch.line(index);
            self.of(batch.target, at.lsn).add(at, text);
        }
    }

    /// A batch that was taken and did not go.
    pub(super) fn put_back(&mut self, batch: &Batch) {
        for index in 0..batch.len() {
            let (at, text) = batch.line(index);
            self.of(batch.target, at.lsn).push(at, text);
        }
    }

    /// These lines of a batch that was taken must not go before `until`; so nothing goes.
    pub(super) fn delay(&mut self, batch: &Batch, until: Duration) {
        self.due = self.due.max(until);
        self.put_back(batch);
    }

    fn of(&mut self, target: TargetId, lsn: Lsn) -> &mut Repetitions {
        let of = self.targets.entry(target);
        of.or_insert_with(|| Repetitions { cells: BTreeMap::new(), bytes: 0, first: lsn })
    }

    /// A batch that may go now, of a target that is not paused. Without any: when to ask again.
    pub(super) fn take(&mut self, now: Duration, paused: impl Fn(TargetId) -> bool) -> Result<Batch, Option<Duration>> {
        let Some(target) = self.targets.keys().copied().find(|target| !paused(*target)) else { return Err(None) };
        if now < self.due {
            return Err(Some(self.due));
        }
        let of = self.targets.get_mut(&target).expect("the key was just found there");
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < BATCH_LINES && bytes < BATCH_BYTES {
            let Some((_, kept)) = of.cells.pop_first() else { break };
            bytes += kept.iter().map(|kept| kept.text.len()).sum::<usize>();
            lines.extend(kept);
        }
        of.bytes -= lines.iter().map(|kept| held_bytes(&kept.text)).sum::<usize>();
        if of.cells.is_empty() {
            self.targets.remove(&target);
        }
        lines.sort_unstable_by_key(|kept| (kept.at.lsn, kept.at.line));
        let mut batch = Batch::new(target, now);
        lines.iter().for_each(|kept| batch.push(kept.at, &kept.text));
        Ok(batch)
    }

    /// Until when a line of this cell waits, if a repetition must go before it.
    pub(super) fn before(&self, target: TargetId, cell: u64) -> Option<Duration> {
        self.targets.get(&target)?.cells.contains_key(&cell).then_some(self.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// No record with a line in there is older.
    pub(super) fn first(&self) -> Option<Lsn> {
        self.targets.values().map(|of| of.first).min()
    }

    /// The oldest record with a line in there for this target.
    pub(super) fn first_of(&self, target: TargetId) -> Option<Lsn> {
        self.targets.get(&target)?.cells.values().flatten().map(|kept| kept.at.lsn).min()
    }

    /// What the lines take of what may wait.
    pub(super) fn bytes(&self) -> usize {
        self.targets.values().map(|of| of.bytes).sum()
    }

    /// What the lines for one target take of it.
    pub(super) fn bytes_of(&self, target: TargetId) -> usize {
        self.targets.get(&target).map_or(0, |of| of.bytes)
    }

    /// Forgets what is there for a target of this record and all later ones; returns the bytes that become free.
    pub(super) fn take_from(&mut self, target: TargetId, lsn: Lsn) -> usize {
        let Some(mut of) = self.targets.remove(&target) else { return 0 };
        let before = of.bytes;
        of.cells.retain(|_, kept| {
            kept.retain(|kept| kept.at.lsn < lsn);
            !kept.is_empty()
        });
        of.bytes = of.cells.values().flatten().map(|kept| held_bytes(&kept.text)).sum();
        let free = before - of.bytes;
        if !of.cells.is_empty() {
            self.targets.insert(target, of);
        }
        free
    }
}

impl Repetitions {
    /// A line, instead of those that it covers.
    fn add(&mut self, at: LineAt, text: &[u8]) {
        if let Some(kept) = self.cells.get_mut(&at.cell) {
            let fields = fields_of(text);
            kept.retain(|older| {
                let stays = !fields_of(&older.text).is_subset(&fields);
                self.bytes -= if stays { 0 } else { held_bytes(&older.text) };
                stays
            });
        }
        self.push(at, text);
    }

    fn push(&mut self, at: LineAt, text: &[u8]) {
        self.first = self.first.min(at.lsn);
        self.bytes += held_bytes(text);
        self.cells.entry(at.cell).or_default().push(Kept { at, text: text.into() });
    }
}

/// The keys of a delivered line's fields; any two lines of a cell have the same series and time.
fn fields_of(text: &[u8]) -> BTreeSet<&[u8]> {
    // What a destination gets this dialect reads, whichever its own is.
    let lines = line::lines(text, Dialect::Influx2, Precision::Nanosecond).filter_map(Result::ok);
    lines.flat_map(|line| line.fields().iter().map(|field| field.raw_key()).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RouteId;

    const TARGET: TargetId = TargetId(3);
    const DUE: Duration = Duration::from_secs(60);

    fn batch(lines: &[(u64, u64, &str)]) -> Batch {
        let mut batch = Batch::new(TARGET, Duration::ZERO);
        for (lsn, cell, text) in lines {
            let at = LineAt { lsn: Lsn(*lsn), line: 0, route: RouteId(1), cell: *cell };
            batch.push(at, text.as_bytes());
        }
        batch
    }

    fn texts(batch: &Batch) -> Vec<&str> {
        (0..batch.len()).map(|index| std::str::from_utf8(batch.line(index).1).unwrap().trim_end()).collect()
    }

    #[test]
    fn of_a_cell_the_newest_values_of_all_its_fields_go_again_in_their_order() {
        let mut again = Again::default();
        again.add(
            &batch(&[(1, 7, "m a=1,b=1 5\n"), (2, 7, "m b=2 5\n"), (3, 8, "m a=1 6\n"), (4, 7, "m b=3 5\n")]),
            DUE,
        );
        let line = |text: &str| held_bytes(text.as_bytes());
        assert_eq!(again.bytes(), line("m a=1,b=1 5\n") + line("m b=3 5\n") + line("m a=1 6\n"));
        assert_eq!(again.take(Duration::ZERO, |_| false).unwrap_err(), Some(DUE));
        let taken = again.take(DUE, |_| false).unwrap();
        assert_eq!(texts(&taken), ["m a=1,b=1 5", "m a=1 6", "m b=3 5"]);
        assert!(again.is_empty());
        again.put_back(&taken);
        assert_eq!((again.first(), again.before(TARGET, 7), again.before(TARGET, 9)), (Some(Lsn(1)), Some(DUE), None));
        assert_eq!(again.take_from(TARGET, Lsn(3)), line("m a=1 6\n") + line("m b=3 5\n"));
        assert_eq!(texts(&again.take(DUE, |_| false).unwrap()), ["m a=1,b=1 5"]);
    }
}
