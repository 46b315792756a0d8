//! Several statements in one text, each with what it changes.

use super::change::{self, Change, Class};
use super::identifier;
use super::lex::{self, Kind, Token};
use crate::base::clock::rfc3339;

/// What is kept of a statement for people, in characters.
const SHOWN_CHARS_MAX: usize = 1000;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// From its first token to its last one.
    text: &'a str,
    /// Places are those of `text`.
    tokens: Vec<Token>,
    /// What it changes; `None`: it only reads.
    pub change: Option<Change>,
}

/// The statements of a text. One that cannot be cut into tokens is one statement of [`Class::Unread`] in its place, with all behind it:
/// the servers run nothing of such a text.
#[must_use]
pub fn split(text: &str) -> Vec<Statement<'_>> {
    let tokens = lex::tokens(text);
    tokens
        .split(|token| token.kind == Kind::End)
        .filter(|own| !own.is_empty())
        .map(|own| statement(text, own))
        .collect()
}

fn statement<'a>(whole: &'a str, tokens: &[Token]) -> Statement<'a> {
    let start = tokens.first().map_or(0, |first| first.start);
    let end = tokens.last().map_or(start, |last| last.end);
    let text = whole.get(start..end).unwrap_or_default();
    let tokens: Vec<Token> =
        tokens.iter().map(|token| Token { start: token.start - start, end: token.end - start, ..*token }).collect();
    let is_bad = tokens.last().is_some_and(|last| last.kind == Kind::Bad);
    let change = if is_bad { Some(Change::of(Class::Unread)) } else { change::read(text, &tokens) };
    Statement { text, tokens, change }
}

