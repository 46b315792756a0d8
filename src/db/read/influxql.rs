//! Reading InfluxDB 1.x and 2.x over `/query` in msgpack, one statement and one measurement a request.
//!
//! 2.x is read through its 1.x mapping: bucket `d` is `db=d`, policy `autogen`; bucket `d/r` is `db=d`, policy `r`. A bucket that no
//! mapping shows is named as [`Bucket::place`] says, and read by Flux.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::size::parse_span;
use crate::base::{Error, Kind, Result, Side};
use crate::cell::{Cell, FieldType};
use crate::config;

use super::client::{Auth, Client};
use super::flux::Bucket;
use super::frame::Framer;
use super::quote::{self, percent};
use super::rows::{self, Block};
use super::stream::{CellStream, Objects};
use super::windows::Window;

/// The fields of a measurement with their types over all shard groups, each sorted and once.
pub type FieldKeys = BTreeMap<Vec<u8>, Vec<FieldType>>;

/// Which product answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// InfluxDB 1.x.
    Influx1,
    /// InfluxDB 2.x through its 1.x-compatible `/query`.
    Influx2,
}

/// What bounds a reader's memory and patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows that the database is asked to send in one piece, at most; fewer where a measurement has many fields.
    pub chunk_rows: u32,
    /// Bytes of one piece; a larger one is an error of kind `Limit`.
    pub object_bytes_max: usize,
    /// Values of one piece, empty ones included; more are an error of kind `Limit`. One takes about 100 bytes of
    /// memory.
    pub object_values_max: usize,
    /// Cells that [`Reader::read`] and [`Reader::read_all`] collect; more are an error of kind `Limit`.
    pub cells_max: usize,
    /// How long the database may be silent.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chunk_rows: 2000,
            object_bytes_max: 64 << 20,
            object_values_max: 1 << 20,
            cells_max: 10_000_000,
            idle: Duration::from_secs(60),
        }
    }
}

/// A retention policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Its name.
    pub name: String,
    /// How long it keeps points; zero: for ever.
    pub duration: Duration,
    /// How much time one of its shard groups spans. InfluxDB 2.x says one week here, whatever is true.
    pub shard_group: Duration,
    /// Whether a write that names no policy goes here.
    pub is_default: bool,
}

/// Reads one database server. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) client: Client,
    pub(super) product: Product,
    pub(super) limits: Limits,
}

impl Reader {
    /// A reader for the server at `base_url` (`http://host:8086`), on the source's side, with default limits.
    ///
    /// # Errors
    /// `Config` when the URL cannot be used.
    pub fn new(base_url: &str, auth: Auth, product: Product) -> Result<Self> {
        Self::with_limits(base_url, auth, product, Side::Source, Limits::default())
    }

    /// The same with the side that errors name, and with limits.
    ///
    /// # Errors
    /// `Config` when the URL cannot be used.
    pub fn with_limits(base_url: &str, auth: Auth, product: Product, side: Side, limits: Limits) -> Result<Self> {
        Ok(Self { client: Client::new(base_url, auth, side, limits.idle, None)?, product, limits })
    }

    /// A reader for a server of the configuration, with its own settings of TLS and its credentials.
    ///
    /// # Errors
    /// `Config` when its files cannot be used; `Connect` when its address is not found.
    pub fn of(server: &config::Server, product: Product, side: Side, limits: Limits) -> Result<Self> {
        let auth = match (&server.token, &server.username, &server.password) {
            (Some(token), _, _) => Auth::Token(token.expose().to_owned()),
            (None, Some(user), Some(password)) => {
                Auth::Basic { user: user.clone(), password: password.expose().to_owned() }
            }
            _ => Auth::None,
        };
        let client = Client::new(&server.url.to_string(), auth, side, limits.idle, Some(&server.tls))?;
        Ok(Self { client, product, limits })
    }

