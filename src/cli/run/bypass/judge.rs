//! The source's counters against ours: what came to it other than through us.
//!
//! Promise: no point of ours is ever called one that came around us. A write may reach a shard at any moment from before it is sent to after
//! its answer, so for each place the points that its shards grew by since some look are set against every line of ours that was under way
//! at any moment since; what is beyond is not ours. Where that cannot be said (a write without an answer, one that cannot be counted, a
//! source that began anew) the place is looked at from then on. As long as nothing is found the look stays where it is, so that few points
//! add up beyond the lines that are always under way. Pure: times are arguments.
//!
//! Lines of ours that were answered and are missing in the counters were counted elsewhere, under a name that we do not know the place
//! by: as many points elsewhere are not called around us.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::pipeline::Tally;

/// Looks that a place is judged from the same one, at most.
const LOOKS_MAX: u32 = 60;

/// Places that are remembered: those of dropped databases go when there are so many.
const PLACES_MAX: usize = 50_000;

/// Two looks may tell the begin of one process so far apart: an answer takes its time.
const APART_S: f64 = 2.0;

/// Whose shard one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A place that clients write to.
    Place(String),
    /// The server's own.
    System,
    /// One that we may not see.
    Unknown,
}

/// One look at both.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Since when the source counts: as it says itself, and by our clock where it says how long it has run.
    pub(super) started: String,
    pub(super) began_s: Option<f64>,
    /// Points by shard.
    pub(super) shards: HashMap<u64, (Owner, u64)>,
    /// Ours, before the source was asked and after it has answered.
    pub(super) before: HashMap<String, Tally>,
    pub(super) after: HashMap<String, Tally>,
    /// Ours that are in no place, after the answer.
    pub(super) blind: u64,
    /// When the source was asked, and when it had answered: by the wall clock, and the latter by the other one.
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    pub(super) now: Duration,
}

/// Points that are not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) place: String,
    /// At least so many.
    pub(super) points: u64,
    /// Came between these two.
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
}

/// From where on a place is judged.
#[derive(Clone, Copy, Debug, Default)]
struct Anchor {
    from_ns: i64,
    before: Tally,
    after: Tally,
    /// Points that its shards grew by since.
    grown: u64,
    looks: u32,
    /// A write without an answer may arrive until then.
    quiet_until: Duration,
}

/// What is remembered from look to look.
#[derive(Debug)]
pub(super) struct Judge {
    /// How long a write without an answer may still take effect.
    late_max: Duration,
    last: Option<Look>,
    anchors: HashMap<String, Anchor>,
    /// Points that places grew by which we may not see, since all were last looked at anew.
    unseen: u64,
    /// Until then a write may arrive that a process before this one had sent: nobody here knows of which place.
    quiet_until: Duration,
}

impl Judge {
    pub(super) fn new(late_max: Duration) -> Self {
        Self { late_max, last: None, anchors: HashMap::new(), unseen: 0, quiet_until: Duration::ZERO }
    }

