//! AWS' shared credentials file.
//!
//! ```text
//! [default]                        # a section for each profile
//! aws_access_key_id = AKIA…
//! aws_secret_access_key = …
//! aws_session_token = …            # when there is one
//! ```
//!
//! Profiles that say how to get keys instead of holding them (`role_arn`, `sso_session`,
//! `credential_process`) are refused with the key that makes them so.

use super::keys::Keys;
use crate::http::credentials::{CredentialError, Granted};

/// Keys of the file's text that name another source than the file.
const ELSEWHERE: [&str; 5] =
    ["role_arn", "source_profile", "credential_process", "sso_session", "sso_start_url"];

/// The keys of one profile. `place` is the file, for messages.
pub(super) fn keys(text: &[u8], name: &str, place: &str) -> Result<Granted<Keys>, CredentialError> {
    let text = String::from_utf8_lossy(text);
    let (mut found, mut inside) = (false, false);
    let (mut access_key, mut secret_key, mut session_token, mut elsewhere) =
        (None, None, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let section = section.trim();
            inside = section.strip_prefix("profile ").unwrap_or(section).trim() == name;
            found |= inside;
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match key.trim() {
                "aws_access_key_id" => access_key = value,
                "aws_secret_access_key" => secret_key = value,
                "aws_session_token" => session_token = value,
                other => {
                    elsewhere = elsewhere.or_else(|| ELSEWHERE.into_iter().find(|k| *k == other))
                }
            }
        }
    }
    let fault = |what: String| Err(CredentialError::Other(format!("no AWS keys: {what}")));
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => {
            let value = Keys { access_key, secret_key, session_token };
            Ok(Granted { value, lifetime: None })
        }
        _ if !found => fault(format!("{place} has no profile `{name}`")),
        _ => match elsewhere {
            Some(key) => fault(format!(
                "the profile `{name}` in {place} has `{key}` and no keys, which is not supported; \
                 set `role_arn` in `sigv4` and keys in the profile"
            )),
            None => fault(format!(
                "the profile `{name}` in {place} lacks aws_access_key_id or aws_secret_access_key"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles() {
        const FILE: &str = "# keys\n[default]\naws_access_key_id=a\naws_secret_access_key = b=c\n\n\
            [ profile other ]\r\n aws_access_key_id = d\r\n;x\naws_secret_access_key=e\n\
            aws_session_token=f\nregion = x\n[role]\nrole_arn = r\nsource_profile = default\n[half]\n\
            aws_access_key_id = g\naws_secret_access_key =\n";
        let check = |name: &str, expected: Result<&str, &str>| {
            let keys = keys(FILE.as_bytes(), name, "/aws").map(|granted| {
                let Keys { access_key, secret_key, session_token } = granted.value;
                format!("{access_key} {secret_key} {}", session_token.unwrap_or_default())
            });
            match (keys, expected) {
                (Ok(keys), Ok(expected)) => assert_eq!(keys, expected),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (keys, _) => panic!("{name}: {:?}", keys.map_err(|error| error.to_string())),
            }
        };
        check("default", Ok("a b=c "));
        check("other", Ok("d e f"));
        check("role", Err("`role_arn` and no keys"));
        check("half", Err("lacks aws_access_key_id or"));
        check("absent", Err("/aws has no profile `absent`"));
    }
}
