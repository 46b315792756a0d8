//! The statements that the sandbox runs, out of their tokens.

use super::condition::Condition;
use super::lex::{Token, TokenKind, tokens};
use super::store::PolicySpec;

/// Where a statement reads: a measurement, with database and policy when named.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) db: Option<String>,
    pub(super) rp: Option<String>,
    pub(super) measurement: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Columns {
    /// `*::field`: all fields.
    Fields,
    /// `*`: fields and tags.
    All,
    /// Named fields.
    Named(Vec<String>),
    /// `count(…)` of all fields or of one.
    Count(Option<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Select {
    pub(super) columns: Columns,
    pub(super) from: Source,
    pub(super) condition: Condition,
    pub(super) group_by_all: bool,
    pub(super) descending: bool,
    pub(super) limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    CreateDatabase {
        name: String,
        policy: Option<(String, PolicySpec)>,
    },
    DropDatabase(String),
    CreatePolicy {
        db: String,
        name: String,
        spec: PolicySpec,
        default: bool,
    },
    DropPolicy {
        db: String,
        name: String,
    },
    ShowDatabases,
    ShowMeasurements {
        on: Option<String>,
    },
    ShowFieldKeys {
        on: Option<String>,
        from: Option<Source>,
    },
    ShowTagKeys {
        on: Option<String>,
        from: Option<Source>,
    },
    ShowSeries {
        on: Option<String>,
        from: Option<Source>,
    },
    ShowPolicies {
        on: Option<String>,
    },
    ShowShardGroups,
    Select(Select),
    /// `DELETE` and `DROP SERIES`: cells of the measurement, or of all.
    Delete {
        from: Option<Source>,
        condition: Condition,
    },
    DropMeasurement(String),
}

impl Statement {
    /// Whether 1.x warns when this comes by GET.
    pub(super) fn wants_post(&self) -> bool {
        matches!(
            self,
            Self::CreateDatabase { .. }
                | Self::DropDatabase(_)
                | Self::CreatePolicy { .. }
                | Self::DropPolicy { .. }
                | Self::DropMeasurement(_)
        )
    }
}

/// Reads a query: statements between semicolons, each with its own text. `now_ns` is what `now()` means.
///
/// # Errors
/// The server's sentence about what it found and what it expected.
pub(super) fn parse(query: &str, now_ns: i64) -> Result<Vec<Statement>, String> {
    let mut parser = Parser { tokens: tokens(query), next: 0, now_ns };
    let mut found = Vec::new();
    loop {
        while parser.sign(";") {}
        if parser.peek().kind == TokenKind::End {
            return Ok(found);
        }
        found.push(parser.statement()?);
        if parser.peek().kind != TokenKind::End {
            parser.need_sign(";")?;
        }
    }
}

/// Reads statements off a list of tokens.
pub(super) struct Parser {
    tokens: Vec<Token>,
    next: usize,
    pub(super) now_ns: i64,
}

pub(super) type Parsed<T> = Result<T, String>;

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        // The list ends with `End`, and `step` never passes it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub(super) fn step(&mut self) -> TokenKind {
        let kind = self.peek().kind.clone();
        self.next += usize::from(kind != TokenKind::End);
        kind
    }

    pub(super) fn expected<T>(&self, what: &str) -> Parsed<T> {
        let Token { kind, at, line } = self.peek();
        Err(format!("found {kind}, expected {what} at line {}, char {}", line + 1, at + 1))
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let hit = matches!(&self.peek().kind, TokenKind::Word(found) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(hit);
        hit
    }

    fn need_word(&mut self, word: &str) -> Parsed<()> {
        if self.word(word) { Ok(()) } else { self.expected(word) }
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let hit = matches!(&self.peek().kind, TokenKind::Sign(found) if *found == sign);
        self.next += usize::from(hit);
        hit
    }

    pub(super) fn need_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { self.expected(sign) }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        if !matches!(self.peek().kind, TokenKind::Word(_) | TokenKind::Quoted(_)) {
            return self.expected("identifier");
        }
        Ok(self.step().to_string())
    }

    fn number(&mut self) -> Parsed<i64> {
        match self.peek().kind {
            TokenKind::Number(number) => {
                self.step();
                Ok(i64::try_from(number).unwrap_or(i64::MAX))
            }
            _ => self.expected("integer"),
        }
    }

    fn span(&mut self) -> Parsed<i64> {
        if self.word("INF") {
            return Ok(0);
        }
        match self.peek().kind {
            TokenKind::Span(ns) => {
                self.step();
                Ok(ns)
            }
            TokenKind::Number(0) => {
                self.step();
                Ok(0)
            }
            _ => self.expected("duration"),
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        if self.word("SELECT") {
            return self.select();
        }
        if self.word("SHOW") {
            return self.show();
        }
        if self.word("CREATE") {
            return self.create();
        }
        if self.word("DROP") {
            return self.drop();
        }
        if self.word("DELETE") {
            return self.delete();
        }
        self.expected("SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, ALTER, SET, KILL")
    }

    fn create(&mut self) -> Parsed<Statement> {
        if self.word("DATABASE") {
            let name = self.name()?;
            let policy = if self.word("WITH") { Some(self.database_policy()?) } else { None };
            return Ok(Statement::CreateDatabase { name, policy });
        }
        if !self.word("RETENTION") {
            return self.expected("CONTINUOUS, DATABASE, USER, RETENTION, SUBSCRIPTION");
        }
        self.need_word("POLICY")?;
        let name = self.name()?;
        self.need_word("ON")?;
        let db = self.name()?;
        self.need_word("DURATION")?;
        let duration_ns = self.span()?;
        self.need_word("REPLICATION")?;
        let replication = self.number()?;
        let shard_group = self.shard_duration()?;
        let default = self.word("DEFAULT");
        let spec = PolicySpec::new(duration_ns, shard_group, replication);
        Ok(Statement::CreatePolicy { db, name, spec, default })
    }

    fn database_policy(&mut self) -> Parsed<(String, PolicySpec)> {
        let duration_ns = if self.word("DURATION") { self.span()? } else { 0 };
        let replication = if self.word("REPLICATION") { self.number()? } else { 1 };
        let shard_group = self.shard_duration()?;
        let name = if self.word("NAME") { self.name()? } else { "autogen".to_owned() };
        Ok((name, PolicySpec::new(duration_ns, shard_group, replication)))
    }

    fn shard_duration(&mut self) -> Parsed<Option<i64>> {
        if !self.word("SHARD") {
            return Ok(None);
        }
        self.need_word("DURATION")?;
        self.span().map(Some)
    }

    fn drop(&mut self) -> Parsed<Statement> {
        if self.word("DATABASE") {
            return self.name().map(Statement::DropDatabase);
        }
        if self.word("MEASUREMENT") {
            return self.name().map(Statement::DropMeasurement);
        }
        if self.word("SERIES") {
            return self.delete();
        }
        if self.word("RETENTION") {
            self.need_word("POLICY")?;
            let name = self.name()?;
            self.need_word("ON")?;
            return Ok(Statement::DropPolicy { db: self.name()?, name });
        }
        self.expected("CONTINUOUS, DATABASE, MEASUREMENT, RETENTION, SERIES, SHARD, SUBSCRIPTION, USER")
    }

    fn delete(&mut self) -> Parsed<Statement> {
        let from = if self.word("FROM") { Some(self.source()?) } else { None };
        if from.is_none() && !matches!(&self.peek().kind, TokenKind::Word(w) if w.eq_ignore_ascii_case("WHERE")) {
            return self.expected("FROM, WHERE");
        }
        Ok(Statement::Delete { from, condition: self.condition()? })
    }

    fn show(&mut self) -> Parsed<Statement> {
        if self.word("DATABASES") {
            return Ok(Statement::ShowDatabases);
        }
        if self.word("MEASUREMENTS") {
            return Ok(Statement::ShowMeasurements { on: self.on()? });
        }
        if self.word("SERIES") {
            return Ok(Statement::ShowSeries { on: self.on()?, from: self.from()? });
        }
        if self.word("FIELD") {
            self.need_word("KEYS")?;
            return Ok(Statement::ShowFieldKeys { on: self.on()?, from: self.from()? });
        }
        if self.word("TAG") {
            self.need_word("KEYS")?;
            return Ok(Statement::ShowTagKeys { on: self.on()?, from: self.from()? });
        }
        if self.word("RETENTION") {
            self.need_word("POLICIES")?;
            return Ok(Statement::ShowPolicies { on: self.on()? });
        }
        if self.word("SHARD") {
            self.need_word("GROUPS")?;
            return Ok(Statement::ShowShardGroups);
        }
        self.expected(
            "CONTINUOUS, DATABASES, DIAGNOSTICS, FIELD, GRANTS, MEASUREMENT, MEASUREMENTS, QUERIES, RETENTION, SERIES, \
             SHARD, SHARDS, STATS, SUBSCRIPTIONS, TAG, USERS",
        )
    }

    fn on(&mut self) -> Parsed<Option<String>> {
        if self.word("ON") { self.name().map(Some) } else { Ok(None) }
    }

    fn from(&mut self) -> Parsed<Option<Source>> {
        if self.word("FROM") { self.source().map(Some) } else { Ok(None) }
    }

    /// `m`, `rp.m`, `db.rp.m`, `db..m`.
    fn source(&mut self) -> Parsed<Source> {
        let mut parts = vec![self.name()?];
        while self.sign(".") {
            let skipped = matches!(self.peek().kind, TokenKind::Sign("."));
            parts.push(if skipped { String::new() } else { self.name()? });
        }
        let measurement = parts.pop().unwrap_or_default();
        let rp = parts.pop().filter(|name| !name.is_empty());
        let db = parts.pop();
        if parts.is_empty() { Ok(Source { db, rp, measurement }) } else { self.expected("end of the name") }
    }

    fn select(&mut self) -> Parsed<Statement> {
        let columns = self.columns()?;
        self.need_word("FROM")?;
        let from = self.source()?;
        let condition = self.condition()?;
        let mut select = Select { columns, from, condition, group_by_all: false, descending: false, limit: usize::MAX };
        if self.word("GROUP") {
            self.need_word("BY")?;
            self.need_sign("*")?;
            select.group_by_all = true;
        }
        if self.word("ORDER") {
            self.need_word("BY")?;
            self.need_word("time")?;
            select.descending = self.word("DESC");
            if !select.descending {
                self.word("ASC");
            }
        }
        if self.word("LIMIT") {
            select.limit = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        }
        Ok(Statement::Select(select))
    }

    fn columns(&mut self) -> Parsed<Columns> {
        if self.sign("*") {
            return Ok(if self.is_field()? { Columns::Fields } else { Columns::All });
        }
        if self.word("count") {
            self.need_sign("(")?;
            let of = if self.sign("*") { None } else { Some(self.name()?) };
            self.is_field()?;
            self.need_sign(")")?;
            return Ok(Columns::Count(of));
        }
        let mut names = Vec::new();
        loop {
            names.push(self.name()?);
            self.is_field()?;
            if !self.sign(",") {
                return Ok(Columns::Named(names));
            }
        }
    }

    fn is_field(&mut self) -> Parsed<bool> {
        if !self.sign("::") {
            return Ok(false);
        }
        self.need_word("field").map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(query: &str) -> Statement {
        let mut found = parse(query, 1_000).unwrap();
        assert_eq!(found.len(), 1, "{query}");
        found.remove(0)
    }

    fn condition(text: &str) -> (i64, i64) {
        let Statement::Select(select) = one(&format!("SELECT * FROM m WHERE {text}")) else { panic!() };
        (select.condition.start_ns, select.condition.end_ns)
    }

    #[test]
    fn the_readers_query_is_understood() {
        let query =
            r#"SELECT *::field FROM "d"."r"."m x" WHERE time >= -5 AND time < 7 GROUP BY * ORDER BY time DESC LIMIT 3"#;
        let source = Source { db: Some("d".into()), rp: Some("r".into()), measurement: "m x".into() };
        let expected = Select {
            columns: Columns::Fields,
            from: source,
            condition: Condition { start_ns: -5, end_ns: 6, tags: Vec::new() },
            group_by_all: true,
            descending: true,
            limit: 3,
        };
        assert_eq!(one(query), Statement::Select(expected));
    }

    #[test]
    fn times_are_read_in_every_form() {
        assert_eq!(condition("time > 5 AND time <= 7"), (6, 7));
        assert_eq!(condition("time = 5"), (5, 5));
        assert_eq!(condition("time >= 1u AND (time < 2s)"), (1_000, 1_999_999_999));
        assert_eq!(condition("time >= now() - 1u"), (0, i64::MAX));
        assert_eq!(condition("time >= '1970-01-01T00:00:01.5Z'"), (1_500_000_000, i64::MAX));
        assert_eq!(condition("time >= '1970-01-01 00:00:01'"), (1_000_000_000, i64::MAX));
        assert_eq!(condition("time >= '1970-01-02'"), (86_400_000_000_000, i64::MAX));
        assert_eq!(condition("time >= -9223372036854775806"), (-9_223_372_036_854_775_806, i64::MAX));
    }

    #[test]
    fn databases_and_policies_are_created_as_written() {
        let day = 86_400_000_000_000;
        let spec = PolicySpec { duration_ns: 7 * day, shard_group_ns: day, replication: 1 };
        let policy = Some(("r".to_owned(), spec));
        let query = r#"CREATE DATABASE d WITH DURATION 7d REPLICATION 1 SHARD DURATION 1d NAME "r""#;
        assert_eq!(one(query), Statement::CreateDatabase { name: "d".into(), policy });
        let query = r#"create retention policy "r" on "d" duration 1w replication 1 default;"#;
        let (db, name) = ("d".into(), "r".into());
        assert_eq!(one(query), Statement::CreatePolicy { db, name, spec, default: true });
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |query| parse(query, 0).unwrap_err();
        let expected = "found SELEC, expected SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, ALTER, SET, \
                        KILL at line 1, char 1";
        assert_eq!(error("SELEC 1"), expected);
        assert_eq!(error("SELECT v FRO m"), "found FRO, expected FROM at line 1, char 10");
        assert_eq!(error("SHOW DATABASES x"), "found x, expected ; at line 1, char 16");
        assert_eq!(
            error("DROP"),
            "found EOF, expected CONTINUOUS, DATABASE, MEASUREMENT, RETENTION, SERIES, SHARD, SUBSCRIPTION, USER at \
             line 1, char 5"
        );
        assert_eq!(parse(" ; ;", 0), Ok(Vec::new()));
    }
}
