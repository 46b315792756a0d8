//! A part under which the destination breaks the connection or dies: smaller and smaller parts, alone and with pauses, and
//! never the same bytes for ever.
//!
//! Promise: an outage buries no line, also not one of a destination that dies of every write. A break counts only when the
//! destination had answered just before; a death only when, besides, nothing else was under way and the destination was
//! gone afterwards. A line is put aside only when it was alone, has killed the destination [`DEATHS_MAX`] times so, with an
//! answer of the destination before each, and other lines were stored since.

use super::attempt::Ended;
use super::part::Part;
use super::settle::{Next, Work};
use super::tell::{pause_destination, pause_target, remark};

/// After so many breaks a part falls into halves, of which each has one break to its name.
const BREAKS_MAX: u32 = 2;
/// Deaths of the destination under one line alone.
const DEATHS_MAX: u32 = 3;
/// A line alone that breaks connections and kills nobody: then its route waits for somebody to look at it.
const BREAKS_ALONE_MAX: u32 = 6;

impl Work<'_> {
    /// The connection broke under this part, and the destination had answered just before. `died`: and it was gone.
    pub(super) async fn broke(&mut self, mut part: Part, ended: &Ended, died: bool) -> Next {
        let (shared, target) = (self.shared, part.batch.target);
        let (code, reason) = (ended.verdict.code, ended.verdict.reason());
        let since = *part.met.failing_since.get_or_insert(ended.began);
        let others_are_stored = shared.stored_at.get() > since;
        part.met.breaks += 1;
        part.met.deaths += u32::from(died);
        pause_destination(shared, code, reason.clone(), None);
        if part.len() > 1 {
            if part.met.breaks >= BREAKS_MAX {
                let lines = part.len();
                remark(shared, "died-twice", &format!("broke off twice under the same {lines} lines; sending fewer"));
                part.halve(&mut self.parts);
            } else {
                self.parts.push_front(part);
            }
        } else if part.met.deaths >= DEATHS_MAX && others_are_stored {
            let deaths = part.met.deaths;
            let reason =
                format!("the destination was gone {deaths} times right after this line alone was sent: {reason}");
            self.bury_all(part, "destination-died", &reason).await;
        } else if part.met.breaks >= BREAKS_ALONE_MAX {
            pause_target(shared, target, code, reason);
            return Next::Parked;
        } else if part.met.deaths >= DEATHS_MAX && !self.parts.iter().any(|other| part.shares_cells(other)) {
            // Others of the batch show whether it is this line or any.
            self.parts.push_back(part);
        } else {
            self.parts.push_front(part);
        }
        Next::Go
    }
}