impl<'a> Statement<'a> {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether a value of it stands elsewhere in the request.
    #[must_use]
    pub fn has_parameters(&self) -> bool {
        self.tokens.iter().any(|token| token.kind == Kind::Parameter)
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The same statement with each `now()` replaced by this time: it means the same later.
    #[must_use]
    pub fn at(&self, now_ns: i64) -> String {
        let text = format!("'{}'", rfc3339(now_ns));
        self.with(|at, tokens| {
            let [call, open, close, ..] = &tokens[at..] else { return None };
            let is_now = call.name(self.text).is_some_and(|name| name.eq_ignore_ascii_case("now"))
                && open.is_sign(self.text, "(")
                && open.start == call.end
                && close.is_sign(self.text, ")");
            is_now.then(|| (3, text.clone()))
        })
    }

    /// A statement that makes or changes a database or policy, for another database and policy.
    #[must_use]
    pub fn named(&self, db: &str, rp: &str) -> String {
        let is_database = self.change.as_ref().is_some_and(|change| change.class == Class::CreateDatabase);
        // CREATE DATABASE db, CREATE RETENTION POLICY rp ON db
        let (db_at, rp_at) = if is_database { (2, usize::MAX) } else { (5, 3) };
        self.with(|at, _| match at {
            _ if at == db_at => Some((1, identifier(db))),
            _ if at == rp_at => Some((1, identifier(rp))),
            _ => None,
        })
    }

    /// What may be kept and shown of it: without passwords, at most 1,000 characters.
    #[must_use]
    pub fn shown(&self) -> String {
        let class = self.change.as_ref().map(|change| change.class);
        if class == Some(Class::Unread) {
            return "(a text that cannot be cut into statements)".to_owned();
        }
        let secret = class.is_some_and(Class::is_secret);
        let text =
            self.with(|at, tokens| (secret && tokens[at].kind == Kind::Text).then(|| (1, "'[REDACTED]'".to_owned())));
        text.chars().take(SHOWN_CHARS_MAX).collect()
    }

    /// The text with some tokens replaced: `replace` says how many from this one on, and by what.
    fn with(&self, replace: impl Fn(usize, &[Token]) -> Option<(usize, String)>) -> String {
        let mut out = String::with_capacity(self.text.len());
        let (mut copied, mut at) = (0, 0);
        while at < self.tokens.len() {
            let Some((count, by)) = replace(at, &self.tokens) else {
                at += 1;
                continue;
            };
            let last = self.tokens[(at + count.max(1) - 1).min(self.tokens.len() - 1)];
            out.push_str(self.text.get(copied..self.tokens[at].start).unwrap_or_default());
            out.push_str(&by);
            copied = last.end;
            at += count.max(1);
        }
        out.push_str(self.text.get(copied..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    fn classes(text: &str) -> Vec<Option<&'static str>> {
        split(text).iter().map(|s| s.change.as_ref().map(|change| change.class.name())).collect()
    }

    fn change(text: &str) -> Change {
        split(text).remove(0).change.unwrap()
    }

    #[test]
    fn several_statements_are_told_apart_by_what_they_change() {
        let text =
            "show databases; ; CREATE DATABASE a;-- c; DROP DATABASE b\n/* ; */delete FROM m;SELECT * FROM \"INTO\"";
        assert_eq!(classes(text), [None, Some("create-database"), Some("delete"), None]);
        let texts: Vec<_> = split(text).iter().map(Statement::text).collect();
        assert_eq!(texts, ["show databases", "CREATE DATABASE a", "delete FROM m", "SELECT * FROM \"INTO\""]);
        assert_eq!(classes(" ;; "), [] as [Option<&str>; 0]);
    }

    #[test]
    fn every_class_is_recognised_in_any_case_and_through_comments() {
        for (text, class) in [
            ("create/**/database x", "create-database"),
            ("DROP DATABASE x", "drop-database"),
            ("create retention --\n policy p ON d duration 1h replication 1", "create-policy"),
            ("Alter Retention Policy p on d default", "alter-policy"),
            ("DROP RETENTION POLICY p ON d", "drop-policy"),
            ("DROP MEASUREMENT m", "drop-measurement"),
            ("DROP SERIES FROM m WHERE h = 'a'", "drop-series"),
            ("DELETE WHERE time < now()", "delete"),
            ("DROP SHARD 7", "drop-shard"),
            ("SELECT mean(v) INTO d.r.m FROM n GROUP BY time(1h)", "select-into"),
            (
                "CREATE CONTINUOUS QUERY q ON d BEGIN SELECT mean(v) INTO m FROM n GROUP BY time(1h) END",
                "create-continuous-query",
            ),
            ("DROP CONTINUOUS QUERY q ON d", "drop-continuous-query"),
            ("CREATE SUBSCRIPTION s ON d.r DESTINATIONS ALL 'http://u:p@h'", "create-subscription"),
            ("DROP SUBSCRIPTION s ON d.r", "drop-subscription"),
            ("CREATE USER u WITH PASSWORD 'p'", "users"),
            ("DROP USER u", "users"),
            ("SET PASSWORD FOR u = 'p'", "users"),
            ("GRANT ALL TO u", "users"),
            ("REVOKE ALL FROM u", "users"),
            ("KILL QUERY 5", "kill-query"),
            ("DROP SOMETHING NEW", "unknown"),
            ("REWRITE m", "unknown"),
            ("'oops", "unread"),
        ] {
            assert_eq!(classes(text), [Some(class)], "{text}");
            assert_eq!(Class::of_name(class).map(Class::name), Some(class));
        }
        for text in [
            "SHOW DATABASES",
            "EXPLAIN ANALYZE SELECT v INTO m FROM n",
            "SELECT v FROM (SELECT v INTO m FROM n)",
            "SELECT \"into\" FROM m",
            "SELECT v FROM m WHERE a = 'DROP DATABASE x'",
        ] {
            assert_eq!(classes(text), [None], "{text}");
        }
    }

    #[test]
    fn names_of_places_are_replaced_wherever_they_stand() {
        let named = |text: &str| split(text)[0].named("e", "q");
        assert_eq!(
            named("create /* a */ database d with duration 1d name p"),
            "create /* a */ database \"e\" with duration 1d name p"
        );
        let policy = named("CREATE RETENTION POLICY \"p p\" ON \"d\" DURATION 1d REPLICATION 1 DEFAULT");
        assert_eq!(policy, "CREATE RETENTION POLICY \"q\" ON \"e\" DURATION 1d REPLICATION 1 DEFAULT");
        assert_eq!(named("ALTER RETENTION POLICY p ON d DEFAULT"), "ALTER RETENTION POLICY \"q\" ON \"e\" DEFAULT");
    }

    #[test]
    fn names_are_read_with_quotes_and_escapes() {
        let c = change("CREATE DATABASE \"a\\\"b\" WITH DURATION 3d REPLICATION 1 SHARD DURATION 1h NAME \"r p\"");
        assert_eq!((c.db.as_deref(), c.rp.as_deref()), (Some("a\"b"), Some("r p")));
        assert_eq!(c.policy, Policy { duration: Some("3d".into()), default: false, more: true });
        let c = change("ALTER RETENTION POLICY p ON \"d;\" DURATION inf DEFAULT");
        assert_eq!((c.db.as_deref(), c.rp.as_deref()), (Some("d;"), Some("p")));
        assert_eq!(c.policy, Policy { duration: Some("inf".into()), default: true, more: false });
        assert_eq!(change("DROP MEASUREMENT \"m ;\"").measurement.as_deref(), Some("m ;"));
        let c = change("SELECT v INTO \"d\"..m FROM n");
        assert_eq!((c.db, c.rp, c.measurement.as_deref()), (Some("d".to_owned()), None, Some("m")));
        let c = change("SELECT v INTO r.m FROM n");
        assert_eq!((c.db, c.rp.as_deref(), c.measurement.as_deref()), (None, Some("r"), Some("m")));
    }

    #[test]
    fn times_are_frozen_and_only_calls_of_now_are() {
        let at = |text: &str| split(text)[0].at(1_700_000_000_123_456_789);
        let now = "'2023-11-14T22:13:20.123456789Z'";
        assert_eq!(
            at("DELETE WHERE time < NOW( ) - 1h AND time>now()"),
            format!("DELETE WHERE time < {now} - 1h AND time>{now}")
        );
        for same in ["DELETE FROM now WHERE a = 'now()'", "DELETE FROM m WHERE \"b\" = '1' -- now()\nAND time < 5"] {
            assert_eq!(at(same), same);
        }
    }

    #[test]
    fn what_is_kept_names_no_password() {
        for text in [
            "CREATE USER u WITH PASSWORD 'hunter2' WITH ALL PRIVILEGES",
            "set /* */ password for u ='hunter2'",
            "CREATE SUBSCRIPTION s ON d.r DESTINATIONS ALL 'http://u:hunter2@h', 'http://hunter2'",
            "ALTER USER u SET 'hunter2'",
            "CREATE USER u WITH PASSWORD 'hunter2",
        ] {
            let shown = split(text)[0].shown();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(split("CREATE USER u WITH PASSWORD 'x'")[0].shown(), "CREATE USER u WITH PASSWORD '[REDACTED]'");
        assert_eq!(
            split(&format!("DROP MEASUREMENT {}", "ü".repeat(5000)))[0].shown(),
            "(a text that cannot be cut into statements)"
        );
        assert_eq!(split(&format!("DROP MEASUREMENT \"{}\"", "ü".repeat(5000)))[0].shown().chars().count(), 1000);
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = [
            "DROP ",
            "DELETE ",
            "FROM",
            "/",
            "*",
            "'",
            "\"",
            "\\",
            ";",
            "--",
            "\n",
            "\0",
            "now()",
            "now(",
            "é",
            "µ",
            "1",
            "WHERE time <",
            "SELECT",
            " INTO ",
            ".",
            "(",
            ")",
            "$p",
            "=~",
            ",",
        ];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..10 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            for statement in split(&text) {
                let _ = (statement.at(5), statement.shown(), statement.deletions(5), statement.has_parameters());
            }
        }
    }
}
