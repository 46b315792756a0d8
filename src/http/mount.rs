//! A path under which clients find us, `/influx/write` for `/write`.
//!
//! It is taken off before anybody looks at a request: what comes under it is what would have come without it. What comes without it
//! is left as it is, so that clients of both kinds can share a listener.

use http::Request;
use http::uri::{PathAndQuery, Uri};

/// The request as it would have come without `prefix`, which begins with a slash and ends with none, or is empty.
pub(super) fn below<B>(prefix: &str, mut request: Request<B>) -> Request<B> {
    if let Some(target) = target_below(prefix, request.uri()) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(target);
        *request.uri_mut() = Uri::from_parts(parts).expect("it has the parts that it had");
    }
    request
}

fn target_below(prefix: &str, uri: &Uri) -> Option<PathAndQuery> {
    if prefix.is_empty() {
        return None;
    }
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    match rest.bytes().next() {
        Some(b'/') => PathAndQuery::try_from(rest).ok(),
        None | Some(b'?') => PathAndQuery::try_from(format!("/{rest}")).ok(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_where_it_is_one() {
        let below = |target: &str| below("/in/flux", Request::get(target).body(()).unwrap()).uri().to_string();
        for (target, expected) in [
            ("/in/flux/write?db=d", "/write?db=d"),
            ("/in/flux//write", "//write"),
            ("/in/flux/in/flux/ping", "/in/flux/ping"),
            ("/in/flux", "/"),
            ("/in/flux?q=1", "/?q=1"),
            ("http://host:1/in/flux/ping", "http://host:1/ping"),
            // Not its own.
            ("/in/fluxes/write", "/in/fluxes/write"),
            ("/write?x=/in/flux/", "/write?x=/in/flux/"),
            ("/", "/"),
            ("*", "*"),
        ] {
            assert_eq!(below(target), expected, "{target}");
        }
        let bare = super::below("", Request::get("/write").body(()).unwrap());
        assert_eq!(bare.uri(), "/write");
    }
}
