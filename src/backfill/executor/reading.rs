//! The side of the source: chunk by chunk into spools.

use std::time::Duration;

use tokio::sync::mpsc;

use super::lanes::Piece;
use super::{Executor, Ready, SPOOLS_MAX, stopped};
use crate::backfill::chunk::Event;
use crate::backfill::read::{self, Spooled};
use crate::backfill::scope::{Groups, Unit, uncovered};
use crate::backfill::steering::Outcome;
use crate::backfill::write::PATIENCE;
use crate::base::{Error, Kind, Result, Side};
use crate::db::read::Window;
use crate::state::{BackfillLetter, ChunkRow, KeptProgress};

/// The first and the longest wait for a source that is away.
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Executor {
    /// Reads all there is.
    pub(super) async fn read_all(&self, spooled: mpsc::Sender<Ready>) -> Result<()> {
        let mut known = Vec::new();
        for place in &self.parts.places {
            let (db, rp) = (place.read_as.0.as_str(), place.read_as.1.as_str());
            let groups =
                self.present(async || Groups::of(&self.parts.reader, (db, rp), self.parts.within).await).await?;
            known.push(groups);
        }
        let total = known.iter().map(|groups| groups.len() as u64).sum();
        self.parts.progress.change(|view| view.units = (0, total));
        self.counts_from(&known).await?;
        for (number, groups) in known.iter().enumerate() {
            for unit in groups.units(number) {
                if self.stop_asked() {
                    return Ok(());
                }
                let name = (unit.place, std::sync::Arc::clone(&unit.measurement));
                self.unit(unit, &spooled).await?;
                self.parts.progress.unit_done(&name);
            }
        }
        loop {
            let piece = self.lanes.borrow_mut().next_again();
            match piece {
                _ if self.stop_asked() => return Ok(()),
                Some(piece) => self.chunk(piece, 0, &spooled).await?,
                None if self.open.get() == 0 => return Ok(()),
                // Some of those under way may come again.
                None => _ = tokio::time::timeout(super::STOP_LOOK, self.ended.notified()).await,
            }
        }
    }

    /// How far the job is counts from here.
    async fn counts_from(&self, known: &[Groups]) -> Result<()> {
        let all = known.iter().enumerate().flat_map(|(number, groups)| groups.units(number));
        let units = all.map(|unit| ((unit.place, unit.measurement), unit.group));
        let mut before = (None, Vec::new());
        if self.parts.resumed {
            let place = |key: &str| self.parts.places.iter().position(|place| place.name.key() == key);
            let done = self.parts.store.done_cells(self.parts.job).await?;
            let named = |(route, name, cells): (String, Vec<u8>, u64)| Some(((place(&route)?, name.into()), cells));
            before = (
                self.parts.store.job_sums(self.parts.job).await?.progress,
                done.into_iter().filter_map(named).collect(),
            );
        }
        self.parts.progress.begin(units, before, (self.parts.clock.wall_ns(), self.parts.clock.monotonic()));
        Ok(())
    }

    async fn unit(&self, unit: Unit, spooled: &mpsc::Sender<Ready>) -> Result<()> {
        let place = &self.parts.places[unit.place];
        if place.shape.as_ref().is_some_and(|rules| rules.measurement(&unit.measurement).is_none()) {
            // A rule of mapping leaves all of it out: there is nothing to read, and no region of it at the destination.
            return Ok(());
        }
        let place = &place.name;
        let group = (unit.group.start_ns, unit.group.end_ns);
        let left = if self.parts.resumed {
            let covered = self.parts.store.covered(self.parts.job, &place.key(), &unit.measurement, group).await?;
            let left = uncovered(unit.group, &covered);
            let name = (unit.place, std::sync::Arc::clone(&unit.measurement));
            for (start_ns, end_ns) in covered {
                let (start_ns, end_ns) = (start_ns.max(group.0), end_ns.min(group.1));
                self.parts.progress.passed(&name, Window { start_ns, end_ns });
            }
            left
        } else {
            vec![unit.group]
        };
        let group_ns = group.1.saturating_sub(group.0);
        self.lanes.borrow_mut().begin(unit, left);
        loop {
            let piece = self.lanes.borrow_mut().next();
            let Some(piece) = piece.filter(|_| !self.stop_asked()) else { return Ok(()) };
            self.chunk(piece, group_ns, spooled).await?;
        }
    }

    /// One chunk up to its spool, which is handed on. `group_ns`: 0 for one that comes again.
    async fn chunk(&self, piece: Piece, group_ns: i64, spooled: &mpsc::Sender<Ready>) -> Result<()> {
        let place = &self.parts.places[piece.place];
        let name = format!("{} {}", place.name, String::from_utf8_lossy(&piece.measurement));
        self.parts.progress.change(|view| view.now = name);
        // Before the region is held.
        let Some(query) = self.parts.writer.throttle.query().await else { return Ok(()) };
        let Some((mut machine, hold)) = self.held(&piece).await? else { return Ok(()) };
        let (started_ns, spool) = (self.parts.clock.wall_ns(), self.next_spool());
        let held_at = self.parts.clock.monotonic();
        self.open.set(self.open.get() + 1);
        let learn = |outcome| {
            if group_ns > 0 {
                self.lanes.borrow_mut().learn(&piece, group_ns, outcome);
            }
        };
        let read = tokio::select! {
            read = self.spooled(&piece, &spool) => read,
            why = self.breached(&hold) => {
                learn(Outcome::TooMuch);
                self.let_go(&piece, &mut machine, hold, &why).await?;
                remove(&spool)?;
                self.closed();
                return Ok(());
            }
            // It is read again by whoever resumes.
            () = self.parts.writer.stop.forever() => {
                machine.step(Event::Stop);
                hold.release().await;
                self.closed();
                return Ok(());
            }
        };
        let received = query.ended();
        match read {
            Ok(done) => {
                self.hidden(&piece, &done).await?;
                let felt = self.parts.writer.throttle.felt(done.took, done.totals.points, received);
                learn(Outcome::Read { took: felt, cells: done.totals.sum.cells });
                machine.step(Event::ReadDone);
                if done.totals.points > 0 {
                    self.lanes.borrow_mut().succeeded(&piece);
                }
                let ready = Ready { piece, machine, hold, spooled: done, spool, started_ns, held_at };
                self.hand_on(ready, spooled).await
            }
            // Nobody waits behind a region for a source that is away.
            Err(error) if error.kind() == Kind::Connect && self.parts.gate.holds() => {
                machine.step(Event::Stop);
                hold.release().await;
                self.closed();
                self.lanes.borrow_mut().anew(piece);
                self.present(async || self.parts.reader.databases().await.map(drop)).await
            }
            Err(error) if ends_all(&error) => Err(error),
            Err(error) => {
                if super::is_size(&error) {
                    learn(Outcome::TooMuch);
                }
                machine.step(Event::ReadFailed);
                self.failed(&piece, &machine, &error).await?;
                remove(&spool)?;
                hold.release().await;
                self.closed();
                Ok(())
            }
        }
    }

    /// To whoever writes, as soon as that is free.
    async fn hand_on(&self, ready: Ready, spooled: &mpsc::Sender<Ready>) -> Result<()> {
        if ready.spooled.totals.points == 0 {
            return self.nothing(ready).await;
        }
        if let Some(why) = self.turn(&ready.hold.watch(), ready.held_at).await {
            return self.too_late(ready, &why).await;
        }
        // The other side has ended with an error, which is told.
        spooled.send(ready).await.map_err(|_| stopped())
    }

    /// Fields that cannot be copied are put aside by name, once.
    async fn hidden(&self, piece: &Piece, done: &Spooled) -> Result<()> {
        let key = (piece.place, std::sync::Arc::clone(&piece.measurement));
        if done.hidden.is_empty() || !self.told.borrow_mut().insert(key) {
            return Ok(());
        }
        let letter = |field: &Vec<u8>| BackfillLetter {
            route: self.parts.places[piece.place].name.key(),
            measurement: piece.measurement.to_vec(),
            code: "not-shown".to_owned(),
            reason: "a field that no query of the source shows: its values are not copied".to_owned(),
            text: [&piece.measurement, &b" "[..], field].concat(),
            time_ns: 0,
        };
        self.parts.store.refuse(self.parts.job, done.hidden.iter().map(letter).collect()).await
    }

    /// Reads the window of a piece; waits for a source that is away, where no region is held meanwhile.
    pub(super) async fn spooled(&self, piece: &Piece, spool: &std::path::Path) -> Result<Spooled> {
        let place = &self.parts.places[piece.place];
        let (db, rp) = (place.read_as.0.as_str(), place.read_as.1.as_str());
        let bytes_max = self.parts.spool_bytes_max / SPOOLS_MAX;
        let ask = async || {
            let read = read::read(
                &self.parts.reader,
                ((db, rp), &piece.measurement, piece.window),
                (spool, self.parts.key, bytes_max),
                (piece.attempt, &self.parts.clock),
            );
            match read.await {
                // It answers others: this window is what breaks the connection.
                Err(error) if error.kind() == Kind::Connect && self.parts.reader.databases().await.is_ok() => {
                    Err(Error::new(Kind::Answer, Side::Source, error.to_string()).retryable())
                }
                other => other,
            }
        };
        if self.parts.gate.holds() { ask().await } else { self.present(ask).await }
    }

    /// Asks again while the source cannot be reached.
    async fn present<T>(&self, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let (mut wait, began) = (WAIT, self.parts.clock.monotonic());
        loop {
            let error = match ask().await {
                Err(error) if error.kind() == Kind::Connect => error,
                other => return other,
            };
            if self.parts.clock.monotonic().saturating_sub(began) > PATIENCE {
                let what = format!("the source is away for {} min: {error}", PATIENCE.as_secs() / 60);
                return Err(Error::new(Kind::Connect, Side::Source, what).hint("twinline backfill resume"));
            }
            if self.waits(error.to_string(), wait).await {
                return Err(stopped());
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// How far the job is with a piece, which is kept with it and then shown.
    pub(super) fn come_to(&self, piece: &Piece, cells: u64) -> KeptProgress {
        let (name, now) = ((piece.place, std::sync::Arc::clone(&piece.measurement)), self.parts.clock.monotonic());
        self.parts.progress.chunk(&name, piece.window, cells, now)
    }

    /// A window without a point is written by that.
    async fn nothing(&self, ready: Ready) -> Result<()> {
        let Ready { piece, mut machine, hold, spool, started_ns, .. } = ready;
        machine.step(Event::Acked);
        machine.step(Event::Kept);
        let progress = Some(self.come_to(&piece, 0));
        self.note(&piece, &machine, ChunkRow { started_ns, progress, ..ChunkRow::default() }).await?;
        hold.release().await;
        remove(&spool)?;
        self.parts.progress.show();
        self.parts.progress.change(|view| view.chunks += 1);
        self.closed();
        Ok(())
    }
}

/// Whether nothing else can be read either.
fn ends_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::Connect | Kind::Auth | Kind::Disk | Kind::Config)
        || error.side() == Side::Own && error.kind() == Kind::State
}

/// A spool that has done its work.
pub(super) fn remove(spool: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(spool) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::disk(format!("the spool {}", spool.display()), e))
        }
        _ => Ok(()),
    }
}