    /// Bytes of answers that came so far; of all clones.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.client.received.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn side(&self) -> Side {
        self.client.side
    }

    pub(super) fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// The databases that the credentials may see.
    ///
    /// # Errors
    /// Of the connection and of the statement.
    pub async fn databases(&self) -> Result<Vec<String>> {
        let rows = self.show("", "", "SHOW DATABASES".to_owned(), ["name"]).await?;
        Ok(rows.into_iter().map(|(_, [name])| lossy(&name)).collect())
    }

    /// The retention policies of a database.
    ///
    /// # Errors
    /// Of the connection and of the statement.
    pub async fn retention_policies(&self, db: &str) -> Result<Vec<RetentionPolicy>> {
        let statement = format!("SHOW RETENTION POLICIES ON {}", quote::identifier(db));
        let columns = ["name", "duration", "shardGroupDuration", "default"];
        let rows = self.show(db, "", statement, columns).await?;
        let span = |text: &[u8]| parse_span(&lossy(text)).map_err(|e| Error::new(Kind::Input, self.side(), e));
        rows.into_iter()
            .map(|(_, [name, duration, shard_group, is_default])| {
                Ok(RetentionPolicy {
                    name: lossy(&name),
                    duration: span(&duration)?,
                    shard_group: span(&shard_group)?,
                    is_default: is_default == b"true",
                })
            })
            .collect()
    }

    /// The measurements of a database. 1.x lists those of all its policies, whatever `rp` says. A database that does
    /// not exist has none.
    ///
    /// # Errors
    /// Of the connection and of the statement.
    pub async fn measurements(&self, db: &str, rp: &str) -> Result<Vec<Vec<u8>>> {
        if let Some(bucket) = Bucket::named(db, rp) {
            return self.flux_measurements(&bucket).await;
        }
        if self.product == Product::Influx1 {
            let rows = self.show(db, rp, "SHOW MEASUREMENTS".to_owned(), ["name"]).await?;
            return Ok(rows.into_iter().map(|(_, [name])| name).collect());
        }
        // On 2.x `SHOW MEASUREMENTS` answers for the default policy, whatever policy is named; this one does not.
        let rows = self.show(db, rp, "SHOW FIELD KEYS".to_owned(), []).await?;
        Ok(rows.into_iter().map(|(name, [])| name).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The fields of a measurement. Empty when there is no such measurement. Where Flux is asked they come without types.
    ///
    /// # Errors
    /// Of the connection and of the statement; `Answer` for a type that we do not know.
    pub async fn field_keys(&self, db: &str, rp: &str, measurement: &[u8]) -> Result<FieldKeys> {
        if let Some(bucket) = Bucket::named(db, rp) {
            return self.flux_fields(&bucket, measurement).await;
        }
        Ok(self.field_keys_of(db, rp, measurement).await?.remove(measurement).unwrap_or_default())
    }

    /// The fields of a measurement, and of those that a query cannot tell from it because their names are not UTF-8.
    pub(super) async fn field_keys_of(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
    ) -> Result<BTreeMap<Vec<u8>, FieldKeys>> {
        let statement = format!("SHOW FIELD KEYS FROM {}", quote::measurement(measurement));
        let mut found: BTreeMap<Vec<u8>, FieldKeys> = BTreeMap::new();
        for (name, [field, type_name]) in self.show(db, rp, statement, ["fieldKey", "fieldType"]).await? {
            let Some(field_type) = FieldType::from_name(&type_name) else {
                let what = format!("field \"{}\" has the unknown type \"{}\"", lossy(&field), lossy(&type_name));
                return Err(Error::new(Kind::Answer, self.side(), what));
            };
            let types = found.entry(name).or_default().entry(field).or_default();
            if let Err(at) = types.binary_search(&field_type) {
                types.insert(at, field_type);
            }
        }
        Ok(found)
    }

    /// All cells of a measurement in a window, types exact even where they differ between shard groups. Left out are
    /// only [`unreadable_fields`].
    ///
    /// # Errors
    /// As [`CellStream::next`]; `Limit` beyond [`Limits::cells_max`]: choose a smaller window.
    pub async fn read(&self, db: &str, rp: &str, measurement: &[u8], window: Window) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        self.read_into(db, rp, measurement, window, &mut cells).await?;
        Ok(cells)
    }

    /// All cells of a database and policy: for small databases and tests.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn read_all(&self, db: &str, rp: &str) -> Result<Vec<Cell>> {
        let rp = self.policy(db, rp).await?.name;
        let mut cells = Vec::new();
        for measurement in self.measurements(db, &rp).await? {
            self.read_into(db, &rp, &measurement, Window::ALL, &mut cells).await?;
        }
        Ok(cells)
    }

    /// How long all requests so far have waited because the database asked us to come again later, and whether one does now.
    #[must_use]
    pub fn waited(&self) -> (Duration, bool) {
        self.client.waited()
    }

    /// The same cells as [`Reader::read`] in pieces, with bounded memory.
    ///
    /// # Errors
    /// Of the connection and of the statements that find out fields and shard groups.
    pub async fn stream(&self, db: &str, rp: &str, measurement: &[u8], window: Window) -> Result<CellStream> {
        CellStream::open(self.clone(), db, rp, measurement, window).await
    }

    async fn read_into(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        window: Window,
        cells: &mut Vec<Cell>,
    ) -> Result<()> {
        let before = cells.len();
        let mut reader = self.clone();
        loop {
            match reader.collect(db, rp, measurement, window, cells).await {
                // Long strings can make a piece too large; nothing was handed out yet, so smaller pieces may be tried.
                Err(error) if error.kind() == Kind::Limit && cells.len() < self.limits.cells_max => {
                    if reader.limits.chunk_rows <= 1 {
                        return Err(error);
                    }
                    reader.limits.chunk_rows /= 16;
                    reader.limits.chunk_rows = reader.limits.chunk_rows.max(1);
                    cells.truncate(before);
                }
                other => return other,
            }
        }
    }

    async fn collect(&self, db: &str, rp: &str, measurement: &[u8], window: Window, out: &mut Vec<Cell>) -> Result<()> {
        let mut stream = self.stream(db, rp, measurement, window).await?;
        while let Some(more) = stream.next().await? {
            out.extend(more);
            if out.len() > self.limits.cells_max {
                let what = format!("the window holds more than {} cells", self.limits.cells_max);
                return Err(Error::new(Kind::Limit, self.side(), what).hint("choose a smaller window"));
            }
        }
        Ok(())
    }

    /// Sends the one query that reads cells.
    pub(super) async fn select(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        keys: &FieldKeys,
        window: Window,
    ) -> Result<Objects> {
        let columns = match unreadable_fields(keys).is_empty() {
            true => "*::field".to_owned(),
            false => self.readable_columns(measurement, keys)?,
        };
        let from = quote::measurement(measurement);
        let statement = format!("SELECT {columns} FROM {from}{} GROUP BY *", window.clause());
        let rows = self.limits.object_values_max / (keys.len() + 2);
        self.ask_in_pieces(db, rp, statement, u32::try_from(rows).unwrap_or(u32::MAX)).await
    }

    /// All fields that a query can show, by name.
    fn readable_columns(&self, measurement: &[u8], keys: &FieldKeys) -> Result<String> {
        let unreadable = unreadable_fields(keys);
        let readable = keys.keys().filter(|field| !unreadable.contains(&field.as_slice()));
        let named = readable.map(|field| quote::exact(field).map(|name| name + "::field"));
        let columns = named.collect::<Option<Vec<_>>>().ok_or_else(|| {
            let (measurement, reserved) = (lossy(measurement), lossy(unreadable[0]));
            let what = format!(
                "measurement \"{measurement}\" has a field \"{reserved}\" and one that is not UTF-8 or holds a NUL or a carriage return"
            );
            Error::new(Kind::Answer, self.side(), what)
        })?;
        Ok(columns.join(", "))
    }

    pub(super) async fn ask(&self, db: &str, rp: &str, statement: String) -> Result<Objects> {
        self.ask_in_pieces(db, rp, statement, u32::MAX).await
    }

    async fn ask_in_pieces(&self, db: &str, rp: &str, statement: String, rows: u32) -> Result<Objects> {
        let rows = rows.min(self.limits.chunk_rows).max(1);
        let mut parameters = format!("epoch=ns&chunked=true&chunk_size={rows}");
        for (name, value) in [("db", db), ("rp", rp)] {
            if !value.is_empty() {
                parameters.push_str(&format!("&{name}={}", percent(value)));
            }
        }
        let answer = self.client.query(&parameters, format!("q={}", percent(&statement))).await?;
        let framer = Framer::new(self.limits.object_bytes_max, self.limits.object_values_max, self.side());
        Ok(Objects::new(answer, framer, self.side()))
    }

    /// Runs a `SHOW` statement and collects some columns of all its rows as text, behind the name of their series.
    pub(super) async fn show<const N: usize>(
        &self,
        db: &str,
        rp: &str,
        statement: String,
        columns: [&str; N],
    ) -> Result<Vec<Row<N>>> {
        let side = self.side();
        let mut objects = self.ask(db, rp, statement).await?;
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(more) =
            objects.next(|document| table(document, columns).ok_or_else(|| rows::strange(side))).await?
        {
            bytes += more.iter().map(|(name, row)| name.len() + row.iter().map(Vec::len).sum::<usize>()).sum::<usize>();
            all.extend(more);
            if bytes > self.limits.object_bytes_max {
                let what = format!("a list is longer than {} bytes", self.limits.object_bytes_max);
                return Err(Error::new(Kind::Limit, side, what));
            }
        }
        Ok(all)
    }
}

