//! What a `precision` parameter really means, by server, version and endpoint. Source: answers measured on 1.6 to 2.9.
//!
//! Names are not portable and failures are silent: 2.x `/write` takes `u`, `m`, `h` and every unknown name as nanoseconds
//! with 204; 1.6 and 1.7 take `us` so; 1.8 and 1.9 answer 400 to an unknown name and store nanoseconds all the same.

use super::server::{Flavor, Version};
use crate::line::Precision;

/// Which write endpoint a client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/write`
    V1,
    /// `/api/v2/write`
    V2,
}

/// The unit in which the server reads the timestamps of a write. A name that the server refuses reads as nanoseconds:
/// its answer decides then.
#[must_use]
pub fn effective(version: &Version, api: Api, name: Option<&str>) -> Precision {
    let name = name.unwrap_or_default();
    match (version.flavor, api) {
        (Flavor::Influx1, Api::V1) => match name {
            "u" => Precision::Microsecond,
            "ms" => Precision::Millisecond,
            "s" => Precision::Second,
            "m" => Precision::Minute,
            "h" => Precision::Hour,
            _ => Precision::Nanosecond,
        },
        // 1.8 and 1.9 say 400 to `u`, `m`, `h` here and store in that unit; later ones store nothing.
        (Flavor::Influx1, Api::V2) => match name {
            "us" | "u" => Precision::Microsecond,
            "ms" => Precision::Millisecond,
            "s" => Precision::Second,
            "m" => Precision::Minute,
            "h" => Precision::Hour,
            _ => Precision::Nanosecond,
        },
        (Flavor::Influx2, _) => match name {
            "us" => Precision::Microsecond,
            "ms" => Precision::Millisecond,
            "s" => Precision::Second,
            _ => Precision::Nanosecond,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_each_endpoint_makes_of_them() {
        let one = Version::read("1.13.2").unwrap();
        let two = Version::read("v2.9.1").unwrap();
        let cases = [
            (&one, Api::V1, Some("h"), Precision::Hour),
            (&one, Api::V1, Some("us"), Precision::Nanosecond),
            (&one, Api::V2, Some("us"), Precision::Microsecond),
            (&two, Api::V1, Some("h"), Precision::Nanosecond),
            (&two, Api::V1, Some("u"), Precision::Nanosecond),
            (&two, Api::V2, Some("us"), Precision::Microsecond),
            (&two, Api::V1, None, Precision::Nanosecond),
        ];
        for (version, api, name, want) in cases {
            assert_eq!(effective(version, api, name), want, "{} {api:?} {name:?}", version.text);
        }
    }
}
