//! What kind of file it is, by its beginning.

use super::Format;
use super::walk::MARK;

/// Bytes of a file that [`sniff`] wants to see; fewer where the file is shorter.
pub const HEAD_BYTES: usize = 64 << 10;

/// A file that is neither of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alien {
    /// For people: what it looks like.
    pub what: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

const TSM: &[u8] = &[0x16, 0xd1, 0x16, 0xd1];

/// Beginnings of files that people have at hand, none of which are text.
static KNOWN: [(&[u8], Alien); 5] = [
    (TSM, Alien { what: "a TSM file", hint: "influx_inspect export writes it out as line protocol" }),
    (b"PAR1", Alien { what: "a Parquet file", hint: "export it as line protocol or annotated CSV" }),
    (b"PK\x03\x04", Alien { what: "a zip archive", hint: "unpack it first" }),
    (b"\x28\xb5\x2f\xfd", Alien { what: "packed with zstd", hint: "zstd -dc FILE | twinline import -" }),
    (b"BZh", Alien { what: "packed with bzip2", hint: "bzip2 -dc FILE | twinline import -" }),
];

/// The kind of a file that begins so. A file that holds nothing is line protocol.
///
/// # Errors
/// It is neither line protocol nor annotated CSV.
pub fn sniff(head: &[u8]) -> Result<Format, Alien> {
    if let Some((_, alien)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(*alien);
    }
    let text = head.strip_prefix(MARK).unwrap_or(head).trim_ascii_start();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    if [&b"#datatype"[..], b"#group", b"#default"].iter().any(|row| first.starts_with(row)) {
        return Ok(Format::Flux);
    }
    if first.starts_with(b",result,table") || first == b",error,reference" {
        return Ok(Format::Flux);
    }
    if first.starts_with(b"name,tags,time,") {
        let hint = "it does not say which values are integers: export line protocol with influx_inspect export";
        return Err(Alien { what: "CSV of InfluxQL", hint });
    }
    if first.starts_with(b"{") || first.starts_with(b"[") {
        return Err(Alien { what: "JSON", hint: "export it as line protocol or annotated CSV" });
    }
    if head.contains(&0) && !text.starts_with(b"#") {
        let hint = "twinline import reads line protocol and annotated CSV, each also packed with gzip; --format for one that is";
        return Err(Alien { what: "no text", hint });
    }
    Ok(Format::Lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_found_by_content() {
        for (head, kind) in [
            (&b"#datatype,string,long\r\n"[..], Format::Flux),
            (b"\r\n#group,false\r\n", Format::Flux),
            (b",result,table,_time\r\n", Format::Flux),
            (b"# INFLUXDB EXPORT: a - b\n", Format::Lines),
            (b"m,t=a v=1 1\n", Format::Lines),
            (b"", Format::Lines),
            (b"\xef\xbb\xbf#datatype,string,long\r\n", Format::Flux),
        ] {
            assert_eq!(sniff(head), Ok(kind), "{}", head.escape_ascii());
        }
        for (head, what) in [
            (&b"\x16\xd1\x16\xd1\x01rest"[..], "a TSM file"),
            (b"name,tags,time,v\nm,,1,2\n", "CSV of InfluxQL"),
            (b"{\"results\":[]}", "JSON"),
            (b"a\0b", "no text"),
        ] {
            assert_eq!(sniff(head).unwrap_err().what, what, "{}", head.escape_ascii());
        }
    }
}
