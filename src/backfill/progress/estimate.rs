//! How much of a job is done, and how long the rest takes: from what the chunks so far held and took. Pure.
//!
//! Promises: what is done never becomes less, also over a resume, and is all only at the end. A unit that was not read yet is taken to hold
//! what the source has counted, or, where nobody has, what the groups of its measurement that are done held for their length, the last ones
//! most. Each measurement has its own cost, by all that was copied of it: the first group has shown all of them, and a database that is slow
//! for a while does not spoil what is told; one that goes at another speed altogether, as by another limit, is believed soon. Time in which
//! nothing might be begun does not count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Place and measurement.
pub type Name = (usize, Arc<[u8]>);

/// In parts per million: all.
pub const ALL_PPM: u64 = 1_000_000;
/// Before the end it is never more than this.
const NEARLY_PPM: u64 = 999_000;
/// Before so much is done nobody says how long the rest takes.
const SAY_FROM_PPM: u64 = 20_000;
/// Groups behind this many count for little in what the next one is taken to hold.
const GROUPS: f64 = 12.0;
/// What was so long ago, as a part of all work so far, counts for little in how fast it goes of late.
const LATE_PART: f64 = 0.05;
/// So many times as fast or as slow as before is another speed, once so many chunks have shown it.
const OTHER_SPEED: f64 = 2.5;
const OTHER_CHUNKS: u32 = 10;

/// A measurement.
#[derive(Clone, Debug, Default)]
struct One {
    /// By the source's own count.
    counted: Option<f64>,
    /// Lengths of groups that are not done, ns.
    left_ns: f64,
    /// Cells that are at the destination, or were found not to be there.
    cells: f64,
    /// Smoothed over groups: cells, and lengths.
    recent: (f64, f64),
    /// Of the group that is under way.
    group: (f64, f64),
    /// Work that its cells took, s.
    work_s: f64,
    /// Cells in that.
    work_cells: f64,
}

impl One {
    /// Cells that are not copied yet; `None` where nothing is known.
    fn left(&self, others_per_ns: Option<f64>) -> Option<f64> {
        if let Some(counted) = self.counted {
            // What is written while it works is no part of it.
            let left = (counted - self.cells).max(0.0);
            return Some(if self.left_ns > 0.0 { left } else { 0.0 });
        }
        let (cells, ns) = (self.recent.0 + self.group.0, self.recent.1 + self.group.1);
        let per_ns = if ns > 0.0 { Some(cells / ns) } else { others_per_ns };
        per_ns.map(|per_ns| per_ns * self.left_ns)
    }
}

/// What is known of a job.
#[derive(Clone, Debug, Default)]
pub struct Estimate {
    all: HashMap<Name, One>,
    /// What was shown last, ppm.
    shown_ppm: u64,
    /// Work so far, s.
    work_s: f64,
    cells: f64,
    /// When the last chunk ended, of the clock of work.
    last: Option<Duration>,
    /// How long chunks took of late, and how long they should have by what each measurement costs, s.
    late: (f64, f64),
    /// Chunks in that.
    late_chunks: u32,
}

impl Estimate {
    /// A job of these units, each with its length, ns. `shown_ppm`, `work`: what a former process had come to.
    pub fn new(units: impl IntoIterator<Item = (Name, i64)>, shown_ppm: u64, work: Duration) -> Self {
        let mut own = Self { shown_ppm, work_s: work.as_secs_f64(), ..Self::default() };
        for (name, length_ns) in units {
            own.all.entry(name).or_default().left_ns += length_ns.max(1) as f64;
        }
        own
    }

    /// The source has counted a measurement: so many cells in all.
    pub fn counted(&mut self, name: &Name, cells: u64) {
        self.all.entry(name.clone()).or_default().counted = Some(cells as f64);
    }

    /// A former process has copied so many cells of it.
    pub fn resumed(&mut self, name: &Name, cells: u64) {
        self.all.entry(name.clone()).or_default().cells += cells as f64;
        self.cells += cells as f64;
    }

