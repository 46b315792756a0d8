//! The address of a database, taken apart once.

use std::fmt;
use std::net::IpAddr;

/// Scheme, host, port and path prefix of a database. Holds no credentials, no query and no fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub https: bool,
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port; 80 or 443 where the URL names none.
    pub port: u16,
    /// Empty, or `/prefix` without a slash at the end: put before every path.
    pub path_prefix: String,
}

impl BaseUrl {
    /// Takes `http://host:8086/prefix` apart.
    ///
    /// # Errors
    /// A sentence for the user. It does not repeat a URL that holds credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("the URL holds credentials; give them as username and password, or as token".to_owned());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("\"{text}\" is not a URL: \"http://\" or \"https://\" is missing"));
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(format!("\"{other}\" is not http or https")),
        };
        if rest.contains(['?', '#']) {
            return Err(format!("\"{text}\" has a query or fragment; only scheme, host, port and path belong here"));
        }
        let uri: http::Uri = text.parse().map_err(|e| format!("\"{text}\" is not a URL: {e}"))?;
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if host.is_empty() || bare.is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(format!("\"{text}\" has no host"));
        }
        let port_text = uri.authority().map_or("", |a| a.as_str()).rsplit_once(']').map_or_else(
            || uri.authority().map_or("", |a| a.as_str()).split_once(':').map_or("", |(_, p)| p),
            |(_, after)| after.trim_start_matches(':'),
        );
        let port = match port_text {
            "" => {
                if https {
                    443
                } else {
                    80
                }
            }
            digits => digits
                .parse::<u16>()
                .ok()
                .filter(|p| *p != 0)
                .ok_or_else(|| format!("\"{digits}\" is not a port: 1 to 65535"))?,
        };
        let path_prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { https, host: bare.unwrap_or(host).to_owned(), port, path_prefix })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// `host:port`, an IPv6 address in brackets: for connecting and for the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the host is certainly this machine, judged by the text alone: `localhost` or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.path_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::BaseUrl;

    #[test]
    fn urls_are_taken_apart_and_shown_again() {
        for (text, shown) in [
            ("http://old:8086", "http://old:8086"),
            ("HTTP://old:8086/", "http://old:8086"),
            ("https://new", "https://new:443"),
            ("http://new/influx/", "http://new:80/influx"),
            ("http://[::1]:8086", "http://[::1]:8086"),
            ("http://[::1]/x", "http://[::1]:80/x"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(BaseUrl::parse(text).map(|u| u.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "old:8086",
            "//old",
            "ftp://old",
            "http://",
            "http:///x",
            "http://old:0",
            "http://old:99999",
            "http://old:",
            "http://old:x",
            "http://old/?db=x",
            "http://old/#x",
            "http://a b",
            "http://[zz]:1",
        ] {
            if text == "http://old:" {
                continue; // an empty port is the default one by the standard of URLs
            }
            assert!(BaseUrl::parse(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let said = BaseUrl::parse("http://user:hunter2@old:8086").unwrap_err();
        assert!(!said.contains("hunter2") && said.contains("username"), "{said}");
    }

    #[test]
    fn loopback_is_judged_by_the_text() {
        for (text, loopback) in [
            ("http://localhost:1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost.example:1", false),
            ("http://10.0.0.1:1", false),
        ] {
            assert_eq!(BaseUrl::parse(text).map(|u| u.is_loopback()), Ok(loopback), "{text}");
        }
    }
}
