//! Statements that change something: what is read of a text, kept of it, and written for other servers.

use twinline::db::influxql::{Answered, Class, Deletion, Ran, Statement, ran, split};

use super::HEAD;

/// What a statement means is frozen at this time.
const NOW_NS: i64 = 1_700_000_000_123_456_789;

/// Each statement stands for itself; frozen, it means the same whenever it is read again; what is kept of it is short and holds no
/// password; a delete that can be written for another family of servers is read there as the same delete.
pub fn statements(input: &[u8]) {
    let body = input.get(HEAD..).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let statements = split(&text);
    for statement in &statements {
        by_itself(statement);
        frozen(statement);
        kept(statement);
        deleted(statement);
    }
    predicate(&text);
    answer(body, statements.len());
}

fn class(statement: &Statement<'_>) -> Option<Class> {
    statement.change.as_ref().map(|change| change.class)
}

/// The names and the class do not come from its neighbours.
fn by_itself(statement: &Statement<'_>) {
    let again = split(statement.text());
    assert_eq!(again.len(), 1, "{:?}", statement.text());
    assert_eq!(again[0].change, statement.change, "{:?}", statement.text());
}

fn frozen(statement: &Statement<'_>) {
    let text = statement.at(NOW_NS);
    let again = split(&text);
    assert_eq!(again.len(), 1, "{:?} became {text:?}", statement.text());
    assert_eq!(class(&again[0]), class(statement), "{:?} became {text:?}", statement.text());
    assert_eq!(again[0].at(NOW_NS + 1), text, "a time is left that moves: {:?}", statement.text());
    assert_eq!(again[0].deletions(0).ok(), statement.deletions(NOW_NS).ok(), "{:?} became {text:?}", statement.text());
}

fn kept(statement: &Statement<'_>) {
    let shown = statement.shown();
    assert!(shown.chars().count() <= 1000);
    if shown.chars().count() < 1000 && class(statement) != Some(Class::Unread) {
        let again = split(&shown);
        assert_eq!(again.len(), 1, "{shown:?}");
        assert_eq!((class(&again[0]), again[0].shown()), (class(statement), shown), "{:?}", statement.text());
    }
}

fn deleted(statement: &Statement<'_>) {
    let Ok(deletions) = statement.deletions(NOW_NS) else { return };
    for deletion in deletions {
        let influxql = deletion.influxql();
        let again = split(&influxql);
        assert_eq!(again.len(), 1, "{influxql:?}");
        assert_eq!(again[0].deletions(0), Ok(vec![deletion.clone()]), "{influxql:?}");
        through_the_api(&deletion);
    }
}

/// The names that begin with `_` mean something else there: such a delete is not read back as one.
fn through_the_api(deletion: &Deletion) {
    let body: serde_json::Value = serde_json::from_str(&deletion.api_body()).expect("it is JSON");
    let predicate = body["predicate"].as_str().expect("it has a predicate");
    let own = |key: &str| key.starts_with('_') || key.eq_ignore_ascii_case("time");
    let again = Deletion::of_predicate(predicate, deletion.first_ns, deletion.last_ns);
    if deletion.tags.iter().any(|(key, _)| own(key)) {
        return;
    }
    assert_eq!(again.as_ref(), Ok(deletion), "{predicate:?}");
}

/// A predicate of `/api/v2/delete` that is understood is the same delete as InfluxQL.
fn predicate(text: &str) {
    let Ok(deletion) = Deletion::of_predicate(text, 1, NOW_NS) else { return };
    let influxql = deletion.influxql();
    let again = split(&influxql);
    assert_eq!(again.len(), 1, "{influxql:?}");
    assert_eq!(again[0].deletions(0), Ok(vec![deletion]), "{influxql:?}");
}

/// Any answer says something of each statement, and one that is not whole never that one ran which it does not name.
fn answer(body: &[u8], statements: usize) {
    let statements = statements.max(1);
    for (encoding, version2) in [("", false), ("gzip", false), ("", true)] {
        let answered = Answered { status: 200, content_type: "application/json", encoding, body, whole: true };
        assert_eq!(ran(&answered, statements, version2).len(), statements);
        let cut = Answered { body: &[], whole: false, ..answered };
        assert!(ran(&cut, statements, version2).iter().all(|ran| *ran != Ran::Yes));
    }
}