/// Field names that InfluxQL uses for itself: both 1.x and 2.x store such a field and no query shows it, or a query
/// shows invented rows in its place.
const UNREADABLE: [&[u8]; 5] = [b"_fieldKey", b"_name", b"_seriesKey", b"_tagKey", b"_tagValue"];

/// The fields that exist but that no query can read. A reader leaves them out; whoever copies must say so.
#[must_use]
pub fn unreadable_fields(keys: &FieldKeys) -> Vec<&[u8]> {
    UNREADABLE.into_iter().filter(|field| keys.contains_key(*field)).collect()
}

/// Whether a field has several types, so that only windows inside one shard group can be read exactly.
pub(super) fn is_mixed(keys: &FieldKeys) -> bool {
    keys.values().any(|types| types.len() > 1)
}

pub(super) fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// A row of a list: the name of its series, and the columns asked for.
pub(super) type Row<const N: usize> = (Vec<u8>, [Vec<u8>; N]);

fn table<const N: usize>(document: &rows::Document<'_>, columns: [&str; N]) -> Option<Vec<Row<N>>> {
    let mut found = Vec::new();
    for block in &document.blocks {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(columns) {
            *place = block.column(name.as_bytes())?;
        }
        for row in &block.rows {
            found.push((block.name.clone(), Block::texts(row, places)?));
        }
    }
    Some(found)
}
