//! Nasty lines, from a seed: a grammar with escapes everywhere, recorded inputs, and random damage to both.
//!
//! Most lines begin with a number of their own, so that what two lines store does not mix.

use super::recorded::{cases, input};

/// Which oddities a server is sent in plenty; the others are rare for it, since it refuses each line that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taste {
    Influx,
    Victoria,
    Quest,
}

/// Longer recorded inputs are left to the tests of the record.
const RECORDED_MAX: usize = 400;
/// Names of this length are at the limit of InfluxDB.
const LONG: usize = 65_500;

#[derive(Debug)]
pub(crate) struct Generator {
    rng: fastrand::Rng,
    taste: Taste,
    number: u64,
    /// Of the timestamps.
    unit_ns: i64,
    recorded: Vec<Vec<u8>>,
}

impl Generator {
    pub(crate) fn new(seed: u64, taste: Taste) -> Self {
        let recorded = ["line-protocol/lp_oracles.jsonl", "line-protocol/lp_edge_cases.jsonl"]
            .into_iter()
            .flat_map(cases)
            .filter(|case| case["input"].is_string() || case["input"].is_object())
            .map(|case| input(&case))
            .filter(|input| input.len() <= RECORDED_MAX)
            .collect();
        Self { rng: fastrand::Rng::with_seed(seed), taste, number: 0, unit_ns: 1, recorded }
    }

    pub(crate) fn rng(&mut self) -> &mut fastrand::Rng {
        &mut self.rng
    }

    /// Lines are numbered from here on, so that those of two generators do not mix.
    #[allow(dead_code, reason = "not of all tests that share this")]
    pub(crate) fn start_at(&mut self, number: u64) {
        self.number = number;
    }

    /// From here on timestamps are in this unit, mostly.
    pub(crate) fn set_unit(&mut self, unit_ns: i64) {
        self.unit_ns = unit_ns;
    }

    /// True in `per_mille` of 1,000 calls.
    fn rarely(&mut self, per_mille: u32) -> bool {
        self.rng.u32(0..1000) < per_mille
    }

