//! The two databases of a job, and the places that are to be copied.

use std::collections::BTreeSet;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::backfill::scope;
use crate::base::bounds::COPY_PIECE;
use crate::base::clock::{is_beyond_ns, parse_rfc3339, rfc3339};
use crate::base::{Glob, Kind as ErrorKind, Side};
use crate::cli::check;
use crate::cli::check::obstacles::{Obstacle, Standing, obstacles};
use crate::cli::check::places::{self, Place};
use crate::cli::check::subject::{Subject, Unanswered, identifier};
use crate::cli::deadletter::replay::source::mapped;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::text::printable;
use crate::cli::run::target_kind;
use crate::config::Config;
use crate::db::encode::escape;
use crate::db::product::Product;
use crate::db::read::{self, Bucket, Limits, Reader, Window};
use crate::db::server::Flavor;
use crate::route::{RouteName, TargetKind, map, rule_of};

/// What is to be copied.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ScopeArgs {
    /// Only databases, policies or buckets by such names (`db`, `db/policy`, `*` and `?`); may be given more than once
    #[arg(long, value_name = "GLOB")]
    db: Vec<String>,
    /// Only points from this time on: by their own times, not by when they were written. As 2026-01-31T12:00:00Z, 2026-01-31, or
    /// nanoseconds since 1970
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only points before this time, in the same forms
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Make what the destination lacks first: databases, policies, buckets, mappings. They keep points for ever
    #[arg(long)]
    create: bool,
}

/// The same as it is kept with a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Scope {
    pub(in crate::cli) db: Vec<String>,
    pub(in crate::cli) since_ns: Option<i64>,
    pub(in crate::cli) until_ns: Option<i64>,
    pub(in crate::cli) merge: bool,
    /// What is missing at the destination is made.
    #[serde(default)]
    pub(in crate::cli) create: bool,
    /// Copied by the command line, with no twinline in front of the source.
    #[serde(default)]
    pub(in crate::cli) offline: bool,
}

impl ScopeArgs {
    /// From this time on.
    pub(super) fn since(db: Vec<String>, since_ns: i64, create: bool) -> Self {
        Self { db, since: Some(rfc3339(since_ns)), until: None, create }
    }

    pub(super) fn read(&self, merge: bool) -> Result<Scope, Failure> {
        let time = |text: &Option<String>| text.as_deref().map(time_ns).transpose();
        let (since_ns, until_ns) = (time(&self.since)?, time(&self.until)?);
        if let (Some(since), Some(until)) = (since_ns, until_ns)
            && since >= until
        {
            return Err(Failure::new(Exit::Usage, "--until is not after --since: there is nothing between them"));
        }
        Ok(Scope { db: self.db.clone(), since_ns, until_ns, merge, create: self.create, offline: false })
    }
}

/// The least plain number that is taken as nanoseconds, without its sign: 11 days after 1970. What is smaller is likely meant as seconds
/// or milliseconds.
const PLAIN_NS_MIN: u64 = 1_000_000_000_000_000;

/// RFC 3339, a day, or nanoseconds since 1970: 0, or of [`PLAIN_NS_MIN`] at least.
pub(in crate::cli) fn time_ns(text: &str) -> Result<i64, Failure> {
    const FORMS: &str = "2026-01-31T12:00:00Z, 2026-01-31, or nanoseconds since 1970";
    let refused = |what: String, hint: String| Err(Failure::new(Exit::Usage, what).hint(hint));
    let day = format!("{text}T00:00:00Z");
    if let Some(ns) = parse_rfc3339(text).or_else(|| parse_rfc3339(&day)) {
        return Ok(ns);
    }
    let number = text.parse::<i128>().ok();
    match number.map(|number| (number, i64::try_from(number))) {
        Some((_, Ok(ns))) if ns == 0 || ns.unsigned_abs() >= PLAIN_NS_MIN => Ok(ns),
        Some((_, Ok(number))) => {
            let zeros = |ns_each: i64| number.checked_mul(ns_each).filter(|ns| ns.unsigned_abs() >= PLAIN_NS_MIN);
            let meant = match zeros(1_000_000_000).map(rfc3339) {
                Some(at) => format!("where seconds are meant, write {at}"),
                None => "a plain number is nanoseconds".to_owned(),
            };
            refused(
                format!("{text} as nanoseconds is a time close to 1970: is it in another unit?"),
                format!("{meant}; {FORMS}"),
            )
        }
        None if !is_beyond_ns(text) && !is_beyond_ns(&day) => {
            refused(format!("\"{text}\" is no time"), FORMS.to_owned())
        }
        Some(_) | None => refused(
            format!("{text} lies outside of 1677-09-21 to 2262-04-11, which InfluxDB's times are within"),
            "without it nothing is left out on that side".to_owned(),
        ),
    }
}

