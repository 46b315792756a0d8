//! What the source holds now in the cells of some points.
//!
//! Promise: a value that is handed out is the source's; a cell that is said to be gone is in no policy of its database. Where either
//! cannot be known, the point says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Stay;
use super::plan::{Point, Values};
use crate::base::{Error, Kind, Result, Side};
use crate::cell::Series;
use crate::config::Config;
use crate::db::encode::escape;
use crate::db::read::{Limits, Product, Reader, Window};
use crate::db::server::{Flavor, Server};
use crate::route::RouteName;

/// Windows that are read at the same time.
const READS_MAX: usize = 4;
/// Points of one measurement that are no further apart are read with one query …
const NEAR_NS: i64 = 1_000_000_000;
/// … which spans no more than this.
const SPAN_MAX_NS: i64 = 60_000_000_000;

/// What was found of a point: no values where the source holds none of its cells.
pub(super) type Found = std::result::Result<Values, Stay>;

/// A database and a policy.
type Place = (String, String);

/// Reads the source.
#[derive(Debug)]
pub(super) struct Source {
    reader: Reader,
    server: Server,
    flavor: Flavor,
    org: Option<String>,
    places: HashMap<RouteName, std::result::Result<Place, Stay>>,
}

impl Source {
    pub(super) fn new(config: &Config, flavor: Flavor) -> Result<Self> {
        let section = &config.source.server;
        let product = match flavor {
            Flavor::Influx1 => Product::Influx1,
            Flavor::Influx2 => Product::Influx2,
        };
        let reader = Reader::of(section, product, Side::Source, Limits::default())?;
        let server = Server::new(section, Side::Source)?;
        Ok(Self { reader, server, flavor, org: section.org.clone(), places: HashMap::new() })
    }

    /// What the source holds of each point.
    ///
    /// # Errors
    /// It cannot be reached, or lets nobody read.
    pub(super) async fn read(&mut self, points: &[&Point]) -> Result<Vec<Found>> {
        let mut found: Vec<Found> = vec![Ok(Values::new()); points.len()];
        let mut groups: BTreeMap<(Place, &[u8]), Vec<usize>> = BTreeMap::new();
        for (number, point) in points.iter().enumerate() {
            match self.place(&point.route).await? {
                Ok(place) => groups.entry((place, point.series.measurement())).or_default().push(number),
                Err(why) => found[number] = Err(why),
            }
        }
        let windows = windows(&groups, points);
        self.read_windows(points, windows, &mut found).await?;
        self.look_elsewhere(points, &mut found).await?;
        Ok(found)
    }

    async fn read_windows(&self, points: &[&Point], windows: Vec<Read>, found: &mut [Found]) -> Result<()> {
        let (turns, mut reading) = (Arc::new(Semaphore::new(READS_MAX)), JoinSet::new());
        for read in windows {
            let (reader, turns) = (self.reader.clone(), Arc::clone(&turns));
            let wanted = Rc::new(Wanted::of(&read, points));
            reading.spawn_local(async move {
                let _turn = turns.acquire().await;
                let values = one_window(&reader, &read, &wanted).await;
                (read.numbers, values)
            });
        }
        while let Some(done) = reading.join_next().await {
            let gone = |e| Error::new(Kind::State, Side::Own, "a read did not come to its end").because(e);
            let (numbers, values) = done.map_err(gone)?;
            match values {
                Ok(values) => values.into_iter().for_each(|(number, values)| {
                    if let Ok(known) = &mut found[number] {
                        known.extend(values);
                    }
                }),
                Err(error) if matches!(error.kind(), Kind::Connect | Kind::Timeout | Kind::Auth) => return Err(error),
                Err(error) => numbers.into_iter().for_each(|number| {
                    found[number] = Err(Stay::new("source-read", error.to_string()));
                }),
            }
        }
        Ok(())
    }