    /// Whether writes of a process before this one may still arrive: nothing is found.
    pub(super) fn is_quiet(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.now < self.quiet_until)
    }

    /// What has come around us; until [`Judge::told`] it is found again.
    pub(super) fn look(&mut self, look: Look) -> Vec<Around> {
        if self.last.is_none() {
            self.quiet_until = look.now + self.late_max;
        }
        let Some(last) = self.last.take().filter(|last| goes_on(last, &look)) else {
            self.anchors.clear();
            self.unseen = 0;
            self.last = Some(look);
            self.all_anew();
            return Vec::new();
        };
        self.grow(&last, &look);
        let places: BTreeSet<String> = self.anchors.keys().chain(look.after.keys()).cloned().collect();
        let (mut found, mut missing) = (Vec::new(), 0u64);
        for place in places {
            // Nothing of ours was there when it was not there at the last look.
            let fresh = Anchor { from_ns: last.from_ns, ..Anchor::default() };
            let anchor = self.anchors.entry(place.clone()).or_insert(fresh);
            let (before, after) = (tally(&look.before, &place), tally(&look.after, &place));
            anchor.looks += 1;
            if after.lost != anchor.before.lost {
                anchor.quiet_until = look.now + self.late_max;
            }
            // What came since a look is judged when nothing could arrive late at that look any more.
            let is_quiet = last.now < anchor.quiet_until.max(self.quiet_until);
            if after.blind != anchor.before.blind || after.lost != anchor.before.lost || is_quiet {
                *anchor = Anchor { quiet_until: anchor.quiet_until, ..of(&look, before, after) };
                continue;
            }
            let ours_max = (after.ended() + after.under_way()).saturating_sub(anchor.before.ended());
            let ours_min = before.sure.saturating_sub(anchor.after.sure + anchor.after.under_way());
            missing += ours_min.saturating_sub(anchor.grown);
            let points = anchor.grown.saturating_sub(ours_max);
            if points > 0 {
                found.push(Around { place, points, from_ns: anchor.from_ns, to_ns: look.to_ns });
            } else if anchor.looks >= LOOKS_MAX {
                *anchor = of(&look, before, after);
            }
        }
        self.last = Some(look);
        if self.anchors.len() > PLACES_MAX {
            self.all_anew();
        }
        self.without(missing, found)
    }

    /// Adds what shards grew by since the last look to their places.
    fn grow(&mut self, last: &Look, look: &Look) {
        for (id, (owner, points)) in &look.shards {
            let before = last.shards.get(id).map_or(0, |(_, points)| *points);
            let grown = points.saturating_sub(before);
            match owner {
                Owner::Place(place) if grown > 0 => {
                    let fresh = || Anchor {
                        from_ns: last.from_ns,
                        ..of(last, tally(&last.before, place), tally(&last.after, place))
                    };
                    self.anchors.entry(place.clone()).or_insert_with(fresh).grown += grown;
                }
                Owner::Unknown => self.unseen += grown,
                Owner::Place(_) | Owner::System => {}
            }
        }
    }

    /// What is left when so many lines of ours were counted at another place.
    fn without(&mut self, missing: u64, mut found: Vec<Around>) -> Vec<Around> {
        let missing = missing.saturating_sub(self.unseen);
        let all: u64 = found.iter().map(|around| around.points).sum();
        let mut left = all.saturating_sub(missing);
        if missing > 0 {
            if all > 0 && left == 0 {
                self.all_anew();
            }
            found.sort_by(|one, other| other.points.cmp(&one.points).then_with(|| one.place.cmp(&other.place)));
        }
        for around in &mut found {
            around.points = around.points.min(left);
            left -= around.points;
        }
        found.retain(|around| around.points > 0);
        found
    }

    /// It is on record: the place is looked at from the last look on.
    pub(super) fn told(&mut self, place: &str) {
        if let Some(look) = &self.last {
            self.anchors.insert(place.to_owned(), of(look, tally(&look.before, place), tally(&look.after, place)));
        }
    }

    /// Lines of ours that surely arrived, where the source shows no counter at all.
    pub(super) fn counts_nothing(&self) -> bool {
        self.last.as_ref().is_some_and(|look| look.shards.is_empty() && look.before.values().any(|ours| ours.sure > 0))
    }

    fn all_anew(&mut self) {
        self.unseen = 0;
        let Some(look) = &self.last else { return };
        // Any other place begins where it grows.
        let each =
            look.after.iter().map(|(place, after)| (place.clone(), of(look, tally(&look.before, place), *after)));
        self.anchors = each.collect();
    }
}

/// Whether the same counters go on.
fn goes_on(last: &Look, look: &Look) -> bool {
    let apart_s = last.began_s.zip(look.began_s).map_or(0.0, |(last, now)| (last - now).abs());
    let went_back =
        |(id, (_, points)): (&u64, &(Owner, u64))| last.shards.get(id).is_some_and(|(_, last)| last > points);
    last.started == look.started && last.blind == look.blind && apart_s < APART_S && !look.shards.iter().any(went_back)
}

