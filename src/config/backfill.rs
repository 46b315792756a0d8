//! What copies of history may take, each number of which can be changed while they work.
//!
//! Promise: one table says of each key its name, type, default, range and what it is for; the section `[backfill]` of the file, the words
//! `KEY=VALUE` of the command line, documents and the text of a new configuration all come from it. A value that reads back is the same.

use std::fmt;
use std::time::Duration;

use super::document::{Section, nearest, plain_size, plain_span};
use super::schedule::{Schedule, Zone};
use super::url::BaseUrl;
use crate::base::size::{ByteSize, parse_span, show_span};

/// How a value stands in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A whole number.
    Number,
    /// A whole number, or a string with a unit.
    Size,
    /// A string.
    Text,
    /// `true` or `false`.
    Flag,
}

/// A value as people write it.
trait Setting: Sized {
    const FORM: Form;
    /// `range`: counts, bytes or milliseconds.
    fn read(text: &str, range: (u64, u64)) -> Result<Self, String>;
    fn shown(&self) -> String;
}

/// One key.
#[derive(Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub what: &'static str,
    form: Form,
    set: fn(&mut Backfill, &str) -> Result<(), String>,
    get: fn(&Backfill) -> String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! backfill_table {
    ($($key:ident: $type:ty = $default:literal, $range:expr, $what:literal;)*) => {
        /// What copies of history may take.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Backfill {
            $(#[doc = $what] pub $key: $type,)*
        }

        impl Default for Backfill {
            fn default() -> Self {
                Self {
                    $($key: <$type as Setting>::read($default, $range)
                        .unwrap_or_else(|why| unreachable!("the default of {}: {why}", stringify!($key))),)*
                }
            }
        }

        /// The whole table.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($key),
            what: $what,
            form: <$type as Setting>::FORM,
            set: |all, text| {
                all.$key = <$type as Setting>::read(text, $range)?;
                Ok(())
            },
            get: |all| all.$key.shown(),
        },)*];
    };
}

const RATE: (u64, u64) = (0, 1_000_000_000_000);
/// Up to a day, ms.
const SPAN: (u64, u64) = (0, 86_400_000);
const BYTES: (u64, u64) = (0, 1 << 50);
const ANY: (u64, u64) = (0, 0);

backfill_table! {
    paused: bool = "false", ANY, "nothing new is read or begun";
    rows_per_s: u64 = "0", RATE, "points a second to the destination; 0: any number";
    bytes_per_s: ByteSize = "0", RATE, "bytes a second to the destination, as they are sent; 0: any number";
    queries_at_once: u64 = "4", (1, 64), "queries of the source at once";
    requests_at_once: u64 = "4", (1, 64), "writes to the destination at once";
    delivery_lag_max: Duration = "10s", SPAN, "waits while a client's line waits for longer than this; 0: never";
    source_latency_max: Duration = "1s", SPAN, "waits while 5 % of clients' writes take longer at the source, over 30 s; 0: never";
    destination_latency_max: Duration = "2s", SPAN, "waits while 5 % of deliveries take longer, over 30 s; 0: never";
    destination_errors_max: u64 = "10", (0, 100), "waits while more percent of deliveries fail, over 30 s; 0: never";
    parked_bytes_max: ByteSize = "8MiB", BYTES, "waits while more of clients' lines is held back for copies; 0: never";
    disk_free_min: ByteSize = "1GiB", BYTES, "waits while data_dir has less room; 0: never";
    schedule: Schedule = "", ANY, "when copies may work: Mon-Fri 20:00-06:00, Sat, Sun; empty: always";
    schedule_zone: Zone = "UTC", ANY, "whose clock that is: local, UTC, or a name as Europe/Berlin";
    flag_file: FlagFile = "", ANY, "waits while this file is there; empty: none";
    hook_url: HookUrl = "", ANY, "waits unless GET answers 200 there; empty: nobody is asked";
    hook_every: Duration = "5s", (1_000, 3_600_000), "how often it is asked";
    hook_timeout: Duration = "2s", (10, 60_000), "no answer in this time is a no";
    quota_read: ByteSize = "0", BYTES, "bytes that the source's provider lets one read in a quota_window; 0: any number";
    quota_write: ByteSize = "0", BYTES, "bytes that the destination's provider takes in a quota_window; 0: any number";
    quota_share: u64 = "50", (1, 100), "percent of both that copies may use; with 50 no five minutes hold more than all";
    quota_window: Duration = "300s", (1_000, 86_400_000), "the provider's window; it begins at whole multiples of its length";
    batches: String = "", ANY, "database, database/policy or bucket of the destination that gets a point for each chunk; empty: none";
}