impl Scope {
    /// Whether points are chosen by their times.
    pub(super) fn is_by_time(&self) -> bool {
        self.since_ns.is_some() || self.until_ns.is_some()
    }

    pub(in crate::cli) fn window(&self) -> Window {
        Window {
            start_ns: self.since_ns.unwrap_or(Window::ALL.start_ns),
            end_ns: self.until_ns.unwrap_or(Window::ALL.end_ns),
        }
    }

    fn takes(&self, place: &Place) -> bool {
        let names = names(place);
        self.db.is_empty() || self.db.iter().any(|glob| fits(glob, &names))
    }

    /// What is said of names of --db that are those of nothing at the source. `there`: the names of each place.
    fn unknown(&self, there: &[Vec<String>]) -> Option<String> {
        let of_nothing = |glob: &&String| !there.iter().any(|names| fits(glob, names));
        let unknown: Vec<String> =
            self.db.iter().filter(of_nothing).map(|glob| format!("\"{}\"", on_screen(glob))).collect();
        if unknown.is_empty() {
            return None;
        }
        let known: BTreeSet<&String> = there.iter().filter_map(|names| names.first()).collect();
        let mut shown: Vec<String> = known.iter().take(NAMES_SHOWN).map(|name| on_screen(name)).collect();
        if known.len() > NAMES_SHOWN {
            shown.push(format!("and {} more", known.len() - NAMES_SHOWN));
        }
        let there = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
        Some(format!("nothing at the source has such a name: {}; there are: {there}", unknown.join(", ")))
    }
}

/// Names at the source that a refusal lists.
const NAMES_SHOWN: usize = 20;

/// By which --db may call it.
fn names(place: &Place) -> Vec<String> {
    match &place.name {
        RouteName::Database { db, rp } => {
            let policy = place.policy.as_ref().unwrap_or(rp);
            vec![db.clone(), format!("{db}/{policy}")]
        }
        RouteName::Bucket { org, bucket } => vec![bucket.clone(), format!("{org}/{bucket}")],
    }
}

fn fits(glob: &str, names: &[String]) -> bool {
    names.iter().any(|name| Glob::new(glob).matches(name.as_bytes()))
}

