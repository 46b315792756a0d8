//! Statements that an operator has confirmed: carried out where delivery stands now.
//!
//! Promises: one is carried out only when what came before it has arrived and its record can never be delivered again, so that no older
//! line comes back behind it; and only while nothing newer of its place has gone on to the destination, unless whoever confirmed it wants
//! it all the same: then what is lost there is a dirty region before it is lost. That something newer goes on is durable before it does.

use std::time::Duration;

use super::distribute::Distributor;
use super::plan::{Plan, confirmed};
use super::send::{STATE_RETRY, record_effects};
use super::{Shared, shaping, tell};
use crate::base::{Lsn, Result};
use crate::db::influxql::{Class, split};
use crate::queue::Statement;
use crate::route::RouteName;
use crate::state::{
    DirtyRegion, Effects, EventKind, Pending, StatementChange, StatementQuery, StatementRow, StatementState,
};

/// So often it is looked whether all has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Floors must pass its record within this time: other places that stand still hold them up.
const FLOORS_MAX: Duration = Duration::from_secs(10);
/// Cause of the dirty regions of what is dropped although it is newer.
const CAUSE: &str = "dropped";

/// A statement that could be confirmed, and of which nothing newer has gone on.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    id: i64,
    lsn: Lsn,
    name: RouteName,
    /// The policy that alone goes.
    policy: Option<String>,
}

impl Unconfirmed {
    fn of(row: &StatementRow) -> Option<Self> {
        let (meta, run) = row.carry.as_ref()?;
        Self::new(row.id, Lsn(row.last_lsn), &Statement::decode(meta).ok()?, run)
    }

    fn new(id: i64, lsn: Lsn, statement: &Statement, run: &[u8]) -> Option<Self> {
        let text = if statement.class == Class::DropPolicy.name() { std::str::from_utf8(run).ok() } else { None };
        let policy = text.and_then(|text| split(text).first()?.change.as_ref()?.rp.clone());
        Some(Self { id, lsn, name: statement.name.clone()?, policy })
    }

    /// Whether a record's data lies where it would be carried out.
    fn reaches(&self, name: &RouteName) -> bool {
        match (&self.name, name) {
            (RouteName::Database { db, .. }, RouteName::Database { db: other_db, rp }) => {
                // One that was dropped is not the default one any more, and a default one of the destination is not dropped.
                db == other_db && self.policy.as_ref().is_none_or(|policy| policy == rp)
            }
            (own, other) => database_of(own) == database_of(other),
        }
    }
}

/// The name that all of a place have: of a bucket without the policy.
pub(super) fn database_of(name: &RouteName) -> &str {
    match name {
        RouteName::Database { db, .. } => db,
        RouteName::Bucket { bucket, .. } => bucket.split('/').next().unwrap_or_default(),
    }
}

/// What can be carried out once it is confirmed: its record's own text and body.
pub(super) fn carry(shared: &Shared, statement: &Statement, meta: &[u8], run: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    /// Bytes of a statement that a row keeps.
    const RUN_BYTES_MAX: usize = 4 << 10;
    let (mapping, kind) = shared.targets.rules();
    let can = matches!(confirmed(statement, run, mapping, kind), Plan::Run { steps, .. } if !steps.is_empty());
    (can && statement.name.is_some() && run.len() <= RUN_BYTES_MAX).then(|| (meta.to_vec(), run.to_vec()))
}

/// Asks the state store until it answers.
pub(super) async fn asked<T>(shared: &Shared, ask: impl Fn() -> Pending<T>) -> T {
    loop {
        match ask().await {
            Ok(answer) => {
                tell::store_works(shared);
                return answer;
            }
            Err(error) => tell::store_fails(shared, &error),
        }
        tokio::time::sleep(STATE_RETRY).await;
    }
}

