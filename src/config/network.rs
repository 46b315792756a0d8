//! Addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`, or one alone.

use std::net::IpAddr;
use std::str::FromStr;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    begin: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it. IPv4 written as IPv6 is IPv4.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.begin, address.to_canonical()) {
            (IpAddr::V4(begin), IpAddr::V4(ip)) => same(begin.to_bits().into(), ip.to_bits().into(), 32 - self.bits),
            (IpAddr::V6(begin), IpAddr::V6(ip)) => same(begin.to_bits(), ip.to_bits(), 128 - self.bits),
            _ => false,
        }
    }
}

/// Whether two numbers are the same without their last bits.
fn same(one: u128, other: u128, last_bits: u8) -> bool {
    (one ^ other).checked_shr(u32::from(last_bits)).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| "does not begin with an IP address")?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let plain = |bits: &str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => Some(most),
            Some(bits) if plain(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            Some(_) => None,
        };
        Ok(Self { begin: ip, bits: bits.ok_or("has no number of bits behind its slash, at most 32 or 128")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_the_networks_that_they_begin_with() {
        let has = |network: &str, ip: &str| network.parse::<Network>().unwrap().has(ip.parse().unwrap());
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.9.9.9", "9.1.2.3"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("10.1.2.3/31", "::ffff:10.1.2.2", "10.1.2.4"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("::/0", "fe80::1", "127.0.0.1"),
        ] {
            assert!(has(network, inside) && !has(network, outside), "{network}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/+8", "a/8", "10.0.0.0/8/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