/// Names come from servers: what goes to a terminal must not steer it.
pub(super) fn on_screen(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// What a database is, and its version.
pub(in crate::cli) type Kind = (Product, String);

/// Both databases, as they are.
#[derive(Debug)]
pub(in crate::cli) struct Pair {
    pub(super) source: Kind,
    pub(in crate::cli) destination: Kind,
    pub(super) flavor: Flavor,
    pub(super) kind: TargetKind,
    /// Those that are chosen and mapped, as they are at the source.
    pub(super) listed: Vec<Place>,
    /// The same as they are copied.
    pub(in crate::cli) places: Vec<scope::Place>,
    /// Chosen places that cannot be read, why, and what to do.
    pub(in crate::cli) closed: Vec<(String, String, Option<String>)>,
    /// Places that no query of InfluxQL reaches, so that Flux reads them.
    pub(super) by_flux: Vec<String>,
    /// What is said of chosen names that nothing at the source has.
    unknown: Option<String>,
}

impl Pair {
    /// Asks both.
    pub(in crate::cli) async fn find(
        config: &Config,
        (source, destination): (Kind, Kind),
        scope: &Scope,
    ) -> Result<Self, Failure> {
        let flavor = source.0.flavor().ok_or_else(|| {
            Failure::new(Exit::Refused, format!("a source of kind {} cannot be copied", source.0.name()))
        })?;
        let kind = target_kind(config, destination.0);
        let subject = Subject::source(config)?;
        let listing = places::list(&subject, flavor).await.map_err(|why| {
            Failure::new(Exit::Unreachable, format!("the source: {}", why.text())).hint("twinline check")
        })?;
        let (mut listed, mut found, mut closed, mut by_flux) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let speaks = speaks_influxql(config, flavor).await?;
        let closed_names = listing.closed.iter().map(|db| vec![db.clone()]);
        let there: Vec<Vec<String>> = listing.places.iter().map(names).chain(closed_names).collect();
        // Of what is not listed nobody knows the names.
        let unknown = if listing.more { None } else { scope.unknown(&there) };
        for db in &listing.closed {
            let user = identifier(config.source.server.username.as_deref().unwrap_or("user"));
            let grant = format!("GRANT READ ON {} TO {user}", identifier(db));
            closed.push((db.clone(), "its policies may not be seen".to_owned(), Some(grant)));
        }
        if listing.more {
            let why = format!("the source has more than {} places", places::PLACES_MAX);
            closed.push(("(others)".to_owned(), why, Some("several copies, with --db".to_owned())));
        }
        for place in listing.places.into_iter().filter(|place| scope.takes(place)) {
            let Some(target) = map(&config.mapping, &place.name, &kind) else { continue };
            let read_as = match &place.name {
                RouteName::Database { .. } => Ok(place.for_influxql()),
                RouteName::Bucket { org, bucket } => {
                    let own = config.source.server.org.as_deref();
                    let mapped = if speaks { mapped_to(&subject, own, (org, bucket)).await? } else { None };
                    match mapped {
                        Some(read_as) => Ok(read_as),
                        None => {
                            let found = by_id(&subject, own, (org, bucket)).await?;
                            by_flux.extend(found.is_ok().then(|| place.name.to_string()));
                            found
                        }
                    }
                }
            };
            let rule = rule_of(&config.mapping, &place.name).and_then(|at| config.mapping.rules.get(at));
            let shape = rule.filter(|rule| !rule.shape.is_empty()).and_then(|rule| rule.shape.rules().ok());
            match read_as {
                Ok(read_as) => {
                    found.push(scope::Place { name: place.name.clone(), read_as, target, shape });
                    listed.push(place);
                }
                Err(why) => closed.push((place.name.to_string(), why, None)),
            }
        }
        Ok(Self { source, destination, flavor, kind, listed, places: found, closed, by_flux, unknown })
    }

    /// Refuses a choice of names that nothing at the source has. A job that has begun goes on without what is gone.
    pub(super) fn named(&self) -> Result<(), Failure> {
        self.unknown.as_ref().map_or(Ok(()), |what| {
            Err(Failure::new(Exit::Refused, what.clone()).hint("--db NAME, as db, db/policy, or with * and ?"))
        })
    }

    /// Refuses to copy nothing.
    pub(super) fn some(&self) -> Result<(), Failure> {
        if self.places.is_empty() {
            let what = "there is nothing to copy: no place of the source is chosen and mapped";
            return Err(
                Failure::new(Exit::Refused, what).hint("twinline inventory shows the places, twinline plan the rules")
            );
        }
        Ok(())
    }

    /// Reads the source.
    pub(in crate::cli) fn reader(&self, config: &Config) -> Result<Reader, Failure> {
        reader(config, self.flavor)
    }

    /// What reading by Flux cannot do, if something is read so.
    pub(super) fn flux_note(&self) -> Option<String> {
        (!self.by_flux.is_empty()).then(|| {
            format!(
                "no database and policy of InfluxQL stand for {}: Flux reads it, which is slower and reaches neither a point at the last \
                 nanosecond of time ({}) nor a carriage return within a tag or the name of a field",
                self.by_flux.join(", "),
                i64::MAX - 1
            )
        })
    }

    /// What stands against a copy, and what is missing. `oldest_ns`: of the data.
    pub(super) async fn standing(
        &self,
        config: &Config,
        scope: &Scope,
        oldest_ns: Option<i64>,
    ) -> Result<Standing, Failure> {
        let mut found = obstacles(config, (&self.listed, &self.kind), (oldest_ns, scope.create)).await?;
        found.obstacles.retain(|obstacle| !(obstacle.is_contents && scope.merge));
        found.obstacles.extend(self.closed.iter().map(|(name, why, fix)| Obstacle {
            text: format!("source: {name} cannot be read: {why}"),
            fix: fix.clone(),
            is_contents: false,
        }));
        if self.destination.0 == Product::Influx3 {
            let text =
                "destination: InfluxDB 3.x is not copied to: nobody has measured how it takes history".to_owned();
            found.obstacles.push(Obstacle { text, fix: None, is_contents: false });
        }
        Ok(found)
    }
}

fn reader(config: &Config, flavor: Flavor) -> Result<Reader, Failure> {
    let product = match flavor {
        Flavor::Influx1 => read::Product::Influx1,
        Flavor::Influx2 => read::Product::Influx2,
    };
    let (object_bytes_max, object_values_max) = COPY_PIECE;
    let limits = Limits { object_bytes_max, object_values_max, ..Limits::default() };
    Ok(Reader::of(&config.source.server, product, Side::Source, limits)?)
}

/// Whether it answers InfluxQL in msgpack, which is typed and small.
async fn speaks_influxql(config: &Config, flavor: Flavor) -> Result<bool, Failure> {
    if flavor == Flavor::Influx1 {
        return Ok(true);
    }
    match reader(config, flavor)?.databases().await {
        Err(error) if matches!(error.kind(), ErrorKind::Input | ErrorKind::Answer) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(true),
    }
}

/// Database and policy by which InfluxQL reads a bucket, where there are such.
async fn mapped_to(
    source: &Subject<'_>,
    own: Option<&str>,
    bucket: (&str, &str),
) -> Result<Option<(String, String)>, Failure> {
    match mapped(&source.server, own, bucket).await {
        Ok(found) => Ok(found.ok()),
        // A token may be allowed to read, and not to see which mappings there are.
        Err(error) if error.kind() == ErrorKind::Auth => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A bucket by its ids, else why not.
pub(in crate::cli) async fn by_id(
    source: &Subject<'_>,
    own: Option<&str>,
    (org, bucket): (&str, &str),
) -> Result<Result<(String, String), String>, Failure> {
    let own = match own {
        Some(own) if org.is_empty() || own == org => escape(own),
        Some(own) => return Ok(Err(format!("a bucket of the organisation {org}, and source.org is {own}"))),
        None => return Ok(Err("source.org is not set: whose bucket would be read is not known".to_owned())),
    };
    let found = match source.json(&format!("/api/v2/buckets?org={own}&name={}", escape(bucket))).await {
        Ok(found) => found,
        Err(Unanswered::Broken(error)) => return Err(error.into()),
        Err(refused) => return Ok(Err(refused.text())),
    };
    let id = |name: &str| found["buckets"][0][name].as_str().map(str::to_owned);
    let ids = id("orgID").zip(id("id"));
    let place = ids.map(|(org_id, id)| Bucket { org_id, id }.place());
    Ok(place.ok_or_else(|| format!("the source shows no bucket {bucket}")))
}

/// What both are. Not within a runtime.
pub(in crate::cli) fn products(config: &Config) -> Result<(Kind, Kind), Failure> {
    let (source, destination) = check::products(config)?;
    let known = |answered: check::Answered, side: &str| {
        answered.map_err(|why| Failure::new(Exit::Unreachable, format!("the {side}: {why}")).hint("twinline check"))
    };
    Ok((known(source, "source")?, known(destination, "destination")?))
}

/// An event loop for tasks of one thread.
pub(in crate::cli) fn runtime() -> Result<tokio::runtime::LocalRuntime, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let made = builder.enable_all().build_local(tokio::runtime::LocalOptions::default());
    made.map_err(|e| crate::base::Error::disk("cannot start the event loop", e).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_that_are_there() {
        let there = [("telegraf", "autogen"), ("telegraf", "week"), ("e\u{1b}vil", "autogen")];
        let there: Vec<Vec<String>> =
            there.iter().map(|(db, rp)| vec![(*db).to_owned(), format!("{db}/{rp}")]).collect();
        let of = |globs: &[&str]| {
            let db = globs.iter().map(|glob| (*glob).to_owned()).collect();
            Scope { db, ..Scope::default() }.unknown(&there)
        };
        for known in [&[][..], &["telegraf"], &["tele*", "telegraf/week"], &["*"]] {
            assert_eq!(of(known), None, "{known:?}");
        }
        let said = "nothing at the source has such a name: \"nix*\"; there are: e\u{fffd}vil, telegraf";
        assert_eq!(of(&["nix*"]).unwrap(), said);
        assert_eq!(of(&["telegraf", "nix*"]).unwrap(), said, "one that fits does not hide one that does not");
        assert!(of(&[""]).unwrap().contains("such a name: \"\"; there"), "no name is the name of nothing");
        let many: Vec<Vec<String>> = (10..99).map(|n| vec![n.to_string()]).collect();
        let said = Scope { db: vec!["x".into()], ..Scope::default() }.unknown(&many).unwrap();
        assert!(said.ends_with("29, and 69 more"), "{said}");
    }

    #[test]
    fn times_are_days_moments_or_nanoseconds() {
        assert_eq!(time_ns("1970-01-02").unwrap(), 86_400_000_000_000);
        assert_eq!(time_ns("1970-01-01T00:00:01Z").unwrap(), 1_000_000_000);
        assert_eq!(time_ns("0").unwrap(), 0);
        assert_eq!(time_ns("-1000000000000000").unwrap(), -1_000_000_000_000_000);
        assert!(time_ns("yesterday").is_err());
        let between = |since: &str, until: &str| {
            ScopeArgs { since: Some(since.into()), until: Some(until.into()), ..ScopeArgs::default() }.read(false)
        };
        assert!(between("2026-01-02", "2026-01-02").is_err());
        let window = Window { start_ns: 0, end_ns: 2_000_000_000_000_000 };
        assert_eq!(between("0", "2000000000000000").unwrap().window(), window);
        let kept = ScopeArgs::since(Vec::new(), 7, false).read(false).unwrap();
        assert_eq!(kept.since_ns, Some(7), "what is worked out is taken to the nanosecond");
    }

    #[test]
    fn seconds_are_not_taken_as_nanoseconds_and_times_that_no_point_has_are_named() {
        for (text, what, hint) in [
            ("1700000000", "another unit", "2023-11-14T22:13:20Z"),
            ("-1700000000", "another unit", "1916-02-1"),
            ("1700000000000", "another unit", "nanoseconds"),
            ("5", "another unit", "2026-01-31"),
            ("9999-01-01", "outside of 1677", "without it"),
            ("1600-01-01", "outside of 1677", "without it"),
            ("1600-01-01T00:00:00Z", "outside of 1677", "without it"),
            ("99999999999999999999", "outside of 1677", "without it"),
            ("yesterday", "is no time", "2026-01-31"),
        ] {
            let failure = time_ns(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.contains(what), "{text}: {failure:?}");
            assert!(failure.hint.as_ref().is_some_and(|said| said.contains(hint)), "{text}: {failure:?}");
        }
    }
}
