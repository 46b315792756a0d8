//! Where letters are read from: the running twinline, or the file of a stopped one.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::FilterArgs;
use super::letter::Letter;
use crate::base::DestinationId;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::place::{Life, Place, failure};
use crate::cli::queue::stop::Stop;
use crate::cli::talk::Talk;
use crate::config::DestinationKind;
use crate::control::{LettersDocument, RemovalDocument, letter_name};
use crate::db::encode::escape;
use crate::line::{Precision, Reading};
use crate::state::{LetterFate, LetterFile, LetterId, LetterPage, LetterQuery};

/// The letters of one destination.
#[derive(Debug)]
pub(super) struct Store<'a> {
    pub(super) place: &'a Place,
    /// None: the running twinline is asked.
    file: Option<(LetterFile, DestinationId)>,
}

/// What a walk came to.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Letters that are gone, by what became of them.
    pub(super) removed: Vec<(String, u64)>,
    /// Somebody asked us to stop.
    pub(super) interrupted: Option<Exit>,
}

impl<'a> Store<'a> {
    pub(super) fn open(place: &'a Place) -> Result<Self, Failure> {
        if let Life::Running(_) = place.life()? {
            return Ok(Self { place, file: None });
        }
        let file = LetterFile::open(&place.data_dir.join("state.db")).map_err(failure)?;
        let id = place.one_of("dead letters", || file.destinations())?;
        Ok(Self { place, file: Some((file, id)) })
    }

    pub(super) fn of_running(place: &'a Place) -> Result<Self, Failure> {
        place.running()?;
        Ok(Self { place, file: None })
    }

    pub(super) fn is_running(&self) -> bool {
        self.file.is_none()
    }

    /// As the destination reads lines, where the configuration says so.
    pub(super) fn reading(&self) -> Option<Reading> {
        match self.place.config.as_ref()?.destination().kind {
            DestinationKind::Influxdb1 => Some(Reading::Influx1),
            DestinationKind::Influxdb2 => Some(Reading::Influx2),
            DestinationKind::Victoriametrics => Some(Reading::VictoriaMetrics),
            DestinationKind::Influxdb3 => Some(Reading::Influx3),
            _ => None,
        }
    }

    /// The unit of the times in lines as they are sent.
    pub(super) fn unit(&self) -> Precision {
        match self.reading() {
            Some(Reading::VictoriaMetrics) => Precision::Millisecond,
            _ => Precision::Nanosecond,
        }
    }

    pub(super) fn page(&self, query: &LetterQuery) -> Result<LetterPage, Failure> {
        if let Some((file, id)) = &self.file {
            return file.page(id, query).map_err(failure);
        }
        let code = query.code.as_ref().map_or(String::new(), |code| format!("&code={}", escape(code)));
        let path = format!(
            "/api/v1/dead-letters/page?from={}&to={}&limit={}{code}",
            letter_name(query.from),
            letter_name(query.to),
            query.limit
        );
        let document: LettersDocument = self.place.ask("GET", &self.place.at(&path))?;
        let strange = || {
            Failure::new(Exit::Failed, "the answer of the running twinline is not understood")
                .hint("use the same version of twinline on both sides")
        };
        let letters: Option<Vec<_>> = document.letters.into_iter().map(|letter| letter.letter()).collect();
        let next = document.next.map(|next| crate::control::letter_id(&next).ok_or_else(strange)).transpose()?;
        Ok(LetterPage { letters: letters.ok_or_else(strange)?, next, removed: document.removed })
    }

    /// Hands every letter that fits to `each`, page by page, until that has had enough.
    pub(super) fn walk(
        &self,
        (filter, mut query): (&FilterArgs, LetterQuery),
        (talk, stop): (Talk, &Stop),
        mut each: impl FnMut(Letter) -> Result<Next, Failure>,
    ) -> Result<Walked, Failure> {
        query.code.clone_from(&filter.reason);
        let bar = bar(talk);
        let mut walked = Walked::default();
        loop {
            let page = self.page(&query)?;
            walked.removed = page.removed;
            for stored in page.letters {
                walked.interrupted = stop.asked();
                if walked.interrupted.is_some() {
                    return Ok(walked);
                }
                bar.inc(1);
                let letter = Letter::new(stored, self.unit());
                if letter.fits(filter) && each(letter)? == Next::Enough {
                    return Ok(walked);
                }
            }
            let Some(next) = page.next else { return Ok(walked) };
            query.from = next;
        }
    }

    /// Removes letters from the running twinline's store; how many were there.
    pub(super) fn remove(&self, ids: &[LetterId], fate: LetterFate) -> Result<u64, Failure> {
        let document = RemovalDocument { fate, ids: ids.iter().map(|id| letter_name(*id)).collect() };
        let answer: Value =
            self.place.send(&self.place.at("/api/v1/dead-letters/remove"), json!(document).to_string().as_bytes())?;
        Ok(answer["removed"].as_u64().unwrap_or(0))
    }
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    More,
    Enough,
}

/// How many letters were read, on a terminal. Gone when dropped.
fn bar(talk: Talk) -> ProgressBar {
    if talk.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} letters read");
    ProgressBar::no_length()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_finish(indicatif::ProgressFinish::AndClear)
}
