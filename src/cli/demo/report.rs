//! The final report, as a document and as text.

use std::fmt::Write as _;

use serde::Serialize;

use super::proof::{Comparison, Proof};
use super::screen::count;
use super::story::{Event, Story, Told, accepted};
use super::writer::Tally;
use crate::cli::talk::{Mark, Talk};
use crate::control::Status;

/// Examples of differences that the text shows for each comparison; the document has more.
const EXAMPLES_MAX: usize = 3;

/// The document, `twinline.demo/1`. Counts are lines, except where the name says otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    /// Whether both databases and the clients' record are equal.
    pub(super) equal: bool,
    /// Whether every acknowledged line is in exactly one state of Twinline's account.
    pub(super) accounted: bool,
    /// Whether the queue was empty in the end.
    pub(super) drained: bool,
    points: u64,
    comparisons: Vec<Comparison>,
    clients: Clients,
    history: OfHistory,
    lines: States,
    /// Most lines that waited for the destination at once.
    queued_most: u64,
    /// Lines that reached each database, those sent twice and those of history included.
    received: Received,
    story: Vec<Event>,
    addresses: Addresses,
    next_steps: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Clients {
    written: u64,
    acknowledged: u64,
    overwrites: u64,
    untimed: u64,
    unanswered_requests: u64,
    unanswered_lines: u64,
}

/// The year that was there before, and what became of it.
#[derive(Clone, Debug, Serialize)]
struct OfHistory {
    /// Points that the source held before the first client wrote.
    before: u64,
    /// Points that were copied, those included that clients had written by then.
    copied_points: u64,
    copied_cells: u64,
    /// Pieces of it, each a span of time of one measurement.
    chunks: u64,
    /// Pieces that were under way when Twinline was killed, and were copied anew.
    chunks_repeated: u64,
    /// Points that clients changed while history was copied: the sum of the next three.
    changed: u64,
    overwritten: u64,
    late: u64,
    deleted: u64,
    /// Most lines that waited at once until what they belong to was copied.
    waited_most: u64,
}

impl OfHistory {
    fn new(story: &Story, told: &Told) -> Self {
        let (copied, changes) = (story.copying.seen(), told.history.changes());
        Self {
            before: told.history.before(),
            copied_points: copied.points,
            copied_cells: copied.cells,
            chunks: copied.chunks,
            chunks_repeated: story.copying.repeated(),
            changed: changes.points(),
            overwritten: changes.overwritten,
            late: changes.late,
            deleted: changes.deleted,
            waited_most: story.copying.waiting_most(),
        }
    }
}

