//! Environment variables inside string values: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, and `$$` for one `$`.
//!
//! The file is parsed first, so that a value can never change the structure of the file, and a default may not hold another variable.

/// Replaces the variables of one string value. A `$` that begins none of the forms stays as it is.
///
/// # Errors
/// A sentence for the user: a variable that is not set and has no default, a `${` without `}`, a name that cannot be one.
pub(super) fn interpolate(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = inner.find('}').ok_or("\"${\" has no \"}\"; write \"$$\" where one \"$\" is meant")?;
            out.push_str(&variable(&inner[..end], env)?);
            rest = &inner[end + 1..];
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let name_end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("\"${{{inner}}}\" does not name an environment variable"));
    }
    let set = env(name);
    // As in a shell: with a colon, a variable that is set but empty counts as not set.
    let filled = set.clone().filter(|value| !value.is_empty());
    if rest.is_empty() {
        return set.ok_or_else(|| {
            format!("the environment variable {name} is not set; \"${{{name}:-value}}\" would give it a default")
        });
    }
    if let Some(default) = rest.strip_prefix(":-") {
        return Ok(filled.unwrap_or_else(|| default.to_owned()));
    }
    if let Some(message) = rest.strip_prefix(":?") {
        return filled.ok_or_else(|| match message {
            "" => format!("the environment variable {name} is not set"),
            message => format!("the environment variable {name} is not set: {message}"),
        });
    }
    Err(format!("\"${{{inner}}}\" is none of \"${{NAME}}\", \"${{NAME:-default}}\", \"${{NAME:?message}}\""))
}

#[cfg(test)]
mod tests {
    use super::interpolate;

    fn with_env(text: &str) -> Result<String, String> {
        interpolate(text, &|name| match name {
            "HOST" => Some("old".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST} $$ \"\n[x]".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn every_form_gives_its_value() {
        for (text, value) in [
            ("http://${HOST}:8086", "http://old:8086"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${NONE:-}", ""),
            ("${HOST:?needed}", "old"),
            ("a$$b$${HOST}", "a$b${HOST}"),
            ("5$ and $HOME", "5$ and $HOME"),
            ("ä${HOST}ö", "äoldö"),
        ] {
            assert_eq!(with_env(text), Ok(value.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_value_is_not_substituted_again() {
        assert_eq!(with_env("${TRICK}"), Ok("${HOST} $$ \"\n[x]".to_owned()));
    }

    #[test]
    fn what_cannot_be_substituted_names_the_variable() {
        for (text, word) in [
            ("${NONE}", "NONE"),
            ("${NONE:?set it to the old host}", "set it to the old host"),
            ("${EMPTY:?}", "EMPTY"),
            ("${HOST", "no \"}\""),
            ("${}", "does not name"),
            ("${1A}", "does not name"),
            ("${HOST:+x}", "none of"),
            ("${A-B}", "none of"),
        ] {
            let said = with_env(text).unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
