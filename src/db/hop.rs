//! Headers that belong to one connection and must not be passed on (RFC 9110, section 7.6.1).

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE};

const NAMES: [HeaderName; 6] = [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// Removes them, with whatever `Connection` names. What stays may change its order.
pub fn strip(headers: &mut HeaderMap) {
    for name in named(headers) {
        headers.remove(name);
    }
    for name in NAMES {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The same, and what stays keeps its order.
pub fn strip_in_order(headers: &mut HeaderMap) {
    // The servers put `Transfer-Encoding` last, where taking it out moves nothing; `Connection` stands anywhere.
    if !headers.contains_key(CONNECTION) {
        return strip(headers);
    }
    let mut gone = named(headers);
    gone.extend(NAMES);
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut last = None;
    for (name, value) in headers.drain() {
        last = name.or(last);
        if let Some(name) = last.as_ref().filter(|name| !gone.contains(name)) {
            kept.append(name, value);
        }
    }
    *headers = kept;
    strip(headers);
}

fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_goes_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Hop"), ("x-hop", "1"), ("keep-alive", "5"), ("x-far", "2")] {
            headers.insert(name, value.parse().unwrap());
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), vec!["x-far"]);
    }

    #[test]
    fn what_stays_can_keep_its_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("a", "1"), ("connection", "close, x-hop"), ("b", "2"), ("x-hop", "1"), ("b", "3"), ("c", "4"), ("d", "5")]
        {
            headers.append(name, value.parse().unwrap());
        }
        strip_in_order(&mut headers);
        let left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("a", "1"), ("b", "2"), ("b", "3"), ("c", "4"), ("d", "5")]);
    }
}