/// A file that stops copies while it is there; an empty path is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagFile(pub String);

/// Who is asked whether copies may go on; none where it is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookUrl(pub Option<BaseUrl>);

impl Backfill {
    /// Changes one key: `rows_per_s=5000`.
    ///
    /// # Errors
    /// A sentence for the user; nothing is changed then.
    pub fn change(&mut self, words: &str) -> Result<(), String> {
        let (name, value) = words
            .split_once('=')
            .ok_or_else(|| format!("\"{words}\" is no KEY=VALUE: write rows_per_s=5000, or rows_per_s=default"))?;
        self.set(name.trim(), value.trim())
    }

    /// Sets a key.
    ///
    /// # Errors
    /// As [`Backfill::change`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        (key(name)?.set)(self, value).map_err(|why| format!("{name}: {why}"))
    }

    /// The value of a key, as one would write it.
    #[must_use]
    pub fn shown(&self, key: &Key) -> String {
        (key.get)(self)
    }

    /// Reads the section of a file; what is wrong is a fault there.
    pub(super) fn of(section: Section<'_>) -> Self {
        let (mut all, defaults) = (Self::default(), Self::default());
        for key in KEYS {
            let example = written(key, &defaults);
            let Some(text) = section.plain(key.name, key.form, &example) else { continue };
            if let Err(why) = (key.set)(&mut all, &text) {
                section.fault(key.name, why, format!("{} = {example}", key.name));
            }
        }
        section.finish();
        all
    }

    /// The section as a new configuration has it: each default behind a `#`, and what it is for.
    #[must_use]
    pub fn template() -> String {
        let defaults = Self::default();
        let line = |key: &Key| {
            let setting = format!("#{} = {}", key.name, written(key, &defaults));
            format!("{setting:<40}# {}", key.what)
        };
        KEYS.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The key of this name.
///
/// # Errors
/// There is none; with the nearest one.
pub fn key(name: &str) -> Result<&'static Key, String> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| {
        let near = nearest(name, KEYS.iter().map(|key| key.name));
        let meant = near.map_or_else(String::new, |known| format!("; did you mean {known}?"));
        format!("there is no limit \"{name}\"{meant}")
    })
}

fn written(key: &Key, values: &Backfill) -> String {
    let text = (key.get)(values);
    match key.form {
        Form::Number | Form::Flag => text,
        Form::Size | Form::Text => format!("\"{text}\""),
    }
}

impl Setting for u64 {
    const FORM: Form = Form::Number;

    fn read(text: &str, (low, high): (u64, u64)) -> Result<Self, String> {
        let number = text.replace('_', "").parse().map_err(|_| format!("\"{text}\" is no whole number"))?;
        let within = (low..=high).contains(&number);
        within.then_some(number).ok_or_else(|| format!("{number} is not within {low} to {high}"))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    const FORM: Form = Form::Text;

    fn read(text: &str, _: (u64, u64)) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn shown(&self) -> String {
        self.clone()
    }
}

impl Setting for bool {
    const FORM: Form = Form::Flag;

