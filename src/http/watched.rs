//! The files that a client's credentials and certificates come from, all of them in one place, to tell
//! when a person has put right what a server refused.

use std::hash::{DefaultHasher, Hasher as _};

use super::secret::Text;
use crate::config::{Auth, AwsKeys, HttpClient, Secret, Tls};

/// The files of one client.
pub(super) struct Watched(Vec<Text>);

impl Watched {
    pub(super) fn new(config: &HttpClient) -> Self {
        let mut secrets = tls(&config.tls);
        secrets.extend(config.headers.iter().map(|(_, value)| value.clone()));
        match &config.auth {
            None => {}
            Some(Auth::Basic(basic)) => {
                secrets.extend([basic.username.clone(), basic.password.clone()]);
            }
            Some(Auth::Authorization(authorization)) => {
                secrets.push(authorization.credentials.clone());
            }
            Some(Auth::OAuth2(oauth2)) => {
                secrets.push(oauth2.client_secret.clone());
                secrets.extend(tls(&oauth2.tls));
            }
            Some(Auth::Sigv4(sigv4)) => secrets.extend(keys(&sigv4.keys)),
        }
        secrets.retain(|secret| matches!(secret, Secret::File(_)));
        Self(secrets.into_iter().map(Text::new).collect())
    }

    /// A number that changes when one of the files does: its time, its size, its inode or whether it
    /// can be read. Costs a `stat` a file.
    pub(super) fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.iter().for_each(|text| text.hash_file(&mut hasher));
        hasher.finish()
    }
}

fn tls(tls: &Tls) -> Vec<Secret> {
    let client = tls.client_cert.iter().flat_map(|(cert, key)| [cert, key]);
    tls.ca.iter().chain(client).cloned().collect()
}

fn keys(keys: &AwsKeys) -> Vec<Secret> {
    match keys {
        AwsKeys::Fixed { secret_key, session_token, .. } => {
            session_token.iter().chain([secret_key]).cloned().collect()
        }
        AwsKeys::WebIdentity { token, .. } => vec![token.clone()],
        AwsKeys::Profile { file, .. } => vec![Secret::File(file.clone())],
        AwsKeys::Container { token, .. } => token.iter().cloned().collect(),
        AwsKeys::Instance { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Authorization;

    #[test]
    fn a_file_that_changes_comes_or_goes_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let config = HttpClient {
            auth: Some(Auth::Authorization(Authorization {
                kind: "Bearer".to_owned(),
                credentials: Secret::File(path("token")),
            })),
            headers: vec![("x-key".to_owned(), Secret::Inline("a".to_owned()))],
            tls: Tls { ca: Some(Secret::File(path("ca"))), ..Tls::default() },
            ..HttpClient::default()
        };
        let watched = Watched::new(&config);
        assert_eq!(watched.0.len(), 2, "what is written in the configuration does not change");
        let mut seen = vec![watched.stamp()];
        let mut changed = |what: &str| {
            let stamp = watched.stamp();
            assert_eq!(stamp, watched.stamp());
            assert!(!seen.contains(&stamp), "{what}");
            seen.push(stamp);
        };
        fs::write(path("token"), "first").unwrap();
        changed("a file that comes");
        fs::write(path("token"), "second").unwrap();
        changed("another length");
        fs::write(path("new"), "third!").unwrap();
        fs::rename(path("new"), path("token")).unwrap();
        changed("another file of the same length");
        fs::write(path("ca"), "pem").unwrap();
        changed("another of the files");
        assert_ne!(watched.stamp(), seen[0]);
    }
}