fn tally(tallies: &HashMap<String, Tally>, place: &str) -> Tally {
    tallies.get(place).copied().unwrap_or_default()
}

fn of(look: &Look, before: Tally, after: Tally) -> Anchor {
    Anchor { from_ns: look.from_ns, before, after, grown: 0, looks: 0, quiet_until: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source and us, by hand.
    #[derive(Default)]
    struct Stage {
        look: Look,
        s: u64,
    }

    impl Stage {
        fn new() -> Self {
            let mut stage = Self::default();
            stage.look.started = "then".to_owned();
            stage
        }

        fn arrive(&mut self, shard: u64, place: &str, points: u64) {
            self.look.shards.entry(shard).or_insert((Owner::Place(place.to_owned()), 0)).1 += points;
        }

        fn ours(&mut self, place: &str, change: impl Fn(&mut Tally)) {
            change(self.look.before.entry(place.to_owned()).or_default());
            change(self.look.after.entry(place.to_owned()).or_default());
        }

        /// One of ours that is stored.
        fn write(&mut self, place: &str, lines: u64) {
            self.arrive(1, place, lines);
            self.ours(place, |ours| {
                ours.begun += lines;
                ours.sure += lines;
            });
        }

        fn look(&mut self, judge: &mut Judge) -> Vec<(String, u64)> {
            self.s += 60;
            self.look.now = Duration::from_secs(self.s);
            (self.look.from_ns, self.look.to_ns) = (self.s as i64 * 10, self.s as i64 * 10 + 1);
            judge.look(self.look.clone()).into_iter().map(|around| (around.place, around.points)).collect()
        }
    }

    fn around(place: &str, points: u64) -> Vec<(String, u64)> {
        vec![(place.to_owned(), points)]
    }

    #[test]
    fn what_is_ours_is_not_around_us_and_the_rest_is_until_it_is_on_record() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::ZERO));
        stage.arrive(1, "d", 1000);
        assert_eq!(stage.look(&mut judge), [], "from before");
        for _ in 0..200 {
            stage.write("d", 50);
            assert_eq!(stage.look(&mut judge), []);
        }
        stage.arrive(1, "d", 3);
        stage.write("d", 50);
        assert_eq!(stage.look(&mut judge), around("d", 3));
        stage.arrive(2, "new", 2);
        let mut both = around("d", 3);
        both.extend(around("new", 2));
        assert_eq!(stage.look(&mut judge), both, "also in a shard and place that were not there before");
        judge.told("d");
        assert_eq!(stage.look(&mut judge), around("new", 2));
        judge.told("new");
        assert_eq!(stage.look(&mut judge), []);
    }

    #[test]
    fn lines_under_way_may_have_arrived_or_not_and_few_points_add_up_beyond_them() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::ZERO));
        // Always 100 lines under way, of which the counters have all or none.
        stage.ours("d", |ours| ours.begun += 100);
        stage.arrive(1, "d", 0);
        assert_eq!(stage.look(&mut judge), []);
        let mut found = Vec::new();
        for look in 0..20 {
            stage.write("d", 1000);
            let early = if look % 2 == 0 { 100 } else { 0 };
            stage.arrive(1, "d", 10);
            let shown = stage.look.shards.clone();
            stage.arrive(1, "d", early);
            found = stage.look(&mut judge);
            stage.look.shards = shown;
            if !found.is_empty() {
                break;
            }
        }
        assert!(found.len() == 1 && found[0].1 <= 200, "{found:?}");
    }

    #[test]
    fn a_write_without_an_answer_may_arrive_later_and_is_not_around_us() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::from_secs(90)));
        assert_eq!(stage.look(&mut judge), []);
        stage.ours("d", |ours| {
            ours.begun += 10;
            ours.lost += 10;
        });
        assert_eq!(stage.look(&mut judge), []);
        stage.arrive(1, "d", 10);
        assert_eq!(stage.look(&mut judge), [], "60 s later");
        assert_eq!(stage.look(&mut judge), []);
        stage.arrive(1, "d", 1);
        assert_eq!(stage.look(&mut judge), around("d", 1), "from then on it is looked at again");
    }

    #[test]
    fn a_write_of_a_process_that_was_killed_may_arrive_after_the_first_look() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::from_secs(90)));
        stage.arrive(1, "d", 1000);
        assert_eq!(stage.look(&mut judge), []);
        stage.arrive(1, "d", 500);
        assert_eq!(stage.look(&mut judge), [], "60 s later");
        stage.arrive(2, "new", 500);
        assert_eq!(stage.look(&mut judge), [], "between this look and the last one it could");
        assert!(!judge.is_quiet());
        stage.arrive(1, "d", 1);
        assert_eq!(stage.look(&mut judge), around("d", 1));
    }

    #[test]
    fn what_cannot_be_counted_is_not_judged_and_hides_nothing_elsewhere() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::ZERO));
        assert_eq!(stage.look(&mut judge), []);
        stage.ours("d", |ours| ours.blind += 1);
        stage.arrive(1, "d", 500);
        stage.arrive(2, "e", 7);
        assert_eq!(stage.look(&mut judge), around("e", 7));
        judge.told("e");
        stage.arrive(1, "d", 5);
        assert_eq!(stage.look(&mut judge), around("d", 5));
        stage.look.blind += 1;
        stage.arrive(1, "d", 500);
        assert_eq!(stage.look(&mut judge), []);
    }

    #[test]
    fn counters_that_begin_anew_are_no_news() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::ZERO));
        stage.arrive(1, "d", 1000);
        assert_eq!(stage.look(&mut judge), []);
        stage.look.started = "later".to_owned();
        stage.look.shards.clear();
        stage.arrive(1, "d", 2000);
        assert_eq!(stage.look(&mut judge), [], "they are higher than before, by chance");
        stage.arrive(1, "d", 1);
        assert_eq!(stage.look(&mut judge), around("d", 1));
        // A shard that goes away, and one of the server's own.
        stage.look.shards.clear();
        judge.told("d");
        stage.look.began_s = Some(5.0);
        assert_eq!(stage.look(&mut judge), []);
        stage.look.began_s = Some(8.0);
        stage.arrive(3, "d", 10);
        assert_eq!(stage.look(&mut judge), [], "another process");
        stage.look.began_s = Some(7.0);
        stage.arrive(3, "d", 10);
        assert_eq!(stage.look(&mut judge), around("d", 10));
        judge.told("d");
        stage.look.shards.insert(9, (Owner::System, 100));
        assert_eq!(stage.look(&mut judge), []);
    }

    #[test]
    fn lines_that_the_source_counts_under_another_name_are_not_around_us() {
        let (mut stage, mut judge) = (Stage::new(), Judge::new(Duration::ZERO));
        assert_eq!(stage.look(&mut judge), []);
        // Named by the convention while the source did not tell the bucket.
        stage.ours("d/rp", |ours| {
            ours.begun += 40;
            ours.sure += 40;
        });
        stage.arrive(1, "agg", 40);
        assert_eq!(stage.look(&mut judge), []);
        assert_eq!(stage.look(&mut judge), [], "and stay so");
        stage.arrive(1, "agg", 5);
        assert_eq!(stage.look(&mut judge), around("agg", 5));
        judge.told("agg");
        // A bucket that we may not see takes what seems to be missing.
        stage.ours("other", |ours| {
            ours.begun += 30;
            ours.sure += 30;
        });
        stage.look.shards.insert(7, (Owner::Unknown, 30));
        stage.arrive(1, "agg", 2);
        assert_eq!(stage.look(&mut judge), around("agg", 2));
    }
}