    fn read(text: &str, _: (u64, u64)) -> Result<Self, String> {
        text.parse().map_err(|_| format!("\"{text}\" is not true or false"))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for ByteSize {
    const FORM: Form = Form::Size;

    fn read(text: &str, (low, high): (u64, u64)) -> Result<Self, String> {
        let size = Self::parse(text)?;
        let outside = || format!("{} is not within {} to {}", plain_size(size), Self(low), Self(high));
        (low..=high).contains(&size.0).then_some(size).ok_or_else(outside)
    }

    fn shown(&self) -> String {
        plain_size(*self)
    }
}

impl Setting for Duration {
    const FORM: Form = Form::Text;

    fn read(text: &str, (low, high): (u64, u64)) -> Result<Self, String> {
        // What is written is what holds: nothing finer than a millisecond.
        let span = Self::from_millis(u64::try_from(parse_span(text)?.as_millis()).unwrap_or(u64::MAX));
        let (low, high) = (Self::from_millis(low), Self::from_millis(high));
        let outside = || format!("\"{text}\" is not within {} to {}", show_span(low), show_span(high));
        (low..=high).contains(&span).then_some(span).ok_or_else(outside)
    }

    fn shown(&self) -> String {
        plain_span(*self)
    }
}

impl Setting for Schedule {
    const FORM: Form = Form::Text;

    fn read(text: &str, _: (u64, u64)) -> Result<Self, String> {
        Self::parse(text)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for Zone {
    const FORM: Form = Form::Text;

    fn read(text: &str, _: (u64, u64)) -> Result<Self, String> {
        Self::parse(text)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for FlagFile {
    const FORM: Form = Form::Text;

    fn read(text: &str, _: (u64, u64)) -> Result<Self, String> {
        match text {
            "" => Ok(Self::default()),
            // Whoever reads it stands in another directory than whoever writes it.
            text if text.starts_with('/') => Ok(Self(text.to_owned())),
            text => Err(format!("\"{text}\" is not the whole path of a file: it begins with /")),
        }
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Setting for HookUrl {
    const FORM: Form = Form::Text;

    fn read(text: &str, _: (u64, u64)) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { BaseUrl::parse(text).map(|url| Self(Some(url))) }
    }

    fn shown(&self) -> String {
        self.0.as_ref().map_or_else(String::new, ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_shows_reads_back_as_the_same() {
        let mut other = Backfill::default();
        for (name, value) in [
            ("paused", "true"),
            ("rows_per_s", "5_000"),
            ("bytes_per_s", "1.5MiB"),
            ("queries_at_once", "1"),
            ("delivery_lag_max", "1m30s"),
            ("source_latency_max", "250ms"),
            ("schedule", "Mon-Fri 20:00-06:00, Sat"),
            ("schedule_zone", "Europe/Berlin"),
            ("flag_file", "/run/twinline/wait"),
            ("hook_url", "http://127.0.0.1:9/may"),
            ("quota_read", "3GB"),
            ("quota_share", "100"),
            ("batches", "ops/autogen"),
        ] {
            other.change(&format!("{name}={value}")).unwrap();
        }
        for values in [Backfill::default(), other] {
            let mut again = Backfill::default();
            for key in KEYS {
                again.set(key.name, &values.shown(key)).unwrap();
            }
            assert_eq!(again, values);
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_changes_nothing() {
        let mut limits = Backfill::default();
        for (words, said) in [
            ("rows_per_s", "no KEY=VALUE"),
            ("rows_per_sec=5", "did you mean rows_per_s?"),
            ("rows_per_s=-1", "no whole number"),
            ("quota_share=101", "within 1 to 100"),
            ("quota_share=0", "within 1 to 100"),
            ("delivery_lag_max=2d", "not within"),
            ("delivery_lag_max=5", "not a span"),
            ("schedule=never", "no window"),
            ("flag_file=wait", "whole path"),
            ("hook_url=me:secret@host", "credentials"),
            ("paused=yes", "true or false"),
            ("disk_free_min=1XB", "not a size"),
        ] {
            let why = limits.change(words).unwrap_err();
            assert!(why.contains(said), "{words}: {why}");
        }
        assert_eq!(limits, Backfill::default());
    }
}
