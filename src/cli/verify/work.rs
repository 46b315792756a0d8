//! The comparison itself: places, then windows, newest first.

use std::collections::{BTreeMap, BTreeSet};

use super::Profile;
use super::pair::{place, reader};
use crate::backfill::scope::Place;
use crate::cell::SumKey;
use crate::cli::backfill::pair::{Pair, Scope, products, runtime};
use crate::cli::exit::{Exit, Failure};
use crate::cli::run::writing;
use crate::cli::talk::Talk;
use crate::config::Config;
use crate::db::read::{Reader, Window};
use crate::db::victoria::Keeps;
use crate::verify::compare::{Comparison, Limits, State};
use crate::verify::diff::{Class, Finding, classify, sort};
use crate::verify::hash::Figures;
use crate::verify::project::{LeftOut, Projection};
use crate::verify::side::Influx;
use crate::verify::units::{Unit, units};

/// One of so many windows is read by the profile `standard`.
const SAMPLE: usize = 20;
/// Findings of a run that are kept; the rest is counted.
const FINDINGS_MAX: usize = 50_000;

/// A window and what is known about it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: String,
    pub(super) target: String,
    /// As it is called at the destination.
    pub(super) measurement: Vec<u8>,
    pub(super) window: Window,
    pub(super) state: State,
    pub(super) source: Figures,
    pub(super) destination: Figures,
    /// What the servers count, where somebody asked.
    pub(super) counts: Option<(u64, u64)>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) rows: Vec<Row>,
    /// By place, sorted.
    pub(super) findings: Vec<(String, Finding)>,
    pub(super) more: u64,
    pub(super) left_out: LeftOut,
    /// Places that cannot be compared, and why.
    pub(super) closed: Vec<(String, String)>,
    pub(super) read_again: u64,
    pub(super) settled: u64,
}

impl Run {
    pub(super) fn exit(&self) -> Exit {
        let is_unchecked = |row: &Row| matches!(row.state, State::Unchecked(_));
        if self.rows.iter().any(|row| row.state == State::Differs) || !self.findings.is_empty() {
            Exit::No
        } else if !self.closed.is_empty() || self.rows.iter().any(is_unchecked) {
            Exit::Partly
        } else {
            Exit::Success
        }
    }

    /// In one word.
    pub(super) fn state(&self) -> &'static str {
        match self.exit() {
            Exit::Success => "equal",
            Exit::No => "differs",
            _ => "partial",
        }
    }

    /// Findings by class.
    pub(super) fn classes(&self) -> Vec<(Class, u64)> {
        let count = |class| self.findings.iter().filter(|(_, one)| one.class == class).count() as u64;
        Class::ALL.into_iter().map(|class| (class, count(class))).filter(|(_, count)| *count > 0).collect()
    }
}

pub(super) fn run(talk: Talk, config: &Config, scope: &Scope, profile: Profile) -> Result<Run, Failure> {
    let products = products(config)?;
    runtime()?.block_on(async {
        let pair = Pair::find(config, products, scope).await?;
        let there = reader(config, pair.destination.0)?;
        let mut run = Run::default();
        run.closed.extend(pair.closed.iter().map(|(name, why, _)| (name.clone(), why.clone())));
        for one in &pair.places {
            let name = one.name.to_string();
            if pair.places.iter().filter(|other| other.target == one.target).count() > 1 {
                let why = format!("not comparable: {} holds the data of several places of the source", one.target);
                run.closed.push((name, why));
                continue;
            }
            match place(config, &one.target).await? {
                Err(why) => run.closed.push((name, why)),
                Ok(read_as) => {
                    let work = Work { config, pair: &pair, place: one, there: &there, read_as, profile };
                    work.place(talk, scope.window(), &mut run).await?;
                }
            }
        }
        if run.rows.is_empty() && run.closed.is_empty() {
            let what = "there is nothing to compare: no place of the source is chosen and mapped";
            return Err(Failure::new(Exit::Refused, what).hint("see --db, and the rules of mapping"));
        }
        Ok(run)
    })
}

/// One pair of places.
struct Work<'a> {
    config: &'a Config,
    pair: &'a Pair,
    place: &'a Place,
    there: &'a Reader,
    /// Database and policy at the destination.
    read_as: (String, String),
    profile: Profile,
}