    fn pick<'t>(&mut self, from: &[&'t [u8]]) -> &'t [u8] {
        from[self.rng.usize(0..from.len())]
    }

    /// The next line, or what a damaged line has become: it may hold line feeds, and need not be one.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        self.number += 1;
        let marker = format!("m{}", self.number).into_bytes();
        let (from_record, between, damaged) = match self.taste {
            Taste::Influx => (60, 30, 80),
            Taste::Victoria | Taste::Quest => (60, 15, 80),
        };
        if self.rarely(between) {
            return self.between();
        }
        let mut line = if self.rarely(from_record) {
            let mut line = self.recorded[self.rng.usize(0..self.recorded.len())].clone();
            let at = if self.rarely(200) { line.iter().take_while(|b| b" \t\0".contains(b)).count() } else { 0 };
            if !self.rarely(100) {
                line.splice(at..at, marker);
            }
            line
        } else {
            self.sections(marker)
        };
        if self.rarely(damaged) {
            for _ in 0..self.rng.usize(1..4) {
                self.damage(&mut line);
            }
        }
        line
    }

    /// What is no line, or hardly one.
    fn between(&mut self) -> Vec<u8> {
        let all: [&[u8]; 14] = [
            b"",
            b" ",
            b"\t",
            b"\0",
            b"  \t",
            b"\r",
            b"#",
            b"# comment",
            b"#a=\"b",
            b"# a=\"b",
            b" # a b",
            b"# \\",
            b"#\tx=1",
            b"\xef\xbb\xbf",
        ];
        self.pick(&all).to_vec()
    }

    fn sections(&mut self, marker: Vec<u8>) -> Vec<u8> {
        let level = [0, 0, 0, 1, 1, 1, 1, 2][self.rng.usize(0..8)];
        let mut line = marker;
        if self.rarely(30) {
            line.splice(0..0, self.pick(&[b" ", b"\t", b"\0", b"  ", b"_"]).iter().copied());
        }
        self.name(level, &mut line);
        let mut keys = Vec::new();
        for _ in 0..[0, 1, 1, 2, 3][self.rng.usize(0..5)] {
            let key = self.key(level, &mut keys);
            line.push(b',');
            line.extend(key);
            line.push(b'=');
            let letter = self.rng.lowercase() as u8;
            line.push(letter);
            self.name(level, &mut line);
            if self.rarely(15) {
                let odd = self.pick(&[b",", b"=", b",a", b",=b", b",c="]);
                line.extend(odd);
            }
        }
        self.blank(&mut line);
        if !self.rarely(200) {
            keys.clear();
        }
        for number in 0..[1, 1, 2, 3, 5][self.rng.usize(0..5)] {
            if number > 0 {
                line.push(b',');
            }
            let key = self.key(level, &mut keys);
            line.extend(key);
            line.push(b'=');
            self.value(level, &mut line);
        }
        if !self.rarely(120) {
            self.blank(&mut line);
            let time = self.time();
            line.extend(time);
        }
        if self.rarely(40) {
            let behind = self.pick(&[b" ", b"  ", b"\r", b"\t", b"\0", b",", b" 1", b"\\", b" x=1", b"i"]);
            line.extend(behind);
        }
        line
    }

    fn blank(&mut self, line: &mut Vec<u8>) {
        let rare = if self.taste == Taste::Quest { 10 } else { 30 };
        let blank =
            if self.rarely(rare) { self.pick(&[b"  ", b" \t", b"\t", b" \0", b"   ", b"", b" \r"]) } else { b" " };
        line.extend(blank);
    }

    /// A tag's or field's name, mostly another than the names so far.
    fn key(&mut self, level: u8, taken: &mut Vec<Vec<u8>>) -> Vec<u8> {
        if self.rarely(12) {
            let reserved: [&[u8]; 16] = [
                b"time",
                b"_field",
                b"_measurement",
                b"_tagKey",
                b"_name",
                b"\xff",
                b"\0",
                b"timestamp",
                b"_time",
                b"_value",
                b"val0",
                b"",
                b"__name__",
                b"name",
                b"_seriesKey",
                b"\\=",
            ];
            return self.pick(&reserved).to_vec();
        }
        if !taken.is_empty() && self.rarely(25) {
            return taken[self.rng.usize(0..taken.len())].clone();
        }
        let mut key = vec![b'a' + taken.len() as u8 % 26];
        self.name(level, &mut key);
        taken.push(key.clone());
        key
    }

    /// The rest of a name: plain at level 0, with escapes at 1, with anything at 2.
    fn name(&mut self, level: u8, out: &mut Vec<u8>) {
        if self.rarely(4) {
            let length = match self.taste {
                Taste::Influx => LONG + self.rng.usize(0..50),
                Taste::Victoria => 200 + self.rng.usize(0..100),
                Taste::Quest => 100 + self.rng.usize(0..40),
            };
            out.resize(out.len() + length, b'x');
        }
        let plain: [&[u8]; 8] = [b"a", b"cpu", b"_", b"7", b"Z", b"host", b"\xc3\xa9", b"\xf0\x9f\x98\x80"];
        let escapes: [&[u8]; 8] = [b"\\ ", b"\\,", b"\\=", b"\\ a", b"b\\,", b"c\\=d", b"\\,\\ ", b"\\=\\,"];
        let dots: [&[u8]; 8] = [b".", b"-", b"'", b"/", b":", b"#", b"\"", b"*"];
        let nasty: [&[u8]; 20] = [
            b"\\",
            b"\\\\",
            b"\\\"",
            b"\\n",
            b"\\x",
            b"\\\\\\",
            b"\t",
            b"\r",
            b"\0",
            b"\x01",
            b"\x7f",
            b"\xff",
            b"\xc3",
            b"\xe2\x80\xa8",
            b"<&>",
            b"=",
            b"\"a b\"",
            b"\\\t",
            b"\\\n",
            b"\\\\ ",
        ];
        // Names of tables and columns are files, without commas.
        let of_files: [&[u8]; 8] = [b"\\ a", b"\\=", b"\\ _", b"c\\=d", b"\\=\\ 7", b"\\x", b"\\=\\=", b"#"];
        for _ in 0..self.rng.usize(0..4) {
            let kind = self.rng.u32(0..100);
            let escapes = if self.taste == Taste::Quest && !self.rarely(60) { &of_files } else { &escapes };
            let piece = match (level, kind) {
                (0, _) | (_, 0..=39) => self.pick(&plain),
                (1, 40..=84) | (_, 40..=59) => self.pick(escapes),
                // Most of what is nasty is forbidden in its names.
                (1, 85..=97) if self.taste == Taste::Quest => self.pick(escapes),
                (_, 60..=89) if self.taste != Taste::Quest => self.pick(&dots),
                _ => self.pick(&nasty),
            };
            out.extend(piece);
        }
    }

    fn value(&mut self, level: u8, out: &mut Vec<u8>) {
        match self.rng.u32(0..100) {
            0..=29 => self.number(out),
            30..=54 => {
                self.integer(out);
                out.push(b'i');
            }
            55..=57 if self.taste != Taste::Quest || self.rarely(100) => {
                self.integer(out);
                out.push(b'u');
            }
            55..=74 => {
                let words: [&[u8]; 12] =
                    [b"t", b"T", b"true", b"True", b"TRUE", b"f", b"F", b"false", b"False", b"FALSE", b"true", b"tRuE"];
                let word = self.pick(&words);
                out.extend(word);
            }
            75..=98 => self.text(level, out),
            _ => {
                let odd: [&[u8]; 28] = [
                    b"NaN",
                    b"inf",
                    b"-Inf",
                    b"+Inf",
                    b"infinity",
                    b"null",
                    b"abc",
                    b"'a'",
                    b"+1",
                    b"0x1p4",
                    b"0x10i",
                    b"1_0",
                    b"1_0i",
                    b"0x1.8p-1",
                    b"--1",
                    b"1e",
                    b"1..2",
                    b".",
                    b"-",
                    b"1f",
                    b"1d",
                    b"1n",
                    b"17t",
                    b"17m",
                    b"i",
                    b"u",
                    b"-1u",
                    b"1.0i",
                ];
                let odd = self.pick(&odd);
                out.extend(odd);
            }
        }
    }

    fn number(&mut self, out: &mut Vec<u8>) {
        let forms: [&[u8]; 26] = [
            b"0",
            b"-0",
            b"1",
            b"1.",
            b".5",
            b"-.5",
            b"1e5",
            b"1E+5",
            b"1e-5",
            b"00.1",
            b"1e-400",
            b"1e400",
            b"5e-324",
            b"1.7976931348623157e308",
            b"-1.7976931348623157e308",
            b"0.1",
            b"1e23",
            b"9007199254740993",
            b"1e21",
            b"123456789012345678901234567890",
            b"2.2250738585072014e-308",
            b"1.e3",
            b".5e3",
            b"0.30000000000000004",
            b"-0.0",
            b"4.35",
        ];
        match self.rng.u32(0..4) {
            0 => {
                let form = self.pick(&forms);
                out.extend(form);
            }
            1 => {
                let float = f64::from_bits(self.rng.u64(..));
                let float = if float.is_finite() { float } else { 0.25 };
                out.extend(if self.rng.bool() { format!("{float:e}") } else { format!("{float}") }.bytes().take(330));
            }
            2 => out.extend(format!("{}", self.rng.f64()).bytes()),
            _ => out.extend(format!("{}.{}", self.rng.i32(..), self.rng.u32(..)).bytes()),
        }
    }

    fn integer(&mut self, out: &mut Vec<u8>) {
        let forms: [&[u8]; 14] = [
            b"0",
            b"-0",
            b"1",
            b"007",
            b"9223372036854775807",
            b"-9223372036854775808",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"18446744073709551615",
            b"18446744073709551616",
            b"00000000000000000000000001",
            b"-1",
            b"2147483648",
            b"-2147483648",
        ];
        match self.rng.u32(0..3) {
            0 => {
                let form = self.pick(&forms);
                out.extend(form);
            }
            1 => out.extend(format!("{}", self.rng.i64(..)).bytes()),
            _ => out.extend(format!("{}", self.rng.u16(..)).bytes()),
        }
    }

    fn text(&mut self, level: u8, out: &mut Vec<u8>) {
        let pieces: [&[u8]; 22] = [
            b"a",
            b"word",
            b" ",
            b",",
            b"=",
            b"\\\"",
            b"\\\\",
            b"\\\\\\\"",
            b"\xc3\xa9",
            b"7",
            b"'",
            b"#",
            b"\\ ",
            b"\\,",
            b"\\n",
            b"\\x",
            b"<",
            b"\t",
            b"12",
            b"\\=",
            b"-0.5",
            b"e5",
        ];
        let nasty: [&[u8]; 16] = [
            b"\n",
            b"\r\n",
            b"\r",
            b"\0",
            b"\xff",
            b"\xc3",
            b"\x01",
            b"\"",
            b"\\",
            b"\\\n",
            b"\"\"",
            b"\\r",
            b"\xe2\x80\xa8",
            b"\x7f",
            b"\n# ",
            b"\"b",
        ];
        out.push(b'"');
        for _ in 0..self.rng.usize(0..6) {
            let piece = if level > 0 && self.rarely(150) { self.pick(&nasty) } else { self.pick(&pieces) };
            out.extend(piece);
        }
        out.push(b'"');
    }

    /// Around 2023, and now and then anything; few different ones, since each week is a shard of its own.
    fn time(&mut self) -> Vec<u8> {
        let ordinary: [&[u8]; 6] = [
            b"1700000000000000000",
            b"1700000000000000001",
            b"1700000001123456789",
            b"1700000000123",
            b"1700000000",
            b"28333333",
        ];
        let wild: [&[u8]; 32] = [
            b"0",
            b"1",
            b"-1",
            b"-0",
            b"01",
            b"007",
            b"9223372036854775806",
            b"-9223372036854775806",
            b"9223372036854775807",
            b"-9223372036854775807",
            b"-9223372036854775808",
            b"9223372036854775808",
            b"18446744073709551615",
            b"1.0",
            b"1e3",
            b"+1",
            b"1i",
            b"-",
            b"1n",
            b"1t",
            b"1m",
            b"\"1\"",
            b"0x1",
            b"1 2",
            b"",
            b"17000000000000000000000",
            b"1700000000000000000n",
            b"1700000000000000t",
            b"1700000000000m",
            b"2",
            b"1_000",
            b"9223372036854775",
        ];
        if self.rarely(60) {
            return self.pick(&wild).to_vec();
        }
        if self.rarely(100) {
            return self.pick(&ordinary).to_vec();
        }
        let odd_ns = [0, 1, 1_123_456_789, 60_000_000_000, 3_600_000_000_123][self.rng.usize(0..5)];
        ((1_700_000_000_000_000_000 + odd_ns) / self.unit_ns).to_string().into_bytes()
    }

    /// Changes one place.
    fn damage(&mut self, line: &mut Vec<u8>) {
        let pieces: [&[u8]; 24] = [
            b" ", b",", b"=", b"\"", b"\\", b"\n", b"\t", b"\r", b"\0", b"#", b"\\\\", b"\\\"", b"\\,", b"\\ ", b"\\=",
            b"\\\n", b"i", b"u", b".", b"-", b"0", b"e", b"\xff", b"\"\"",
        ];
        let at = self.rng.usize(0..=line.len());
        match self.rng.u32(0..6) {
            0..=2 => {
                let piece = self.pick(&pieces).to_vec();
                line.splice(at..at, piece);
            }
            3 if at < line.len() => drop(line.remove(at)),
            4 if at < line.len() => {
                let piece = self.pick(&pieces)[0];
                line[at] = piece;
            }
            _ => {
                let end = (at + self.rng.usize(0..8)).min(line.len());
                let copy = line[at..end].to_vec();
                let to = self.rng.usize(0..=line.len());
                line.splice(to..to, copy);
            }
        }
    }
}
