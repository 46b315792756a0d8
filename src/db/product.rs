//! What kinds of database can be a destination, and what each can and cannot do.
//!
//! Promise: a capability is told only where it was measured; what a kind cannot do is said before anything is sent to it.

use bytes::Bytes;
use http::Method;

use super::server::{Flavor, Reply, Server};
use super::{questdb, victoria};
use crate::base::Result;
use crate::config::DestinationKind;

/// A kind of database that takes line protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// InfluxDB 1.x.
    Influx1,
    /// InfluxDB 2.x and its cloud.
    Influx2,
    /// InfluxDB 3.x, by its code at 3.10.
    Influx3,
    /// VictoriaMetrics, measured at 1.150.0.
    Victoria,
    /// QuestDB, measured at 9.3.4.
    Questdb,
}

/// When what a destination has acknowledged survives the end of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// At once.
    Durable,
    /// Some time later.
    Later,
}

/// What a point that is written again becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsert {
    /// Each field that it names is replaced, the others stay.
    Cell,
    /// Both stay, or the new one replaces the old as a whole: that hangs on the table.
    Row,
    /// Both stay.
    None,
}

/// What becomes of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    /// They are kept to the bit, with their type.
    Bits,
    /// They are numbers, of which some digits are kept.
    Digits,
}

/// What can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The points of a span of time.
    Point,
    /// Whole series.
    Series,
    /// Nothing smaller than a table.
    None,
}

/// What a kind of database can do, as far as it decides what we may promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// When its answers can be relied on.
    pub ack: Ack,
    /// What overwriting does.
    pub upsert: Upsert,
    /// How much of a value is kept.
    pub exact: Exact,
    /// What can be deleted.
    pub delete: Delete,
    /// Every value can be read back by us with its type and all its digits.
    pub typed_read: bool,
    /// An answer of success means that every line is kept.
    pub truthful_answers: bool,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Influx1, Self::Influx2, Self::Influx3, Self::Victoria, Self::Questdb];

    /// As the configuration and `status` call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Influx1 => "influxdb1",
            Self::Influx2 => "influxdb2",
            Self::Influx3 => "influxdb3",
            Self::Victoria => "victoriametrics",
            Self::Questdb => "questdb",
        }
    }

    /// As the configuration says; `None`: it is to be asked.
    #[must_use]
    pub const fn configured(kind: DestinationKind) -> Option<Self> {
        match kind {
            DestinationKind::Influxdb1 => Some(Self::Influx1),
            DestinationKind::Influxdb2 => Some(Self::Influx2),
            DestinationKind::Influxdb3 => Some(Self::Influx3),
            DestinationKind::Victoriametrics => Some(Self::Victoria),
            DestinationKind::Questdb => Some(Self::Questdb),
            DestinationKind::Auto => None,
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name().as_bytes() == name)
    }

    /// What an answer to `/ping` says, where it is no InfluxDB 1.x or 2.x.
    #[must_use]
    pub fn foreign(reply: &Reply) -> Option<Self> {
        if questdb::is_its_ping(reply) {
            return Some(Self::Questdb);
        }
        let version = reply.headers.get("x-influxdb-version").and_then(|text| text.to_str().ok());
        if version.is_some_and(|text| text.trim_start_matches('v').starts_with("3.")) {
            return Some(Self::Influx3);
        }
        victoria::is_its_ping(reply).then_some(Self::Victoria)
    }

    /// As [`Product::foreign`]; asks where the answer leaves it open.
    pub async fn find_foreign(server: &Server, reply: &Reply) -> Option<Self> {
        match Self::foreign(reply) {
            None if questdb::is_it(server, reply).await => Some(Self::Questdb),
            found => found,
        }
    }

    /// Asks for the version.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn ask_version(self, server: &Server) -> Result<String> {
        if self == Self::Victoria {
            return Ok(victoria::about(server).await?.version);
        }
        if self == Self::Questdb {
            return Ok(questdb::version(server).await?.unwrap_or_else(|| "unknown".to_owned()));
        }
        let reply = server.ask(Method::GET, "/ping", Bytes::new()).await?;
        let header = reply.headers.get("x-influxdb-version").and_then(|text| text.to_str().ok());
        Ok(header.unwrap_or("unknown").to_owned())
    }

    /// As people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Influx1 | Self::Influx2 | Self::Influx3 => "InfluxDB",
            Self::Victoria => "VictoriaMetrics",
            Self::Questdb => "QuestDB",
        }
    }

    /// As an InfluxDB 1.x or 2.x, if it is one.
    #[must_use]
    pub const fn flavor(self) -> Option<Flavor> {
        match self {
            Self::Influx1 => Some(Flavor::Influx1),
            Self::Influx2 => Some(Flavor::Influx2),
            Self::Influx3 | Self::Victoria | Self::Questdb => None,
        }
    }

    /// What it can do.
    #[must_use]
    pub const fn capabilities(self) -> Capabilities {
        let influx = Capabilities {
            ack: Ack::Durable,
            upsert: Upsert::Cell,
            exact: Exact::Bits,
            delete: Delete::Point,
            typed_read: true,
            truthful_answers: true,
        };
        match self {
            Self::Influx1 | Self::Influx2 => influx,
            // It has no call that deletes points, and its answers were read, not measured.
            Self::Influx3 => Capabilities { delete: Delete::None, typed_read: false, ..influx },
            // Two samples of one millisecond both stay; a time outside retention is dropped with 204; what is younger than
            // some 5 s dies with the process.
            Self::Victoria => Capabilities {
                ack: Ack::Later,
                upsert: Upsert::None,
                exact: Exact::Digits,
                delete: Delete::Series,
                typed_read: false,
                truthful_answers: false,
            },
            // A value goes into a column of another type where it can, with 204.
            Self::Questdb => Capabilities { upsert: Upsert::Row, delete: Delete::None, typed_read: false, ..influx },
        }
    }
}

impl From<Flavor> for Product {
    fn from(flavor: Flavor) -> Self {
        match flavor {
            Flavor::Influx1 => Self::Influx1,
            Flavor::Influx2 => Self::Influx2,
        }
    }
}
