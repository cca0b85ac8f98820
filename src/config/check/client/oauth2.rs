//! `oauth2`.

use super::{Checker, proxy_keys};
use crate::config::{OAuth2, Secret, raw::RawOAuth2, value::At};

const EXAMPLE: &str = "expected one such as https://login.example.com/oauth2/token";

/// Parameters of a request for a token that have keys of their own.
const OWN_PARAMS: [(&str, &str); 4] = [
    ("grant_type", "the only grant is client_credentials"),
    ("client_id", "set `client_id`"),
    ("client_secret", "set `client_secret` or `client_secret_file`"),
    ("scope", "set `scopes`"),
];

impl Checker<'_> {
    pub(super) fn oauth2(&mut self, at: &At<RawOAuth2>) -> Option<OAuth2> {
        let At { value: raw, origin } = at;
        for (missing, key) in
            [(raw.client_id.is_none(), "client_id"), (raw.token_url.is_none(), "token_url")]
        {
            if missing {
                self.note(*origin, format!("oauth2 needs a `{key}`"));
            }
        }
        let client_id = self.filled(raw.client_id.as_ref(), "client_id");
        let (inline, file) = (raw.client_secret.as_ref(), raw.client_secret_file.as_ref());
        let client_secret = self.secret(inline, file, "client_secret");
        let token_url = raw.token_url.as_ref().and_then(|url| self.url(url, EXAMPLE));
        let scopes = raw.scopes.iter().flatten();
        let scopes = scopes.filter_map(|scope| self.text(scope)).collect();
        let mut endpoint_params = Vec::new();
        for (name, value) in raw.endpoint_params.iter().flat_map(|pairs| &pairs.0) {
            if let Some((_, help)) = OWN_PARAMS.iter().find(|(own, _)| *own == name.value) {
                let message = format!("`{}` cannot be among the endpoint_params", name.value);
                self.note_with_help(name.origin, message, help);
            }
            endpoint_params.extend(self.text(value).map(|text| (name.value.clone(), text)));
        }
        Some(OAuth2 {
            tls: raw.tls_config.as_ref().map(|raw| self.tls(raw)).unwrap_or_default(),
            proxy: self.proxy(&proxy_keys!(raw)),
            client_id: client_id?,
            client_secret: client_secret.unwrap_or_else(|| Secret::Inline(String::new())),
            token_url: token_url?,
            scopes,
            endpoint_params,
        })
    }
}
