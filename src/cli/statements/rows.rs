//! Where rows are read from: the running twinline, or the file of a stopped one.

use serde_json::json;

use crate::base::DestinationId;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::place::{Life, Place, failure};
use crate::control::{DecidedDocument, DecisionDocument, StatementsDocument};
use crate::state::{StatementFile, StatementQuery, StatementRow};

/// The rows of one destination.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) place: &'a Place,
    /// None: the running twinline is asked.
    file: Option<(StatementFile, DestinationId)>,
}

impl<'a> Rows<'a> {
    pub(super) fn open(place: &'a Place) -> Result<Self, Failure> {
        if let Life::Running(_) = place.life()? {
            return Ok(Self { place, file: None });
        }
        let file = StatementFile::open(&place.data_dir.join("state.db")).map_err(failure)?;
        let id = place.one_of("statements", || file.destinations())?;
        Ok(Self { place, file: Some((file, id)) })
    }

    pub(super) fn of_running(place: &'a Place) -> Result<Self, Failure> {
        place.running()?;
        Ok(Self { place, file: None })
    }

    pub(super) fn is_running(&self) -> bool {
        self.file.is_none()
    }

    fn select(&self, query: StatementQuery) -> Result<Vec<StatementRow>, Failure> {
        if let Some((file, id)) = &self.file {
            return file.select(id, query).map_err(failure);
        }
        let which = match query {
            StatementQuery::One(id) => format!("id={id}"),
            StatementQuery::After(after, true) => format!("after={after}&all=1"),
            StatementQuery::After(after, _) => format!("after={after}"),
            StatementQuery::Watched(_) | StatementQuery::Confirmed => String::new(),
        };
        Ok(self
            .place
            .ask::<StatementsDocument>("GET", &self.place.at(&format!("/api/v1/statements?{which}")))?
            .statements)
    }

    /// All of them, those that are over as well or not.
    pub(super) fn all(&self, over: bool) -> Result<Vec<StatementRow>, Failure> {
        let mut rows: Vec<StatementRow> = Vec::new();
        loop {
            let page = self.select(StatementQuery::After(rows.last().map_or(0, |row| row.id), over))?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page);
        }
    }

    pub(super) fn one(&self, id: i64) -> Result<StatementRow, Failure> {
        self.select(StatementQuery::One(id))?.pop().ok_or_else(|| {
            let what = format!("there is no statement {id}");
            Failure::new(Exit::Failed, what).hint(self.place.statements_command("ls --all"))
        })
    }

    /// Tells the running twinline what is decided: `clear` or `confirm`.
    pub(super) fn decide(&self, word: &str, decision: &DecisionDocument) -> Result<(), Failure> {
        let path = format!("/api/v1/statements/{word}");
        let answer: DecidedDocument = self.place.send(&self.place.at(&path), json!(decision).to_string().as_bytes())?;
        if answer.done {
            return Ok(());
        }
        let what = format!("statement {}: {}", decision.id, answer.why.unwrap_or_default());
        Err(Failure::new(Exit::Refused, what).hint(self.place.statements_command(&format!("show {}", decision.id))))
    }
}

/// Who sits at the keyboard, as far as the system knows: shown in history, not a proof.
pub(super) fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let number = rustix::process::getuid().as_raw();
    match named.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} (uid {number})"),
        None => format!("uid {number}"),
    }
}
