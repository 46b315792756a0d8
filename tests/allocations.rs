//! The parser allocates nothing on lines without escapes, of at most sixteen tags and sixteen fields.
//!
//! A test target of its own: the counting allocator is the whole program's. It counts by thread.

use std::borrow::Cow;

use twinline::line::{self, Dialect, Head, Malformed, Precision, Receiver, Tag, Value, Visitor};

const DIALECTS: [Dialect; 2] = [Dialect::Influx1, Dialect::Influx2];

/// Ordinary lines of every kind, timed or not, more than the parser's window holds.
fn ordinary() -> Vec<u8> {
    let mut text = String::new();
    for at in 0..400 {
        text +=
            &format!("cpu,host=server-{at:03},region=eu-west-1,rack=r{} idle=9{at}.25,user=-0.5,count={at}i ", at % 7);
        text += &format!(
            "17000000000000{at:05}\nup,z=1,a=2 ok=true,text=\"a, b = {at}\",big=12345678901234567890.123456789\n"
        );
    }
    text += "wide";
    (0..16).for_each(|tag| text += &format!(",tag{tag:02}=x"));
    (0..16).for_each(|field| text += &format!("{}field{field:02}={field}", if field > 0 { "," } else { " " }));
    (text + " 5\n# a comment\n\nm v=1").into_bytes()
}

/// Adds up what it is shown.
#[derive(Default)]
struct Sum(usize);

impl<'a> Visitor<'a> for Sum {
    fn begin(&mut self) {}
    fn tag(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.0 += key.len() + value.len();
    }
    fn field(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.0 += key.len() + value.len();
    }
    fn line(&mut self, measurement: &'a [u8], time: &'a [u8]) {
        self.0 += measurement.len() + time.len();
    }
    fn other(&mut self, line: &'a [u8]) {
        self.0 += line.len();
    }
}

impl<'a> Receiver<'a> for Sum {
    fn begin(&mut self) {}
    fn tag(&mut self, tag: Tag<'a>) {
        self.0 += borrowed(&tag.key()) + borrowed(&tag.value());
    }
    fn field(&mut self, key: &'a [u8], value: Value<'a>) {
        self.0 += key.len() + decoded(&value);
    }
    fn line(&mut self, head: Head<'a>) {
        self.0 += head.measurement.len() + head.time_ns.map_or(0, |_| 1);
    }
    fn refused(&mut self, line: Malformed<'a>) {
        panic!("the lines are sound: {line:?}");
    }
}

/// Bytes of a value that is not copied.
fn decoded(value: &Value<'_>) -> usize {
    match value {
        Value::String(text) => borrowed(text),
        Value::Undecodable(raw) => raw.len(),
        Value::Float(_) | Value::Integer(_) | Value::Unsigned(_) | Value::Bool(_) => 8,
    }
}

/// Bytes of a name that needed no unescaping.
#[expect(clippy::ptr_arg, reason = "whether it borrows is the question")]
fn borrowed(name: &Cow<'_, [u8]>) -> usize {
    assert!(matches!(name, Cow::Borrowed(_)), "a copy of {:?}", name.escape_ascii().to_string());
    name.len()
}

/// Reads everything that a body says, decoded and unescaped.
fn read_all(body: &[u8], dialect: Dialect) -> usize {
    let mut sum = 0;
    for line in line::lines(body, dialect, Precision::Nanosecond) {
        let line = line.expect("the lines are sound");
        sum += borrowed(&line.measurement()) + line.timestamp_ns().map_or(0, |_| 1);
        sum += line.tags().iter().map(|tag| borrowed(&tag.key()) + borrowed(&tag.value())).sum::<usize>();
        for field in line.fields() {
            sum += borrowed(&field.key()) + decoded(&field.value());
        }
    }
    sum
}

/// Allocations of a second run: the first takes the thread's spare room and finds out what the processor can do.
fn allocations(mut work: impl FnMut() -> usize) -> u64 {
    let first = work();
    let mut second = 0;
    let counted = allocation_counter::measure(|| second = work());
    assert!(first > 0 && first == second);
    counted.count_total
}

#[test]
fn the_common_path_of_every_level_allocates_nothing() {
    let body = ordinary();
    for dialect in DIALECTS {
        let boundaries = || {
            let mut sum = 0;
            line::boundaries(&body, |line| sum += line.len());
            sum
        };
        let spans = || {
            let mut sum = Sum::default();
            line::spans(&body, &mut sum);
            sum.0
        };
        let values = || {
            let mut sum = Sum::default();
            line::values(&body, dialect, Precision::Nanosecond, &mut sum);
            sum.0
        };
        let inspect = || line::inspect(&body, dialect, Precision::Nanosecond, 0).lines as usize;
        let outline = || {
            let mut lines = 0;
            line::outline(&body, dialect, Precision::Nanosecond, |line| {
                assert!(line.expect("the lines are sound").careful.is_none());
                lines += 1;
            });
            lines
        };
        for (level, allocated) in [
            ("boundaries", allocations(boundaries)),
            ("spans", allocations(spans)),
            ("inspect", allocations(inspect)),
            ("outline", allocations(outline)),
            ("values", allocations(values)),
            ("lines", allocations(|| read_all(&body, dialect))),
        ] {
            assert_eq!(allocated, 0, "{level} in {dialect:?}");
        }
    }
}

#[test]
fn what_has_to_be_copied_is_counted() {
    let copies = |body: &'static [u8]| {
        allocations(|| {
            line::lines(body, Dialect::Influx1, Precision::Nanosecond)
                .map(|line| line.expect("a sound line").measurement().len())
                .sum()
        })
    };
    assert_eq!(copies(b"m\\ 1 v=1 1\nm\\ 2 v=1 1\nm v=1 1\n"), 2, "two names are unescaped");
}
