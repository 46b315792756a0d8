//! `Retry-After`, in every form that a server or something before it may write.

use http::HeaderMap;

/// One request an hour hurts nobody; a longer wait would only keep us from seeing that the trouble is over.
const AFTER_MAX_S: u64 = 3600;

/// Seconds to wait, at most an hour: a number, also with a fraction (rounded up), or a date, by the server's own clock.
/// `None`, which leaves it to the ordinary back-off, where nothing is asked, where the text is neither, and for a date
/// without the answer's own `Date`.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text("retry-after")?;
    if let Ok(seconds) = asked.parse::<f64>() {
        let counts = !seconds.is_nan() && seconds >= 0.0;
        return counts.then(|| seconds.ceil().min(AFTER_MAX_S as f64) as u64);
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let (then, now) = (date(asked)?, date(text("date")?)?);
    Some(then.duration_since(now).map_or(0, |wait| wait.as_secs().min(AFTER_MAX_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &str)]) -> Option<u64> {
        let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        retry_after(&headers)
    }

    #[test]
    fn numbers_are_seconds_and_no_wait_is_longer_than_an_hour() {
        for (text, seconds) in
            [("3", Some(3)), ("0", Some(0)), ("2.5", Some(3)), (" 7 ", Some(7)), ("999999999999999999999", Some(3600))]
        {
            assert_eq!(asked(&[("retry-after", text)]), seconds, "{text}");
        }
        assert_eq!(asked(&[("retry-after", "inf")]), Some(3600));
        for nonsense in ["abc", "", "-1", "NaN", "3 s"] {
            assert_eq!(asked(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_date_is_read_by_the_servers_own_clock() {
        let then = ("retry-after", "Wed, 21 Oct 2015 07:33:00 GMT");
        assert_eq!(asked(&[then]), None, "no Date, no difference");
        assert_eq!(asked(&[then, ("date", "Wed, 21 Oct 2015 07:28:00 GMT")]), Some(300));
        assert_eq!(asked(&[then, ("date", "Wed, 21 Oct 2015 07:40:00 GMT")]), Some(0));
        assert_eq!(asked(&[then, ("date", "Tue, 20 Oct 2015 07:33:00 GMT")]), Some(3600));
    }
}