    /// So much of the time of a measurement needs no copy any more, without a chunk of ours.
    pub fn passed(&mut self, name: &Name, length_ns: i64) {
        if let Some(one) = self.all.get_mut(name) {
            one.left_ns = (one.left_ns - length_ns as f64).max(0.0);
        }
    }

    /// The clock of work begins to count here.
    pub fn begin(&mut self, at: Duration) {
        self.last = Some(at);
    }

    /// A window has come to its end, at this time of the clock of work.
    pub fn chunk(&mut self, name: &Name, length_ns: i64, cells: u64, at: Duration) {
        let took = at.saturating_sub(self.last.unwrap_or(at)).as_secs_f64();
        self.last = Some(at);
        let usual = self.all.get(name).filter(|one| one.work_cells > 0.0).map(|one| one.work_s / one.work_cells);
        self.work_s += took;
        self.cells += cells as f64;
        if let Some(usual) = usual.filter(|usual| *usual > 0.0 && cells > 0) {
            let keep = (-took / (LATE_PART * self.work_s)).exp();
            self.late = (self.late.0 * keep + took, self.late.1 * keep + usual * cells as f64);
            self.late_chunks += 1;
        }
        let Some(one) = self.all.get_mut(name) else { return };
        let length = length_ns as f64;
        one.left_ns = (one.left_ns - length).max(0.0);
        one.cells += cells as f64;
        (one.group.0, one.group.1) = (one.group.0 + cells as f64, one.group.1 + length);
        (one.work_s, one.work_cells) = (one.work_s + took, one.work_cells + cells as f64);
        self.change_speed();
    }

    /// What everything costs is another thing where all goes at another speed.
    fn change_speed(&mut self) {
        let times = self.late.0 / self.late.1;
        if self.late_chunks < OTHER_CHUNKS || (1.0 / OTHER_SPEED..=OTHER_SPEED).contains(&times) || !times.is_normal() {
            return;
        }
        self.all.values_mut().for_each(|one| one.work_s *= times);
        (self.late, self.late_chunks) = ((0.0, 0.0), 0);
    }

    /// A unit is done.
    pub fn unit_done(&mut self, name: &Name) {
        let Some(one) = self.all.get_mut(name) else { return };
        let keep = 1.0 - 1.0 / GROUPS;
        let (cells, ns) = std::mem::take(&mut one.group);
        one.recent = (one.recent.0 * keep + cells, one.recent.1 * keep + ns);
    }

    /// Seconds for a cell of a measurement, by all so far; of one that is not known as of all others.
    fn cost(&self, name: &Name) -> f64 {
        match self.all.get(name) {
            Some(one) if one.work_cells > 0.0 => one.work_s / one.work_cells,
            _ if self.cells > 0.0 => self.work_s / self.cells,
            _ => 0.0,
        }
    }

    /// Work that is left, s; `None` where nothing is known.
    fn left_s(&self) -> Option<f64> {
        let (cells, ns) = self
            .all
            .values()
            .fold((0.0, 0.0), |(cells, ns), one| (cells + one.recent.0 + one.group.0, ns + one.recent.1 + one.group.1));
        let others = (ns > 0.0).then_some(cells / ns);
        let mut left = 0.0;
        for (name, one) in &self.all {
            left += one.left(others)? * self.cost(name);
        }
        Some(left)
    }

    /// How much is done, ppm; and how long the rest takes, where that can be said.
    pub fn look(&mut self) -> (u64, Option<Duration>) {
        let Some(left_s) = self.left_s().filter(|_| self.work_s > 0.0) else { return (self.shown_ppm, None) };
        let done = self.work_s / (self.work_s + left_s);
        let ppm = ((done * ALL_PPM as f64) as u64).min(NEARLY_PPM);
        self.shown_ppm = self.shown_ppm.max(ppm);
        let left = (ppm >= SAY_FROM_PPM).then(|| Duration::try_from_secs_f64(left_s).unwrap_or(Duration::MAX));
        (self.shown_ppm, left)
    }

    /// Work so far.
    #[must_use]
    pub fn work(&self) -> Duration {
        Duration::try_from_secs_f64(self.work_s).unwrap_or_default()
    }

