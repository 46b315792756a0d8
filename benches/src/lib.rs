//! Bodies to measure with. Each is made anew from a fixed seed: the same bytes everywhere.

pub mod measure;

use fastrand::Rng;
use twinline::line::{Head, Malformed, Receiver, Tag, Value};

/// A kind of body, and what it stands for.
pub type Corpus = (&'static str, fn(usize) -> Vec<u8>);

/// What clients send, and what nobody should.
pub const CORPORA: [Corpus; 5] =
    [("telegraf", telegraf), ("tsbs", tsbs), ("iot", iot), ("escapes", escapes), ("adversarial", adversarial)];

const BEGIN_NS: i64 = 1_700_000_000_000_000_000;

fn fill(bytes: usize, seed: u64, mut line: impl FnMut(&mut Rng, &mut String, i64)) -> Vec<u8> {
    let (mut rng, mut text, mut at_ns) = (Rng::with_seed(seed), String::new(), BEGIN_NS);
    while text.len() < bytes {
        at_ns += 1_000_000;
        line(&mut rng, &mut text, at_ns);
    }
    text.into_bytes()
}

/// `cpu` as Telegraf sends it: ten sorted tags, ten floats, half of them zero; about 410 bytes a line.
pub fn telegraf(bytes: usize) -> Vec<u8> {
    const FIELDS: [&str; 10] =
        ["guest", "guest_nice", "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
    fill(bytes, 7, |rng, text, at_ns| {
        *text += &format!(
            "cpu,cpu=cpu{},datacenter=eu-west-1{},host=server-{:04},os=ubuntu,rack={},region=eu-west-1,service={},\
             service_environment=production,service_version={},team=SF ",
            rng.u32(0..64),
            ['a', 'b', 'c'][rng.usize(0..3)],
            rng.u32(0..4000),
            rng.u32(0..100),
            rng.u32(0..20),
            rng.u32(0..3),
        );
        for (at, field) in FIELDS.into_iter().enumerate() {
            let value = if rng.bool() { rng.f64() * 100.0 } else { 0.0 };
            *text += &format!("{}usage_{field}={value}", if at > 0 { "," } else { "" });
        }
        *text += &format!(" {at_ns}\n");
    })
}

/// Nine measurements of the devops case of TSBS: ten tags that are not sorted, 6 to 29 integers.
pub fn tsbs(bytes: usize) -> Vec<u8> {
    const KINDS: [(&str, usize); 9] = [
        ("cpu", 10),
        ("disk", 7),
        ("diskio", 7),
        ("kernel", 6),
        ("mem", 9),
        ("net", 8),
        ("nginx", 7),
        ("postgresl", 16),
        ("redis", 29),
    ];
    fill(bytes, 8, |rng, text, at_ns| {
        let (name, fields) = KINDS[rng.usize(0..KINDS.len())];
        *text += &format!(
            "{name},hostname=host_{},region=eu-central-1,datacenter=eu-central-1a,rack={},os=Ubuntu15.10,arch=x64,team=SF,\
             service={},service_version={},service_environment=production ",
            rng.u32(0..4000),
            rng.u32(0..100),
            rng.u32(0..20),
            rng.u32(0..3),
        );
        for at in 0..fields {
            let bits = rng.u32(4..40);
            *text += &format!("{}counter_{at:02}={}i", if at > 0 { "," } else { "" }, rng.u64(0..1 << bits));
        }
        *text += &format!(" {at_ns}\n");
    })
}

/// Two tags and one short float: 56 bytes a line.
pub fn iot(bytes: usize) -> Vec<u8> {
    fill(bytes, 9, |rng, text, at_ns| {
        let (device, site, value) = (rng.u32(0..99_999), rng.u32(0..99), rng.f64() * 40.0);
        *text += &format!("temp,dev=d{device:05},site=s{site} v={value:.2} {at_ns}\n");
    })
}

/// Every name escaped and every value a string with escaped quotes.
pub fn escapes(bytes: usize) -> Vec<u8> {
    fill(bytes, 10, |rng, text, at_ns| {
        *text += &format!(
            "log\\ lines,host\\ name=web\\,{},path=/var/log/a\\ b message=\"GET \\\"/{}\\\" said \\\\ok\\\\\",agent=\"a \\\"b\\\" c\" {at_ns}\n",
            rng.u32(0..4000),
            rng.u64(0..1 << 40),
        );
    })
}

/// One after another: a string of nothing but `\"`, ten thousand tags, a key of 60 KiB.
pub fn adversarial(bytes: usize) -> Vec<u8> {
    fill(bytes, 11, |_, text, at_ns| {
        *text += &format!("m s=\"{}\" {at_ns}\n", "\\\"".repeat(32 << 10));
        *text += "m";
        for tag in 0..10_000 {
            *text += &format!(",{tag:04}=x");
        }
        *text += &format!(" v=1 {at_ns}\nm,{}=x v=1 {at_ns}\n", "k".repeat(60 << 10));
    })
}

/// Bodies that try one thing each: the cost of a byte must not grow with them.
pub fn shapes(bytes: usize) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("plain", telegraf(bytes)),
        ("quotes", fill(bytes, 1, |_, text, _| *text += &format!("m s=\"{}\" 1\n", "\\\"".repeat(16 << 10)))),
        (
            "many-tags",
            fill(bytes, 1, |_, text, _| {
                *text += "m";
                (0..10_000).for_each(|tag| *text += &format!(",{tag:04}=x"));
                *text += " v=1 1\n";
            }),
        ),
        ("long-keys", fill(bytes, 1, |_, text, _| *text += &format!("m,{}=x v=1 1\n", "k".repeat(60 << 10)))),
        ("no-line-feed", vec![b'x'; bytes]),
        ("open-quote", [b"m s=\"".as_slice(), &vec![b'x'; bytes]].concat()),
        ("backslashes", vec![b'\\'; bytes]),
        ("line-feeds", vec![b'\n'; bytes]),
        ("separators", b",= ".repeat(bytes / 3)),
    ]
}

/// Adds up the values; names are looked at, nothing is kept.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Of the values and times.
    pub sum: u64,
    /// Accepted lines.
    pub lines: u64,
}

impl<'a> Receiver<'a> for Decoded {
    fn begin(&mut self) {}
    fn tag(&mut self, tag: Tag<'a>) {
        self.sum ^= tag.raw_value().len() as u64;
    }
    fn field(&mut self, key: &'a [u8], value: Value<'a>) {
        self.sum = self.sum.wrapping_add(number(&value) ^ key.len() as u64);
    }
    fn line(&mut self, head: Head<'a>) {
        self.lines += 1;
        self.sum = self.sum.wrapping_add(head.time_ns.unwrap_or_default().cast_unsigned());
    }
    fn refused(&mut self, line: Malformed<'a>) {
        self.sum = self.sum.wrapping_add(line.at as u64);
    }
}

fn number(value: &Value<'_>) -> u64 {
    match value {
        Value::Float(value) => value.to_bits(),
        Value::Integer(value) => value.cast_unsigned(),
        Value::Unsigned(value) => *value,
        Value::Bool(value) => u64::from(*value),
        Value::String(text) => text.len() as u64,
        Value::Undecodable(raw) => raw.len() as u64,
    }
}