    /// A route of the default policy is one of the default policy at the time of the write. Which that was, if it has changed since,
    /// nobody knows: what another policy has is not gone.
    async fn look_elsewhere(&self, points: &[&Point], found: &mut [Found]) -> Result<()> {
        let mut missing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, point) in points.iter().enumerate() {
            if let (Ok(values), RouteName::Database { db, rp }) = (&found[number], &point.route)
                && rp.is_empty()
                && point.fields.iter().any(|field| !values.contains_key(field))
            {
                missing.entry(db).or_default().push(number);
            }
        }
        for (db, numbers) in missing {
            let policies = self.reader.retention_policies(db).await?;
            for policy in policies.into_iter().filter(|policy| !policy.is_default) {
                let few: Vec<&Point> = numbers.iter().map(|number| points[*number]).collect();
                let mut groups: BTreeMap<(Place, &[u8]), Vec<usize>> = BTreeMap::new();
                for (number, point) in few.iter().enumerate() {
                    let place = (db.to_owned(), policy.name.clone());
                    groups.entry((place, point.series.measurement())).or_default().push(number);
                }
                let mut there: Vec<Found> = vec![Ok(Values::new()); few.len()];
                self.read_windows(&few, windows(&groups, &few), &mut there).await?;
                for (number, there) in numbers.iter().zip(there) {
                    let known = found[*number].as_ref().ok();
                    let is_new = |field: &Vec<u8>| known.is_some_and(|known| !known.contains_key(field));
                    match there {
                        Err(why) => found[*number] = Err(why),
                        Ok(values) if values.keys().any(is_new) => {
                            let why = format!("policy {} has it, which may have been the default", policy.name);
                            found[*number] = Err(Stay::new("other-policy", why));
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Under which names a query finds what was written to a route.
    async fn place(&mut self, route: &RouteName) -> Result<std::result::Result<Place, Stay>> {
        if let Some(known) = self.places.get(route) {
            return Ok(known.clone());
        }
        let place = match route {
            RouteName::Database { db, rp } if rp.is_empty() && self.flavor == Flavor::Influx1 => {
                let all = self.reader.retention_policies(db).await;
                match all {
                    Ok(all) => all.into_iter().find(|policy| policy.is_default).map(|policy| policy.name).map_or_else(
                        || Err(Stay::new("source-read", format!("database {db} has no default policy"))),
                        |name| Ok((db.clone(), name)),
                    ),
                    Err(error) if matches!(error.kind(), Kind::Connect | Kind::Timeout | Kind::Auth) => {
                        return Err(error);
                    }
                    Err(error) => Err(Stay::new("source-read", error.to_string())),
                }
            }
            RouteName::Database { db, rp } => Ok((db.clone(), rp.clone())),
            RouteName::Bucket { org, bucket } => self.mapped(org, bucket).await?,
        };
        if self.places.len() < PLACES_MAX {
            self.places.insert(route.clone(), place.clone());
        }
        Ok(place)
    }

    async fn mapped(&self, org: &str, bucket: &str) -> Result<std::result::Result<Place, Stay>> {
        let found = mapped(&self.server, self.org.as_deref(), (org, bucket)).await?;
        Ok(found.map_err(|why| Stay::new("source-read", why)))
    }
}

/// Database and policy by which a bucket is read, once it is sure that these are mapped to it; else why not.
pub(in crate::cli) async fn mapped(
    server: &Server,
    own: Option<&str>,
    (org, bucket): (&str, &str),
) -> Result<std::result::Result<Place, String>> {
    let own = match own {
        Some(own) if org.is_empty() || own == org => escape(own),
        Some(own) => return Ok(Err(format!("a bucket of the organisation {org}, and source.org is {own}"))),
        None => return Ok(Err("source.org is not set: whose bucket would be read is not known".to_owned())),
    };
    let (db, rp) = bucket.split_once('/').unwrap_or((bucket, "autogen"));
    let buckets = ask(server, &format!("/api/v2/buckets?org={own}&name={}", escape(bucket))).await?;
    let mapped = ask(server, &format!("/api/v2/dbrps?org={own}&db={}&rp={}", escape(db), escape(rp))).await?;
    let ids = |document: &Json, list: &str, id: &str| -> Vec<String> {
        let all = document[list].as_array().into_iter().flatten();
        all.filter_map(|one| one[id].as_str().map(str::to_owned)).collect()
    };
    Ok(match (&ids(&buckets, "buckets", "id")[..], &ids(&mapped, "content", "bucketID")[..]) {
        ([bucket], [mapped]) if bucket == mapped => Ok((db.to_owned(), rp.to_owned())),
        _ => Err(format!("the source maps no database and policy ({db}, {rp}) to the bucket {bucket}")),
    })
}

async fn ask(server: &Server, path: &str) -> Result<Json> {
    let reply = server.ask(Method::GET, path, Bytes::new()).await?;
    if matches!(reply.status.as_u16(), 401 | 403) {
        let what = format!("{} answers {}", path.split('?').next().unwrap_or_default(), reply.status.as_u16());
        return Err(Error::new(Kind::Auth, Side::Source, what).hint("twinline check"));
    }
    Ok(serde_json::from_slice(&reply.body).unwrap_or(Json::Null))
}

/// Routes whose place is remembered.
const PLACES_MAX: usize = 10_000;

/// One query.
#[derive(Debug)]
struct Read {
    place: Place,
    measurement: Vec<u8>,
    window: Window,
    /// Of the points that lie in it.
    numbers: Vec<usize>,
}

/// Few queries for many points.
fn windows(groups: &BTreeMap<(Place, &[u8]), Vec<usize>>, points: &[&Point]) -> Vec<Read> {
    let mut all: Vec<Read> = Vec::new();
    for ((place, measurement), numbers) in groups {
        let mut sorted = numbers.clone();
        sorted.sort_by_key(|number| points[*number].time_ns);
        let mut open: Option<Read> = None;
        for number in sorted {
            let time_ns = points[number].time_ns;
            let end_ns = time_ns.saturating_add(1);
            match &mut open {
                Some(read)
                    if time_ns.saturating_sub(read.window.end_ns) < NEAR_NS
                        && time_ns.saturating_sub(read.window.start_ns) < SPAN_MAX_NS =>
                {
                    read.window.end_ns = end_ns;
                    read.numbers.push(number);
                }
                _ => {
                    let window = Window { start_ns: time_ns, end_ns };
                    let (place, measurement) = (place.clone(), measurement.to_vec());
                    all.extend(open.replace(Read { place, measurement, window, numbers: vec![number] }));
                }
            }
        }
        all.extend(open);
    }
    all
}

/// The cells that are looked for in a window: of each series and time the points, and their fields.
#[derive(Debug)]
struct Wanted(HashMap<Series, BTreeMap<i64, Fields>>);

/// Numbers of points, with the fields of each; none: all.
type Fields = Vec<(usize, Option<BTreeSet<Vec<u8>>>)>;

impl Wanted {
    fn of(read: &Read, points: &[&Point]) -> Self {
        let mut all: HashMap<Series, BTreeMap<i64, Fields>> = HashMap::new();
        for number in &read.numbers {
            let point = points[*number];
            let times = all.entry(point.series.clone()).or_default();
            let fields = (!point.whole).then(|| point.fields.clone());
            times.entry(point.time_ns).or_default().push((*number, fields));
        }
        Self(all)
    }
}

/// Everything is read; what nobody looks for is let go at once.
async fn one_window(reader: &Reader, read: &Read, wanted: &Wanted) -> Result<Vec<(usize, Values)>> {
    let (db, rp) = &read.place;
    let mut stream = reader.stream(db, rp, &read.measurement, read.window).await?;
    let mut values: BTreeMap<usize, Values> = BTreeMap::new();
    while let Some(cells) = stream.next().await? {
        for cell in cells {
            let at = wanted.0.get(&*cell.series).and_then(|times| times.get(&cell.time_ns));
            let is_wanted =
                |fields: &Option<BTreeSet<Vec<u8>>>| fields.as_ref().is_none_or(|all| all.contains(&*cell.field));
            for (number, _) in at.into_iter().flatten().filter(|(_, fields)| is_wanted(fields)) {
                values.entry(*number).or_default().insert(cell.field.to_vec(), cell.value.clone());
            }
        }
    }
    Ok(values.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Target;

    #[test]
    fn near_points_share_a_query_and_far_ones_do_not() {
        let place = || ("d".to_owned(), "autogen".to_owned());
        let point = |time_ns| Point {
            route: RouteName::Database { db: "d".into(), rp: String::new() },
            target: Target::Database { db: "d".into(), rp: String::new() },
            series: Series::new(b"m".to_vec(), Vec::new()),
            time_ns,
            fields: BTreeSet::new(),
            letters: Vec::new(),
            whole: false,
        };
        let far = 10 * NEAR_NS;
        let points = [far, 1, 0, NEAR_NS, i64::MAX - 1, i64::MIN + 2].map(point);
        let points: Vec<&Point> = points.iter().collect();
        let groups = BTreeMap::from([((place(), &b"m"[..]), (0..points.len()).collect())]);
        let seen: Vec<_> = windows(&groups, &points)
            .into_iter()
            .map(|read| (read.window.start_ns, read.window.end_ns, read.numbers))
            .collect();
        let all = [
            (i64::MIN + 2, i64::MIN + 3, vec![5]),
            (0, NEAR_NS + 1, vec![2, 1, 3]),
            (far, far + 1, vec![0]),
            (i64::MAX - 1, i64::MAX, vec![4]),
        ];
        assert_eq!(seen, all);
    }
}