/// What Twinline says of every line that it accepted.
#[derive(Clone, Debug, Serialize)]
struct States {
    delivered: u64,
    queued: u64,
    doubt: u64,
    dead_lettered: u64,
    gap: u64,
    excluded: u64,
    read_back: u64,
    accepted: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Received {
    source: u64,
    destination: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Addresses {
    pub(super) clients: String,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) admin: String,
    pub(super) config: String,
}

impl Report {
    pub(super) fn new(story: &Story, told: &Told, proof: Proof) -> Self {
        let Tally { written, acknowledged, overwrites, untimed, unanswered_requests, unanswered_lines } =
            &story.direction.tally;
        let clients = Clients {
            written: written.get(),
            acknowledged: acknowledged.get(),
            overwrites: overwrites.get(),
            untimed: untimed.get(),
            unanswered_requests: unanswered_requests.get(),
            unanswered_lines: unanswered_lines.get(),
        };
        let stage = &story.stage;
        Self {
            schema: "twinline.demo/1",
            equal: proof.equal(),
            accounted: accounted(&clients, accepted(&told.status)),
            drained: told.drained,
            points: proof.points,
            comparisons: proof.comparisons,
            clients,
            history: OfHistory::new(story, told),
            lines: states(&told.status),
            queued_most: told.queued_most,
            received: Received {
                source: stage.source.lines_received(),
                destination: stage.destination.lines_received(),
            },
            story: told.events.clone(),
            addresses: Addresses {
                clients: format!("http://127.0.0.1:{}", stage.port),
                source: stage.source.url(),
                destination: stage.destination.url(),
                admin: told.status.facts.admin.first().map(|address| format!("http://{address}")).unwrap_or_default(),
                config: story.proxy.config().display().to_string(),
            },
            next_steps: vec!["twinline init".to_owned()],
        }
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether there is nothing to complain about.
    pub(super) fn good(&self) -> bool {
        self.equal && self.accounted && self.drained
    }

    /// For a terminal.
    pub(super) fn text(&self, talk: Talk) -> String {
        let mut out = String::new();
        self.put_verdict(talk, &mut out);
        self.put_comparisons(&mut out);
        self.put_history(&mut out);
        self.put_clients(&mut out);
        self.put_states(&mut out);
        out
    }

    // Writing to a String does not fail, here and below.
    fn put_verdict(&self, talk: Talk, out: &mut String) {
        let points = count(self.points);
        let _ = if self.equal {
            let text = "source and destination hold the same";
            writeln!(out, "\n{} EQUAL  {text} {points} points, to the last bit.", talk.mark(Mark::Good))
        } else {
            writeln!(out, "\n{} DIFFERENT  the databases do not hold the same {points} points.", talk.mark(Mark::Bad))
        };
        if !self.drained {
            let text = "the queue did not drain; what it holds is missing at the destination.";
            let _ = writeln!(out, "{} NOT DRAINED  {text}", talk.mark(Mark::Bad));
        }
        if !self.accounted {
            let text = "the lines by state do not add up to the lines acknowledged; see below.";
            let _ = writeln!(out, "{} NOT ACCOUNTED  {text}", talk.mark(Mark::Bad));
        }
    }

    fn put_comparisons(&self, out: &mut String) {
        let _ = writeln!(out, "\n  Typed comparison of values{:>18}{:>12}", "equal", "different");
        for each in &self.comparisons {
            let (equal, different) = (count(each.equal), count(each.different));
            let _ = writeln!(out, "  {:<15} = {:<11}{equal:>15}{different:>12}", each.left, each.right);
        }
        for each in self.comparisons.iter().flat_map(|comparison| comparison.examples.iter().take(EXAMPLES_MAX)) {
            let _ = writeln!(out, "      {each}");
        }
    }

    fn put_history(&self, out: &mut String) {
        let history = &self.history;
        let row = |out: &mut String, name: &str, number: u64, note: &str| {
            let _ = writeln!(out, "  {name:<15} {:>11}  {note}", count(number));
        };
        let _ = writeln!(out, "\n  The year of history that was copied while the clients wrote");
        row(out, "there before", history.before, "points at the source");
        row(out, "copied", history.copied_points, "points, those included that clients had just written");
        let OfHistory { overwritten, late, deleted, .. } = history;
        let changes =
            format!("points: {} overwritten, {} late, {} deleted", count(*overwritten), count(*late), count(*deleted));
        row(out, "changed then", history.changed, &changes);
        row(out, "waited", history.waited_most, "lines at most, while the time they belong to was being copied");
        let again = format!("of {} pieces: under way when Twinline was killed", count(history.chunks));
        row(out, "copied again", history.chunks_repeated, &again);
    }

    fn put_clients(&self, out: &mut String) {
        let clients = &self.clients;
        let row = |out: &mut String, name: &str, number: u64, note: &str| {
            let line = format!("  {name:<15} {:>11}  {note}", count(number));
            let _ = writeln!(out, "{}", line.trim_end());
        };
        let _ = writeln!(out, "\n  What the clients did, in lines");
        row(out, "written", clients.written, "");
        row(out, "  overwriting", clients.overwrites, "an older point got a new value: order matters");
        row(out, "  without time", clients.untimed, "Twinline gives them one, the same for both sides");
        row(out, "acknowledged", clients.acknowledged, "");
        let requests = format!("in {} requests, repeated until answered", count(clients.unanswered_requests));
        row(out, "not answered", clients.unanswered_lines, &requests);
    }

    fn put_states(&self, out: &mut String) {
        let lines = &self.lines;
        let _ = writeln!(out, "\n  What Twinline did with them, each line in one state (twinline status)");
        let doubt = "not answered when Twinline was killed: see below";
        for (name, number, note) in [
            ("delivered", lines.delivered, ""),
            ("queued", lines.queued, ""),
            ("doubt", lines.doubt, if lines.doubt > 0 { doubt } else { "" }),
            ("dead-lettered", lines.dead_lettered, ""),
            ("gap", lines.gap, ""),
            ("excluded", lines.excluded, ""),
            (
                "read back",
                lines.read_back,
                if lines.read_back > 0 { "from the source: they were in doubt" } else { "" },
            ),
        ] {
            let line = format!("  {name:<15} {:>11}  {note}", count(number));
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let beyond = lines.accepted.saturating_sub(self.clients.acknowledged);
        let sum =
            format!("{} acknowledged + {} of those not answered", count(self.clients.acknowledged), count(beyond));
        let _ = writeln!(out, "  {:<15} {:>11}  = {sum}", "together", count(lines.accepted));
        if lines.doubt > 0 && self.equal {
            let _ = writeln!(
                out,
                "\n  Doubt is left over, and it does no harm here: the clients repeated these\n  lines, \
                 and their values are on both sides. Where a client does not repeat,\n  such lines have to be read \
                 back from the source."
            );
        }
        let _ = writeln!(out, "\n  Up to {} lines waited for the destination at once.", count(self.queued_most));
    }
}

fn states(status: &Status) -> States {
    let lines = &status.lines;
    States {
        delivered: lines.delivered,
        queued: lines.queued,
        doubt: lines.doubt,
        dead_lettered: lines.dead_lettered,
        gap: lines.gap,
        excluded: lines.excluded,
        read_back: lines.read_back,
        accepted: accepted(status),
    }
}

/// Every acknowledged line is accepted once; of requests without an answer, each may have been accepted or not.
fn accounted(clients: &Clients, accepted: u64) -> bool {
    (clients.acknowledged..=clients.acknowledged + clients.unanswered_lines).contains(&accepted)
}