impl Distributor {
    /// Looks which statements are confirmed, and carries them out. The first time before anything is dealt out: so what a dead process
    /// has left half done is done before anything newer.
    pub(super) async fn look_at_confirmed(&mut self) -> Result<()> {
        // One that waits goes first; it is looked again then.
        if self.unconfirmed.is_some() && (!self.barriers.is_empty() || !self.shared.hold.take_confirmed()) {
            return Ok(());
        }
        if self.unconfirmed.is_none() {
            self.unconfirmed = Some(self.read_unconfirmed().await);
        }
        let carried = self.carry_all_confirmed().await;
        if carried.is_err() {
            // The log cannot be read for now: what is confirmed stays so, and is looked at again.
            self.shared.hold.confirm();
        }
        carried
    }

    async fn carry_all_confirmed(&mut self) -> Result<()> {
        let (state, id) = (self.shared.state.clone(), self.shared.id.clone());
        let rows = asked(&self.shared, || state.statements(&id, StatementQuery::Confirmed)).await;
        // After a kill its record may have to come again first: it is carried out right behind that.
        let (ahead, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| Lsn(row.last_lsn) > self.dealt);
        self.confirmed_ahead = !ahead.is_empty();
        for row in rows {
            let came = self.carry_confirmed(&row).await?;
            let at_ns = self.shared.clock.wall_ns();
            let (what, change) = match came {
                Ok(note) => {
                    let told = format!("is carried out: {note}");
                    (told, StatementChange::End { fate: StatementState::Done, who: String::new(), note, at_ns })
                }
                Err(note) => (format!("is not carried out: {note}"), StatementChange::Back { note }),
            };
            asked(&self.shared, || state.change_statement(&id, row.id, change.clone())).await;
            let text: String = row.text.chars().take(200).collect();
            tell::tell(&self.shared, EventKind::StatementDone, format!("statement {} ({text}) {what}", row.id));
        }
        Ok(())
    }

