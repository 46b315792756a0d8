//! What a reader must find out about shard groups before it can read exactly: where they cut time, and which sign an
//! integer field has in each.

use rmpv::ValueRef;

use crate::base::{Error, Kind, Result};
use crate::cell::FieldType;

use super::influxql::{FieldKeys, Product, Reader, RetentionPolicy, lossy};
use super::quote;
use super::rows::{self, Block, Sign, Signs};
use super::windows::{self, Window};

impl Reader {
    /// The sign class of every integer field in a window that lies in one shard group, or of fields with one type.
    pub(super) async fn signs(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        keys: &FieldKeys,
        window: Window,
    ) -> Result<Signs> {
        let mut signs = rows::plain_signs(keys);
        let both = |types: &[FieldType]| types.contains(&FieldType::Integer) && types.contains(&FieldType::Unsigned);
        for (field, _) in keys.iter().filter(|(_, types)| both(types)) {
            if let Some(sign) = self.probe_sign(db, rp, measurement, field, window).await? {
                signs.insert(field.clone(), sign);
            }
        }
        Ok(signs)
    }

    /// Finds the sign class by arithmetic: the smallest value less the largest signed one is negative when signed, and
    /// wraps to a huge number when unsigned.
    async fn probe_sign(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        field: &[u8],
        window: Window,
    ) -> Result<Option<Sign>> {
        let unclear = || {
            let what = format!("it cannot be found out whether field \"{}\" is unsigned", lossy(field));
            Error::new(Kind::Answer, self.side(), what)
        };
        let name = quote::identifier(std::str::from_utf8(field).map_err(|_| unclear())?);
        let from = quote::measurement(measurement);
        let statement = format!("SELECT min({name}) - 9223372036854775807 FROM {from}{}", window.clause());
        let mut objects = self.ask(db, rp, statement).await?;
        let mut found = None;
        while let Some(number) = objects.next(|document| Ok(first_number(&document.blocks))).await? {
            found = found.or(number);
        }
        match found {
            None => Ok(None),
            Some(Number::Float) => Ok(None),
            Some(Number::Integer(n)) if n < 0 => Ok(Some(Sign::Signed)),
            Some(Number::Integer(n)) if n > i128::from(i64::MAX) => Ok(Some(Sign::Unsigned)),
            Some(Number::Integer(_)) => Err(unclear()),
        }
    }

    /// The parts of `window` that lie inside one shard group each and may hold points.
    pub(super) async fn windows_of_groups(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        keys: &FieldKeys,
        window: Window,
    ) -> Result<Vec<Window>> {
        let groups = match self.product {
            Product::Influx1 => self.shard_groups(db, rp).await?,
            Product::Influx2 => self.used_groups(db, rp, measurement, keys, window).await?,
        };
        Ok(windows::cut(&groups, window))
    }

    async fn policy(&self, db: &str, rp: &str) -> Result<RetentionPolicy> {
        let policies = self.retention_policies(db).await?;
        let wanted = |policy: &RetentionPolicy| if rp.is_empty() { policy.is_default } else { policy.name == rp };
        policies.into_iter().find(wanted).ok_or_else(|| {
            let what = format!("database \"{db}\" has no retention policy \"{rp}\"");
            Error::new(Kind::Answer, self.side(), what)
        })
    }

    async fn shard_groups(&self, db: &str, rp: &str) -> Result<Vec<Window>> {
        let policy = self.policy(db, rp).await?.name;
        let columns = ["database", "retention_policy", "start_time", "end_time"];
        let rows = self.show(db, rp, "SHOW SHARD GROUPS".to_owned(), columns).await.map_err(|error| {
            if error.kind() == Kind::Auth {
                error.hint(
                    "fields with several types can only be read where shard groups may be listed: use an administrator",
                )
            } else {
                error
            }
        })?;
        let of_policy = |row: &[Vec<u8>; 4]| row[0] == db.as_bytes() && row[1] == policy.as_bytes();
        rows.iter()
            .filter(|row| of_policy(row))
            .map(|row| {
                let end_ns = self.time(&row[3])?;
                // Printed in whole seconds: the last group ends in the last second of time, not before it.
                let end_ns = if end_ns > windows::TIME_MAX_NS - windows::SECOND_NS { i64::MAX } else { end_ns };
                Ok(Window { start_ns: self.time(&row[2])?, end_ns })
            })
            .collect()
    }

    fn time(&self, text: &[u8]) -> Result<i64> {
        let text = lossy(text);
        let time: jiff::Timestamp = text.parse().map_err(|e| {
            Error::new(Kind::Input, self.side(), format!("\"{text}\" is not the time of a shard group")).because(e)
        })?;
        Ok(windows::clamp(time.as_nanosecond()))
    }

    /// 2.x lists no shard groups: counts per type and group of the grid say where points are. A count over groups of
    /// several types leaves out what a cast cannot reach, so each type is counted for itself.
    async fn used_groups(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        keys: &FieldKeys,
        window: Window,
    ) -> Result<Vec<Window>> {
        let group_ns = i64::try_from(self.policy(db, rp).await?.shard_group.as_nanos()).unwrap_or(i64::MAX).max(1);
        let mut counts = vec!["count(*::field)".to_owned()];
        for (field, types) in keys.iter().filter(|(_, types)| types.len() > 1) {
            let name = std::str::from_utf8(field).map_err(|_| {
                let what = format!("field \"{}\" has several types and a name that is not UTF-8", lossy(field));
                Error::new(Kind::Answer, self.side(), what)
            })?;
            counts.extend(types.iter().map(|t| format!("count({}::{t})", quote::identifier(name))));
        }
        // The first and the last group of all time are always asked: `GROUP BY time()` loses points there.
        let mut groups = vec![windows::shard_group_at(windows::TIME_MIN_NS, group_ns)];
        groups.push(windows::shard_group_at(windows::TIME_MAX_NS, group_ns));
        let (from, clause) = (quote::measurement(measurement), window.bounded_clause());
        let grid = format!("time({group_ns}ns, {}ns)", windows::grid_offset_ns(group_ns));
        for count in counts {
            let statement = format!("SELECT {count} FROM {from}{clause} GROUP BY {grid} fill(none)");
            let mut objects = self.ask(db, rp, statement).await?;
            while let Some(times) = objects.next(|document| Ok(times_of(&document.blocks))).await? {
                groups.extend(times.into_iter().map(|time| windows::shard_group_at(time, group_ns)));
            }
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }
}

enum Number {
    Integer(i128),
    Float,
}

fn first_number(blocks: &[Block<'_>]) -> Option<Number> {
    let ValueRef::Array(row) = blocks.first()?.rows.first()? else { return None };
    match row.get(1)? {
        ValueRef::Integer(n) => {
            Some(Number::Integer(n.as_i64().map_or_else(|| n.as_u64().map_or(0, i128::from), i128::from)))
        }
        ValueRef::F64(_) => Some(Number::Float),
        _ => None,
    }
}

fn times_of(blocks: &[Block<'_>]) -> Vec<i64> {
    let time = |row: &ValueRef<'_>| match row {
        ValueRef::Array(items) => match items.first()? {
            ValueRef::Integer(time) => time.as_i64(),
            _ => None,
        },
        _ => None,
    };
    blocks.iter().flat_map(|block| block.rows.iter().filter_map(time)).collect()
}