    /// All is done.
    pub fn end(&mut self) {
        self.shown_ppm = ALL_PPM;
        self.all.values_mut().for_each(|one| (one.left_ns, one.counted) = (0.0, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK_NS: i64 = 604_800_000_000_000;

    fn name(number: usize) -> Name {
        (0, Arc::from(format!("m{number}").as_bytes()))
    }

    /// A unit of a modelled job: whose it is, its cells, and the seconds that they take.
    struct Unit {
        name: Name,
        cells: u64,
        took_s: f64,
    }

    /// `groups` weeks, the newest first, of measurements of very different size and cost; how they vary is given.
    fn job(seed: u64, groups: usize, vary: impl Fn(&mut fastrand::Rng, usize) -> f64) -> Vec<Unit> {
        let mut random = fastrand::Rng::with_seed(seed);
        let kinds: Vec<(f64, f64)> = (0..random.usize(1..8))
            .map(|_| (10_f64.powf(random.f64() * 3.0 + 3.0), 10_f64.powf(-5.5 + random.f64())))
            .collect();
        let mut units = Vec::new();
        for group in 0..groups {
            for (number, (cells, cost)) in kinds.iter().enumerate() {
                let cells = (cells * vary(&mut random, group)) as u64;
                // Each window goes a little faster or slower.
                let took_s = cells as f64 * cost * (0.9 + 0.2 * random.f64());
                units.push(Unit { name: name(number), cells, took_s });
            }
        }
        units
    }

    /// Copies it in several windows a unit; calls `look` after each with what is done of the work and left of it, in truth.
    fn copied(
        units: &[Unit],
        mut estimate: Estimate,
        from: usize,
        mut look: impl FnMut(&mut Estimate, f64, f64),
    ) -> Estimate {
        let total: f64 = units.iter().map(|unit| unit.took_s).sum();
        let mut at: f64 = units[..from].iter().map(|unit| unit.took_s).sum();
        estimate.begin(Duration::from_secs_f64(at));
        for unit in &units[from..] {
            for part in 0..4 {
                at += unit.took_s / 4.0;
                let cells = unit.cells * (part + 1) / 4 - unit.cells * part / 4;
                estimate.chunk(&unit.name, WEEK_NS / 4, cells, Duration::from_secs_f64(at));
                look(&mut estimate, at / total, total - at);
            }
            estimate.unit_done(&unit.name);
        }
        estimate
    }

    fn fresh(units: &[Unit], is_counted: bool) -> Estimate {
        let mut estimate = Estimate::new(units.iter().map(|unit| (unit.name.clone(), WEEK_NS)), 0, Duration::ZERO);
        if is_counted {
            let mut sums: HashMap<Name, u64> = HashMap::new();
            units.iter().for_each(|unit| *sums.entry(unit.name.clone()).or_default() += unit.cells);
            sums.iter().for_each(|(name, cells)| estimate.counted(name, *cells));
        }
        estimate
    }

    /// The rest as it is told is within 20 % of what it is, or 1 % of the whole, once 10 % are done; what is done only grows.
    fn holds(what: &str, units: &[Unit], is_counted: bool) {
        let total: f64 = units.iter().map(|unit| unit.took_s).sum();
        let mut before = 0;
        copied(units, fresh(units, is_counted), 0, |estimate, done, left_s| {
            let (ppm, left) = estimate.look();
            assert!(ppm >= before && ppm < ALL_PPM, "{what}: {ppm} after {before}");
            before = ppm;
            if done >= 0.1 {
                let told = left.expect("it can be said").as_secs_f64();
                let off = (told - left_s).abs();
                assert!(
                    off <= 0.2 * left_s + 0.01 * total,
                    "{what}: at {:.1} % it told {told:.0} s, and {left_s:.0} s were left",
                    done * 100.0
                );
            }
        });
    }

    #[test]
    fn with_a_count_of_the_source_the_rest_is_told_however_uneven_the_groups() {
        for seed in 0..300 {
            // Most groups hold little, and some fifty times as much.
            let uneven = |random: &mut fastrand::Rng, _| if random.u8(0..6) == 0 { 10.0 } else { 0.2 + random.f64() };
            holds(&format!("seed {seed}"), &job(seed, 52, uneven), true);
            let shrinking =
                |random: &mut fastrand::Rng, group: usize| 0.93_f64.powi(group as i32) * (0.7 + 0.6 * random.f64());
            holds(&format!("shrinking, seed {seed}"), &job(seed, 52, shrinking), true);
        }
    }

    #[test]
    fn without_one_it_is_told_from_the_groups_so_far() {
        for seed in 0..300 {
            let vary = |random: &mut fastrand::Rng, _| 0.9 + 0.2 * random.f64();
            holds(&format!("seed {seed}"), &job(seed, 52, vary), false);
        }
    }

    #[test]
    fn a_slow_phase_in_the_middle_is_told_and_does_not_spoil_the_rest() {
        for seed in 0..300 {
            let mut units = job(seed, 100, |random, _| 0.7 + 0.6 * random.f64());
            let count = units.len();
            // The source answers at half its speed for a twelfth of the job.
            units[count / 2..count / 2 + count / 12].iter_mut().for_each(|unit| unit.took_s *= 2.0);
            holds(&format!("seed {seed}"), &units, true);
        }
    }

    #[test]
    fn another_speed_for_good_is_believed_soon() {
        for seed in 0..300 {
            for times in [10.0, 0.1] {
                let mut units = job(seed, 100, |random, _| 0.7 + 0.6 * random.f64());
                let count = units.len();
                units[count * 2 / 5..].iter_mut().for_each(|unit| unit.took_s *= times);
                let total: f64 = units.iter().map(|unit| unit.took_s).sum();
                let from: f64 = units[..count / 2].iter().map(|unit| unit.took_s).sum::<f64>() / total;
                copied(&units, fresh(&units, true), 0, |estimate, done, left_s| {
                    let left = estimate.look().1.map_or(0.0, |left| left.as_secs_f64());
                    let off = (left - left_s).abs();
                    let is_near = done < from || off <= 0.55 * left_s + 0.01 * total;
                    assert!(is_near, "seed {seed}, {times} times: at {done} it told {left}, and {left_s} were left");
                });
            }
        }
    }

    #[test]
    fn what_is_done_does_not_become_less_over_a_resume() {
        for seed in 0..300 {
            let units = job(seed, 52, |random, _| 0.3 + 1.4 * random.f64());
            let cut = units.len() / 3;
            let mut killed = copied(&units[..cut], fresh(&units, false), 0, |estimate, _, _| {
                estimate.look();
            });
            let (before, work) = (killed.look().0, killed.work());
            let lengths = units.iter().map(|unit| (unit.name.clone(), WEEK_NS));
            let mut resumed = Estimate::new(lengths, before, work);
            units[..cut].iter().for_each(|unit| resumed.resumed(&unit.name, unit.cells));
            assert_eq!(resumed.look().0, before, "nothing was passed yet");
            units[..cut].iter().for_each(|unit| {
                resumed.passed(&unit.name, WEEK_NS);
                resumed.unit_done(&unit.name);
                assert!(resumed.look().0 >= before);
            });
            let mut last = before;
            let mut done = copied(&units, resumed, cut, |estimate, _, _| {
                let (ppm, _) = estimate.look();
                assert!(ppm >= last, "seed {seed}");
                last = ppm;
            });
            assert!(last > 900_000, "seed {seed}: {last}");
            done.end();
            assert_eq!(done.look().0, ALL_PPM);
        }
    }

    #[test]
    fn what_says_nothing_is_not_told() {
        let mut estimate = Estimate::new([(name(0), WEEK_NS), (name(0), WEEK_NS)], 0, Duration::ZERO);
        assert_eq!(estimate.look(), (0, None));
        estimate.begin(Duration::ZERO);
        estimate.chunk(&name(0), WEEK_NS, 0, Duration::from_secs(1));
        estimate.unit_done(&name(0));
        let (ppm, _) = estimate.look();
        assert!(ppm < ALL_PPM);
    }
}