    async fn read_unconfirmed(&self) -> Vec<Unconfirmed> {
        let (state, id) = (&self.shared.state, &self.shared.id);
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let rows = asked(&self.shared, || state.statements(id, StatementQuery::Watched(after))).await;
            let Some(last) = rows.last() else { break };
            after = last.id;
            found.extend(rows.iter().filter_map(Unconfirmed::of));
        }
        self.under_same_rules(found).await
    }

    /// By other rules than before something else may have gone, or may go, to where they would be carried out: all of them count as
    /// followed by something newer then.
    async fn under_same_rules(&self, found: Vec<Unconfirmed>) -> Vec<Unconfirmed> {
        let (state, id) = (&self.shared.state, &self.shared.id);
        let (mapping, kind) = self.shared.targets.rules();
        let rules = shaping::digest(mapping, &format!(" {kind:?}")).to_le_bytes().to_vec();
        let key = format!("statements-rules:{id}");
        if asked(&self.shared, || state.get(&key)).await.as_ref() == Some(&rules) {
            return found;
        }
        for row in found {
            asked(&self.shared, || state.change_statement(id, row.id, StatementChange::Newer)).await;
        }
        asked(&self.shared, || state.set(&key, rules.clone())).await;
        Vec::new()
    }

    /// A row that can be confirmed was written.
    pub(super) fn watch(&mut self, id: i64, lsn: Lsn, statement: &Statement, run: &[u8]) {
        let Some(unconfirmed) = &mut self.unconfirmed else { return };
        unconfirmed.retain(|known| known.id != id);
        unconfirmed.extend(Unconfirmed::new(id, lsn, statement, run));
    }

    /// Something of this place is about to go on: statements that wait for their confirmation behind it hear of it, durably.
    pub(super) async fn goes_on(&mut self, lsn: Lsn, name: &RouteName) {
        self.meets(lsn, |row| row.reaches(name)).await;
    }

    /// A database, or some policy of it, is about to be made.
    pub(super) async fn is_made(&mut self, lsn: Lsn, name: &RouteName) {
        self.meets(lsn, |row| database_of(&row.name) == database_of(name)).await;
    }

    /// Something newer of its place has gone on already.
    pub(super) async fn is_followed(&self, id: i64) {
        let (state, own) = (&self.shared.state, &self.shared.id);
        asked(&self.shared, || state.change_statement(own, id, StatementChange::Newer)).await;
    }

    async fn meets(&mut self, lsn: Lsn, reaches: impl Fn(&Unconfirmed) -> bool) {
        let Some(unconfirmed) = &mut self.unconfirmed else { return };
        let met = unconfirmed.extract_if(.., |row| row.lsn < lsn && reaches(row));
        for row in met.collect::<Vec<_>>() {
            let (state, id) = (&self.shared.state, &self.shared.id);
            asked(&self.shared, || state.change_statement(id, row.id, StatementChange::Newer)).await;
        }
    }

    /// `Ok(Err)`: it was not carried out, and why.
    async fn carry_confirmed(&mut self, row: &StatementRow) -> Result<std::result::Result<String, String>> {
        let Some((meta, run)) = &row.carry else { return Ok(Err("there is nothing to carry out".to_owned())) };
        let Ok(statement) = Statement::decode(meta) else { return Ok(Err("it is not known here".to_owned())) };
        if row.newer && !row.newer_accepted {
            return Ok(Err("something newer of its place has gone on to the destination meanwhile".to_owned()));
        }
        let (mapping, kind) = self.shared.targets.rules();
        let steps = match confirmed(&statement, run, mapping, kind) {
            Plan::Run { steps, .. } => steps,
            Plan::Excluded => return Ok(Err("nothing of it is mirrored any more".to_owned())),
            Plan::Report(why) => return Ok(Err(why)),
        };
        if !self.is_passed(Lsn(row.last_lsn)).await? {
            let why = "what came before it is not delivered yet, be it of another place: see twinline status, then confirm it again";
            return Ok(Err(why.to_owned()));
        }
        if row.newer {
            self.soil(row).await;
        }
        if let Err(why) = self.arrives(&statement).await? {
            return Ok(Err(why));
        }
        let done = self.run_steps(&statement, &steps).await?;
        Ok(done.map(|()| steps.iter().map(super::plan::Step::shown).collect::<Vec<_>>().join("; ")))
    }

    /// Waits until no start can deliver its record, or anything before it, again.
    async fn is_passed(&mut self, lsn: Lsn) -> Result<bool> {
        let began = self.shared.clock.monotonic();
        let mut saves = None;
        loop {
            if self.shared.lanes.iter().all(|lane| lane.borrow().floor() >= lsn) {
                let now = self.shared.saves.get();
                if now > *saves.get_or_insert(now) {
                    return Ok(true);
                }
            }
            if self.shared.clock.monotonic().saturating_sub(began) >= FLOORS_MAX {
                return Ok(false);
            }
            self.idle(LOOK_EVERY).await?;
        }
    }

    /// What goes although it is newer must be read back from the source.
    async fn soil(&self, row: &StatementRow) {
        let Some(own) = Unconfirmed::of(row) else { return };
        let state = &self.shared.state;
        let known = asked(&self.shared, || state.routes()).await;
        let mut names: Vec<_> = known.into_iter().filter_map(|(_, key)| RouteName::from_key(&key)).collect();
        names.extend(self.shared.targets.names());
        names.push(own.name.clone());
        names.retain(|name| own.reaches(name));
        names.sort();
        names.dedup();
        let region = |name: RouteName| DirtyRegion {
            route_name: name.key(),
            measurement: Vec::new(),
            from_ns: i64::MIN,
            to_ns: i64::MAX,
            lsns: (own.lsn, own.lsn),
            cause: CAUSE,
            lines: 0,
        };
        let dirty = names.into_iter().map(region).collect();
        record_effects(&self.shared, Effects { dirty, ..Effects::default() }).await;
    }
}
