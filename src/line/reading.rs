//! The servers whose reading can be asked for, by name.

use super::record::{Outcome, Record};
use super::{Dialect, Precision, influx, influx3, questdb, split, victoria, whole_lines};

/// Whose reading is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// InfluxDB 1.x.
    Influx1,
    /// InfluxDB 2.x.
    Influx2,
    /// InfluxDB 3 Core.
    Influx3,
    /// VictoriaMetrics.
    VictoriaMetrics,
    /// QuestDB.
    QuestDb,
}

impl Reading {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Influx1, Self::Influx2, Self::Influx3, Self::VictoriaMetrics, Self::QuestDb];

    /// As options and data name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Influx1 => "influx1",
            Self::Influx2 => "influx2",
            Self::Influx3 => "influx3",
            Self::VictoriaMetrics => "victoriametrics",
            Self::QuestDb => "questdb",
        }
    }

    /// The server, for people.
    #[must_use]
    pub const fn server(self) -> &'static str {
        match self {
            Self::Influx1 => "InfluxDB 1.x",
            Self::Influx2 => "InfluxDB 2.x",
            Self::Influx3 => "InfluxDB 3",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::QuestDb => "QuestDB",
        }
    }

    /// What the server makes of each line of a body.
    #[must_use]
    pub fn records(self, body: &[u8], precision: Precision) -> Vec<Record<'_>> {
        match self {
            Self::Influx1 => influx::records(body, Dialect::Influx1, precision),
            Self::Influx2 => influx::records(body, Dialect::Influx2, precision),
            Self::Influx3 if std::str::from_utf8(body).is_err() => line_by_line(body, precision),
            Self::Influx3 => influx3::records(body, precision),
            Self::VictoriaMetrics => victoria::records(body, precision),
            Self::QuestDb => questdb::records(body, precision),
        }
    }

    /// What happens to a request in which a line is refused, for people.
    #[must_use]
    pub const fn after_refusal(self) -> &'static str {
        match self {
            Self::Influx1 => "answers 400 and stores the other lines of the request",
            Self::Influx2 => "answers 400 and stores nothing of the request",
            Self::Influx3 => {
                "answers 400 and stores nothing of the request; /api/v3/write_lp stores the other lines, unless some are not UTF-8"
            }
            Self::VictoriaMetrics => "answers 400 and stores nothing of the request",
            Self::QuestDb => {
                "answers 400 and stores nothing of the request; tables and columns that the lines before it were the first to name stay, empty"
            }
        }
    }

    /// Whether the server knows this unit; one that does not has no minutes and no hours.
    #[must_use]
    pub const fn takes(self, precision: Precision) -> bool {
        match self {
            Self::Influx1 | Self::VictoriaMetrics | Self::QuestDb => true,
            Self::Influx2 | Self::Influx3 => !matches!(precision, Precision::Minute | Precision::Hour),
        }
    }

    /// Where the last whole line of a body's beginning ends, whatever follows; 0 when there is none.
    #[must_use]
    pub fn whole_lines(self, beginning: &[u8]) -> usize {
        match self {
            Self::Influx1 | Self::Influx2 | Self::Influx3 => whole_lines(beginning),
            Self::VictoriaMetrics => victoria::whole_lines(beginning),
            Self::QuestDb => questdb::whole_lines(beginning),
        }
    }

    /// The same where two servers read the body: none of the lines of either goes on behind it. They may differ about it so often
    /// that no such place is found in a beginning of many lines.
    #[must_use]
    pub fn whole_lines_of_both(self, other: Option<Self>, beginning: &[u8]) -> usize {
        /// Each time one of them is asked again, the lines before are read again.
        const MOST_DIFFERENCES: usize = 16;
        let mut whole = self.whole_lines(beginning);
        let by_one_rule = |reading| matches!(reading, Self::Influx1 | Self::Influx2 | Self::Influx3);
        let Some(other) = other.filter(|other| !(by_one_rule(*other) && by_one_rule(self))) else { return whole };
        let both = [other, self];
        for reading in both.iter().cycle().take(MOST_DIFFERENCES) {
            let next = reading.whole_lines(&beginning[..whole]);
            if next == whole {
                return whole;
            }
            whole = next;
        }
        0
    }
}

/// InfluxDB 3 refuses a body that is not UTF-8 as a whole, on account of the lines that are not: each other line is shown for
/// itself.
#[cold]
fn line_by_line(body: &[u8], precision: Precision) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    for piece in split(body, 1) {
        let start = piece.start;
        let is_text = std::str::from_utf8(&body[piece.clone()]).is_ok();
        let ended = body[piece.clone()].ends_with(b"\n");
        for mut record in influx3::records(&body[piece], precision) {
            if !is_text && ended {
                record.span.end -= 1;
            }
            record.span = record.span.start + start..record.span.end + start;
            if let Outcome::Fault(fault) = &mut record.outcome {
                fault.at += start;
            }
            records.push(record);
        }
    }
    records
}
