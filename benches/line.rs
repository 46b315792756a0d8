//! How fast each level of the line-protocol parser is with each scanner, beside memcpy, a count of line feeds and the crate
//! `influxdb-line-protocol`, all in one run. `cargo run --profile bench --bin report` makes a table of the ratios from it.
//!
//! Groups are corpora; names are `level/scanner`, and `op/…` for what the proxy does with whole bodies. One core; bodies of 1 MiB.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use twinline::line::scan::Level;
use twinline::line::{self, Dialect, Part, Precision, Rules, Visitor};
use twinline_benches::{CORPORA, Decoded, shapes};

const BODY_BYTES: usize = 1 << 20;

/// Adds up the lengths of all parts: each is touched, none is kept.
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

fn lines(level: Level, body: &[u8]) -> usize {
    let mut count = 0;
    line::boundaries_with(level, body, |line| count += line.len());
    count
}

fn spans(level: Level, body: &[u8]) -> usize {
    let mut sum = Sum::default();
    line::spans_with(level, body, &mut sum);
    sum.0
}

fn checked(level: Level, body: &[u8]) -> u32 {
    line::inspect_with(level, body, Dialect::Influx2, Precision::Nanosecond, 0).lines
}

fn values(level: Level, body: &[u8]) -> u64 {
    let mut decoded = Decoded::default();
    line::values_with(level, body, Dialect::Influx2, Precision::Nanosecond, &mut decoded);
    decoded.sum
}

fn levels(criterion: &mut Criterion) {
    for (name, make) in CORPORA {
        let body = make(BODY_BYTES);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let mut copy = vec![0u8; body.len()];
        group.bench_function("memcpy", |b| b.iter(|| copy.copy_from_slice(black_box(&body))));
        group.bench_function("line-feeds", |b| b.iter(|| memchr::memchr_iter(b'\n', black_box(&body)).count()));
        for level in Level::all() {
            let scanner = level.name();
            group.bench_function(format!("lines/{scanner}"), |b| b.iter(|| lines(level, black_box(&body))));
            group.bench_function(format!("spans/{scanner}"), |b| b.iter(|| spans(level, black_box(&body))));
            group.bench_function(format!("checked/{scanner}"), |b| b.iter(|| checked(level, black_box(&body))));
            group.bench_function(format!("values/{scanner}"), |b| b.iter(|| values(level, black_box(&body))));
        }
        let text = std::str::from_utf8(&body).expect("corpora are UTF-8");
        group.bench_function("crate", |b| {
            b.iter(|| {
                influxdb_line_protocol::parse_lines(black_box(text))
                    .map(|line| line.map_or(0, |l| l.field_set.len()))
                    .sum::<usize>()
            });
        });
        group.finish();
    }
}

/// What the proxy does with whole bodies, with the best scanner; beside `checked` in the same group.
fn operations(criterion: &mut Criterion) {
    let mut rules = Rules::default();
    rules.drop(Part::Measurement, "debug_*").expect("a sound rule");
    rules.drop(Part::Tag, "secret*").expect("a sound rule");
    rules.rename(Part::Field, "old_*", "new_*").expect("a sound rule");
    let mut renaming = Rules::default();
    renaming.rename(Part::Tag, "host*", "box*").expect("a sound rule");
    let (dialect, precision) = (Dialect::Influx2, Precision::Nanosecond);
    for (name, make) in CORPORA {
        let body = make(BODY_BYTES);
        let untimed = without_times(&body);
        let apply = |rules: &Rules, body: &[u8]| rules.apply(body, dialect, precision, |_, _| {}).len();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("op/rescale", |b| {
            // Times of the corpora are whole milliseconds.
            b.iter(|| line::rescale(black_box(&body), dialect, precision, Precision::Millisecond, |_, _| {}).len());
        });
        group.bench_function("op/sketch", |b| b.iter(|| line::sketch(black_box(&body), dialect, precision, 64)));
        group.bench_function("op/rules-untouched", |b| b.iter(|| apply(&rules, black_box(&body))));
        group.bench_function("op/rules-renaming", |b| b.iter(|| apply(&renaming, black_box(&body))));
        group.throughput(Throughput::Bytes(untimed.len() as u64));
        group.bench_function("op/stamp", |b| b.iter(|| line::stamp(black_box(&untimed), dialect, precision, 1).len()));
        group.finish();
    }
}

fn without_times(body: &[u8]) -> Vec<u8> {
    let mut untimed = Vec::with_capacity(body.len());
    for line in line::lines(body, Dialect::Influx2, Precision::Nanosecond).filter_map(Result::ok) {
        untimed.extend_from_slice(&body[line.span().start..line.fields_end()]);
        untimed.push(b'\n');
    }
    untimed
}

fn worst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("worst");
    for (name, body) in shapes(BODY_BYTES) {
        group.throughput(Throughput::Bytes(body.len() as u64));
        let level = Level::all().last().copied().unwrap_or(Level::Swar);
        group.bench_function(format!("{name}/checked"), |b| b.iter(|| checked(level, black_box(&body))));
        group.bench_function(format!("{name}/lines"), |b| b.iter(|| lines(level, black_box(&body))));
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    targets = levels, operations, worst
}
criterion_main!(all);
