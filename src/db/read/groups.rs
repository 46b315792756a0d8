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

    /// Finds the sign class by arithmetic on the first value: taking the largest signed number from a smaller one gives
    /// a negative number when signed, and wraps to a huge one when unsigned. `None` when the window holds no integer
    /// there.
    async fn probe_sign(
        &self,
        db: &str,
        rp: &str,
        measurement: &[u8],
        field: &[u8],
        window: Window,
    ) -> Result<Option<Sign>> {
        const MAX: i128 = i64::MAX as i128;
        let unclear = || {
            let what = format!("it cannot be found out whether field \"{}\" is unsigned", lossy(field));
            Error::new(Kind::Answer, self.side(), what)
        };
        let name = quote::identifier(std::str::from_utf8(field).map_err(|_| unclear())?);
        let from = format!("FROM {}{}", quote::measurement(measurement), window.clause());
        let ask = async |value: &str| self.first_integer(db, rp, format!("SELECT {value} {from}")).await;
        let first = match ask(&format!("first({name})")).await? {
            None => return Ok(None),
            Some(first) => first,
        };
        let shift = match first {
            ..0 => return Ok(Some(Sign::Signed)),
            MAX => "+ 1".to_owned(),
            0..MAX => format!("- {MAX}"),
            _ => return Ok(Some(Sign::Unsigned)),
        };
        match ask(&format!("first({name}) {shift}")).await? {
            Some(..0) => Ok(Some(Sign::Signed)),
            Some(number) if number > MAX => Ok(Some(Sign::Unsigned)),
            _ => Err(unclear()),
        }
    }

    /// The integer in the first row of an answer; `None` when there is no row, or another type.
    async fn first_integer(&self, db: &str, rp: &str, statement: String) -> Result<Option<i128>> {
        let mut objects = self.ask(db, rp, statement).await?;
        let mut found = None;
        while let Some(number) = objects.next(|document| Ok(integer_of(&document.blocks))).await? {
            found = found.or(number);
        }
        Ok(found)
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

    /// The policy that `rp` names; the default one for an empty name.
    pub(super) async fn policy(&self, db: &str, rp: &str) -> Result<RetentionPolicy> {
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
            .map(|(_, row)| row)
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
        let policy = self.policy(db, rp).await?.name;
        let group_ns = self.bucket_group_ns(db, &policy).await?;
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

fn integer_of(blocks: &[Block<'_>]) -> Option<i128> {
    let ValueRef::Array(row) = blocks.first()?.rows.first()? else { return None };
    let ValueRef::Integer(number) = row.get(1)? else { return None };
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
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
