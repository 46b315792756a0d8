//! The doors of a 1.x server beside HTTP, as `SHOW DIAGNOSTICS` shows its settings.
//!
//! Measured on 1.13: a series `config-udp`, `config-graphite`, `config-collectd`, `config-opentsdb` stands there when one of that kind is
//! enabled, with a row for each; `config-monitor` says where the server keeps figures of its own.

use serde_json::Value;

use super::item::{Fate, Item};

const KINDS: [&str; 4] = ["udp", "graphite", "collectd", "opentsdb"];

/// From the answer's series.
pub(super) fn read(series: &[Value]) -> Vec<Item> {
    let mut items = Vec::new();
    for one in series {
        let name = one.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = name.strip_prefix("config-") else { continue };
        let rows = one.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for row in rows {
            let field = |wanted: &str| {
                let columns = one.get("columns").and_then(Value::as_array)?;
                row.get(columns.iter().position(|column| column.as_str() == Some(wanted))?)
            };
            let text = |wanted: &str| field(wanted).and_then(Value::as_str).unwrap_or_default().to_owned();
            let is_on = |wanted: &str| field(wanted).and_then(Value::as_bool) == Some(true);
            if KINDS.contains(&kind) && is_on("enabled") {
                items.push(listener(kind, &text("bind-address"), (&text("database"), &text("retention-policy"))));
            } else if kind == "monitor" && is_on("store-enabled") {
                items.push(monitor(&text("store-database"), &text("store-interval")));
            }
        }
    }
    items
}

fn listener(kind: &str, address: &str, (db, rp): (&str, &str)) -> Item {
    let target = if rp.is_empty() { db.to_owned() } else { format!("{db}/{rp}") };
    let does = "comes past Twinline: not copied by twinline yet; let its senders write line protocol over HTTP to Twinline, or \
                stop them before the cutover";
    Item::new(format!("{kind} {address}"), format!("writes to {target}"), Fate::Around, does).writes_to(Some(target))
}

fn monitor(db: &str, interval: &str) -> Item {
    let does = "figures of the source about itself: not mirrored, and not needed at the destination";
    let facts = format!("the server's own figures, every {interval}");
    Item::new(format!("monitor store {db}"), facts, Fate::Nothing, does).writes_to(Some(db.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn listeners_are_read_off_the_settings_of_1_13() {
        let series = json!([
            { "name": "build", "columns": ["Version"], "values": [["1.13.2"]] },
            { "name": "config-monitor", "columns": ["store-database", "store-enabled", "store-interval"],
              "values": [["_internal", true, "10s"]] },
            { "name": "config-udp", "columns": ["enabled", "bind-address", "database", "retention-policy"],
              "values": [[true, ":8089", "udp", ""], [false, ":8090", "off", ""]] },
            { "name": "config-opentsdb", "columns": ["enabled", "bind-address", "database", "retention-policy"],
              "values": [[true, ":4242", "tsdb", "week"]] },
            { "name": "udp:127.0.0.1:8089", "columns": ["local"], "values": [["x"]] },
        ]);
        let items = read(series.as_array().unwrap());
        let shown: Vec<_> = items.iter().map(|i| (i.name.as_str(), i.writes_to.as_deref(), i.fate)).collect();
        assert_eq!(
            shown,
            [
                ("monitor store _internal", Some("_internal"), Fate::Nothing),
                ("udp :8089", Some("udp"), Fate::Around),
                ("opentsdb :4242", Some("tsdb/week"), Fate::Around),
            ]
        );
    }
}