impl Work<'_> {
    async fn place(&self, talk: Talk, within: Window, run: &mut Run) -> Result<(), Failure> {
        let here = self.pair.reader(self.config)?;
        let (source, destination) = (&self.place.read_as, &self.read_as);

        let (s, d) = (source.clone(), destination.clone());
        let rules = self.place.shape.as_ref();
        let all = units((&here, (&s.0, &s.1)), (self.there, (&d.0, &d.1)), rules, within).await?;
        let mut counts = Vec::with_capacity(all.len());
        for unit in &all {
            counts.push(self.counts(&here, unit).await);
        }
        let known = |side: fn(&(u64, u64)) -> u64| counts.iter().flatten().map(side).sum::<u64>();
        let chosen = self.chosen(&all, &counts);
        talk.say(&format!(
            "{} → {}: {} windows of {} measurements; by the servers' counts {} and {} cells; {} windows are read on both sides",
            self.place.name,
            self.place.target,
            all.len(),
            all.iter().map(|unit| &unit.names.destination).collect::<BTreeSet<_>>().len(),
            known(|of| of.0),
            known(|of| of.1),
            chosen.iter().filter(|is| **is).count(),
        ));
        let keeps = Keeps { past_ms: i64::MAX, ahead_ms: i64::MAX };
        let projection = Projection::new(writing(self.config, self.pair.destination.0, keeps), rules.cloned());
        let sides = (Influx::new(here, s, Some(projection)), Influx::new(self.there.clone(), d, None));
        let key = SumKey([fastrand::u64(..), fastrand::u64(..)]);
        let room = FINDINGS_MAX.saturating_sub(run.findings.len());
        let comparison = Comparison::new(&sides.0, &sides.1, key, Limits { findings_max: room, ..Limits::default() });
        let mut findings: BTreeMap<Vec<u8>, Vec<Finding>> = BTreeMap::new();
        let (mut kept, mut broken) = (0, None);
        for ((unit, counted), is_read) in all.iter().zip(counts).zip(chosen) {
            let mut row = self.row(unit, counted);
            match &broken {
                Some(why) => row.state = State::Unchecked(format!("the run ended before: {why}")),
                None if !is_read => row.state = State::Unchecked("counted only, and the counts agree".to_owned()),
                None => match comparison.window(&unit.names, unit.window).await {
                    Err(error) => {
                        row.state = State::Unchecked(error.to_string());
                        broken = Some(error.to_string());
                    }
                    Ok(verdict) => {
                        (row.state, row.source, row.destination) = (verdict.state, verdict.source, verdict.destination);
                        let name = unit.names.destination.first().cloned().unwrap_or_default();
                        let fits = verdict.findings.len().min(room.saturating_sub(kept));
                        run.more += verdict.more + (verdict.findings.len() - fits) as u64;
                        kept += fits;
                        findings.entry(name).or_default().extend(verdict.findings.into_iter().take(fits));
                        for (code, cells) in verdict.left_out {
                            *run.left_out.entry(code).or_default() += cells;
                        }
                        run.read_again += verdict.read_again;
                        run.settled += verdict.settled;
                    }
                },
            }
            run.rows.push(row);
        }
        for (_, of) in findings {
            let mut of = classify(of);
            sort(&mut of);
            run.findings.extend(of.into_iter().map(|one| (self.place.name.to_string(), one)));
        }
        Ok(())
    }

    fn row(&self, unit: &Unit, counts: Option<(u64, u64)>) -> Row {
        Row {
            place: self.place.name.to_string(),
            target: self.place.target.to_string(),
            measurement: unit.names.destination.first().cloned().unwrap_or_default(),
            window: unit.window,
            state: State::Unchecked(String::new()),
            source: Figures::default(),
            destination: Figures::default(),
            counts,
        }
    }

    /// What both servers count in a window; `None` where one does not.
    async fn counts(&self, here: &Reader, unit: &Unit) -> Option<(u64, u64)> {
        let mut sums = [0, 0];
        let sides =
            [(here, &self.place.read_as, &unit.names.source), (self.there, &self.read_as, &unit.names.destination)];
        for (sum, (reader, (db, rp), names)) in sums.iter_mut().zip(sides) {
            for name in names {
                *sum += reader.count(db, rp, name, unit.window).await.ok()?;
            }
        }
        Some((sums[0], sums[1]))
    }

    /// Which windows are read.
    fn chosen(&self, all: &[Unit], counts: &[Option<(u64, u64)>]) -> Vec<bool> {
        let mut seen = BTreeSet::new();
        let one = |(unit, counted): (&Unit, &Option<(u64, u64)>)| {
            let is_newest = seen.insert(unit.names.destination.clone());
            let agree = counted.is_some_and(|(here, there)| here == there);
            match self.profile {
                Profile::Full => true,
                Profile::Quick => !agree,
                Profile::Standard => !agree || is_newest || fastrand::usize(..SAMPLE) == 0,
            }
        };
        all.iter().zip(counts).map(one).collect()
    }
}
