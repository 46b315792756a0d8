//! What a letter that the destination refused says of the source.
//!
//! Promise: a letter in the destination's own names is taken for a point of the source only where these cannot have been other names.

use super::super::letter::{Letter, line};
use super::Stay;
use crate::backfill::form::Form;
use crate::delivery::Writing;
use crate::line::project::Changes;
use crate::line::{Line, Precision};

/// Longer names of QuestDB may be cut ones.
const CUT_NAME_BYTES: usize = 100;

impl Form<'_> {
    /// A letter as it is sent unchanged: one that was refused before it was sent stands as at the source.
    pub(super) fn raw(self, letter: &Letter) -> Result<Vec<u8>, Stay> {
        let text = letter.stored.text.clone();
        if self.is_own(letter) { Ok(text) } else { self.written(text, |_| true, &mut Changes::default()) }
    }

    /// Whether the letter stands in the destination's form: it was sent, and refused.
    fn is_own(self, letter: &Letter) -> bool {
        let fits_no_more = |code: &str| {
            let read = line(&letter.stored.text, Precision::Nanosecond);
            read.is_some_and(|line| self.project(&line, &mut Changes::default()).is_err_and(|why| why.code == code))
        };
        match (self.writing, letter.stored.code.as_str()) {
            (Writing::Influx(_) | Writing::Influx3, _) | (_, "same-name" | "unreadable") => false,
            (Writing::Victoria(_), "text" | "bad-name") => false,
            (Writing::Victoria(_), code @ "too-large") | (Writing::Questdb(_), code @ "unstorable") => {
                !fits_no_more(code)
            }
            (Writing::Victoria(_) | Writing::Questdb(_), _) => true,
        }
    }

    /// The measurement at the source of a letter, whose line is this one.
    pub(super) fn measurement(self, letter: &Letter, line: &Line<'_>) -> Result<Vec<u8>, Stay> {
        let name = line.measurement().into_owned();
        if !self.is_own(letter) {
            return Ok(name);
        }
        let Writing::Questdb(rules) = self.writing else {
            return Err(Stay::new(
                "own-form",
                "it stands as the destination got it, with its times: the source's are not known",
            ));
        };
        let prefix = if rules.names_place { self.tables.as_bytes() } else { &b""[..] };
        let other =
            |name: &[u8]| Stay::new("renamed", format!("{} may have another name at the source", name.escape_ascii()));
        let tags = line.tags().iter().map(|tag| tag.key());
        let names = tags.chain(line.fields().iter().map(|field| field.key()));
        match names.into_iter().find(|name| may_be_renamed(name)) {
            Some(name) => Err(other(&name)),
            None if may_be_renamed(&name) => Err(other(&name)),
            None => name.strip_prefix(prefix).map(<[u8]>::to_vec).ok_or_else(|| other(&name)),
        }
    }
}

/// Whether a name of QuestDB could stand for another one.
fn may_be_renamed(name: &[u8]) -> bool {
    let is_code = |at: &[u8]| at[0] == b'_' && at[1..].iter().all(u8::is_ascii_hexdigit);
    name.len() > CUT_NAME_BYTES || name.ends_with(b"_") || name.windows(3).any(is_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::line::project::{QuestRules, VictoriaRules};
    use crate::state::StoredLetter;

    fn letter(code: &str, text: &str) -> Letter {
        let stored = StoredLetter {
            id: (Lsn(1), 1),
            route: String::new(),
            code: code.to_owned(),
            reason: String::new(),
            text: text.as_bytes().to_vec(),
        };
        Letter::new(stored, Precision::Nanosecond)
    }

    fn measurement(form: Form<'_>, code: &str, text: &str) -> Result<String, &'static str> {
        let line = line(text.as_bytes(), Precision::Nanosecond).unwrap();
        let name = form.measurement(&letter(code, text), &line);
        name.map(|name| String::from_utf8(name).unwrap()).map_err(|why| why.code)
    }

    #[test]
    fn a_row_of_questdb_is_of_the_source_only_where_its_names_can_be_no_others() {
        let writing = Writing::Questdb(QuestRules { names_place: true, keeps_ns: false });
        let of = |code, text| measurement(Form { writing, tables: "d_" }, code, text);
        assert_eq!(of("type-conflict", "d_m,a=b v=1 7"), Ok("m".to_owned()));
        for text in ["d_used_2dpercent v=1 7", "d_m,a_2eb=c v=1 7", "d_m timestamp_=1 7", "e_m v=1 7"] {
            assert_eq!(of("type-conflict", text), Err("renamed"), "{text}");
        }
        assert_eq!(of("same-name", "used_2dpercent v=1 7"), Ok("used_2dpercent".to_owned()), "it was never sent");
        let own = Writing::Questdb(QuestRules { names_place: false, keeps_ns: false });
        assert_eq!(measurement(Form { writing: own, tables: "d_" }, "parse", "e_m v=1 7"), Ok("e_m".to_owned()));
    }

    #[test]
    fn what_was_refused_before_it_was_sent_stands_as_at_the_source() {
        let rules = VictoriaRules { refuse_texts: false, past_ms: i64::MAX, ahead_ms: 0, now_ms: i64::MAX };
        let form = Form { writing: Writing::Victoria(rules), tables: "" };
        let long = format!("m,t={} v=1 1700000000000000000", "y".repeat(5000));
        assert_eq!(measurement(form, "text", "m s=\"x\",v=1 1700000000000000000"), Ok("m".to_owned()));
        assert_eq!(measurement(form, "too-large", &long), Ok("m".to_owned()));
        assert_eq!(measurement(form, "too-large", "m v=1 1700000000000"), Err("own-form"));
        assert_eq!(measurement(form, "parse", "m v=1 1700000000000"), Err("own-form"));
        let raw = |code, text| form.raw(&letter(code, text)).map_err(|why| why.code);
        assert_eq!(raw("text", "m s=\"x\",v=1 1700000000000000000").unwrap(), b"m v=1 1700000000000\n");
        assert_eq!(raw("text", "m s=\"x\" 1700000000000000000"), Err("nothing-held"));
        assert_eq!(raw("parse", "m v=1 1700000000000").unwrap(), b"m v=1 1700000000000");
    }
}
