//! `sigv4`: which keys, which region, which security token service.
//!
//! Keys come from the first of these that is there, as in AWS' own libraries:
//!
//! ```text
//! access_key, secret_key                              the configuration
//! profile                                             the configuration
//! AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY            the environment
//! AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN           EKS service accounts and the like
//! AWS_PROFILE or AWS_SHARED_CREDENTIALS_FILE          a credentials file
//! AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, …_FULL_URI  ECS, EKS Pod Identity
//! the metadata service of EC2                         unless AWS_EC2_METADATA_DISABLED
//! ```
//!
//! The environment is read here and only here, so that `check` and tests see what `run` does.

use std::path::PathBuf;

use hyper::Uri;

use super::Checker;
use crate::config::{
    AwsKeys, AwsRole, Secret, Sigv4,
    raw::RawSigv4,
    value::{At, Origin},
};

/// Amazon Managed Service for Prometheus.
const SERVICE: &str = "aps";
const SESSION: &str = "flinkrelay";
/// Where ECS answers to `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
const CONTAINER_HOST: &str = "http://169.254.170.2";
const METADATA_SERVICE: &str = "http://169.254.169.254";

impl Checker<'_> {
    pub(super) fn sigv4(&mut self, at: &At<RawSigv4>) -> Option<Sigv4> {
        let At { value: raw, origin } = at;
        let given = self.filled(raw.region.as_ref(), "region");
        let region = given
            .or_else(|| self.variable("AWS_REGION"))
            .or_else(|| self.variable("AWS_DEFAULT_REGION"));
        let is_region = |region: &str| {
            !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let place = raw.region.as_ref().map_or(*origin, |region| region.origin);
        match &region {
            None => self.note_with_help(
                place,
                "no AWS region is given".to_owned(),
                "set `region`, such as eu-central-1, or the variable AWS_REGION",
            ),
            Some(region) if !is_region(region) => {
                self.note(place, format!("`{region}` is not the name of an AWS region"));
            }
            Some(_) => {}
        }
        let region = region.filter(|region| is_region(region));
        let fips = self.boolean(raw.use_fips_sts_endpoint.as_ref(), false);
        let role = self.role(raw);
        let service = self.filled(raw.service_name.as_ref(), "service_name");
        let keys = self.keys(at);
        let region = region?;
        Some(Sigv4 {
            sts: self.sts(*origin, &region, fips)?,
            service: service.unwrap_or_else(|| SERVICE.to_owned()),
            keys: keys?,
            role,
            region,
        })
    }

    fn role(&mut self, raw: &RawSigv4) -> Option<AwsRole> {
        let arn = self.filled(raw.role_arn.as_ref(), "role_arn");
        let external_id = self.filled(raw.external_id.as_ref(), "external_id");
        if let (Some(id), None) = (&raw.external_id, &raw.role_arn) {
            self.note(id.origin, "`external_id` is set without `role_arn`".to_owned());
        }
        Some(AwsRole { arn: arn?, session: self.session(), external_id })
    }

    fn session(&self) -> String {
        self.variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.to_owned())
    }

    fn keys(&mut self, at: &At<RawSigv4>) -> Option<AwsKeys> {
        let At { value: raw, origin } = at;
        match (&raw.access_key, &raw.secret_key) {
            (Some(_), Some(secret)) => {
                let secret_key = self.text(secret).map(Secret::Inline);
                let access_key = self.filled(raw.access_key.as_ref(), "access_key")?;
                return Some(AwsKeys::Fixed {
                    access_key,
                    secret_key: secret_key?,
                    session_token: None,
                });
            }
            (Some(access), None) => {
                self.note(access.origin, "`access_key` is set without `secret_key`".to_owned());
                return None;
            }
            (None, Some(secret)) => {
                self.note(secret.origin, "`secret_key` is set without `access_key`".to_owned());
                return None;
            }
            (None, None) => {}
        }
        if raw.profile.is_some() {
            let name = self.filled(raw.profile.as_ref(), "profile")?;
            return self.profile(*origin, name);
        }
        self.keys_of_environment(*origin)
    }

    fn keys_of_environment(&mut self, origin: Origin) -> Option<AwsKeys> {
        let pair = |a, b| self.variable(a).zip(self.variable(b));
        if let Some((access_key, secret)) = pair("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") {
            let session_token = self.variable("AWS_SESSION_TOKEN").map(Secret::Inline);
            let secret_key = Secret::Inline(secret);
            return Some(AwsKeys::Fixed { access_key, secret_key, session_token });
        }
        if let Some((file, arn)) = pair("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN") {
            let role = AwsRole { arn, session: self.session(), external_id: None };
            return Some(AwsKeys::WebIdentity { token: Secret::File(file.into()), role });
        }
        if let Some(name) = self.variable("AWS_PROFILE") {
            return self.profile(origin, name);
        }
        if self.variable("AWS_SHARED_CREDENTIALS_FILE").is_some() {
            return self.profile(origin, "default".to_owned());
        }
        let relative = self.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let container = relative.map(|path| format!("{CONTAINER_HOST}{path}"));
        let container = container.or_else(|| self.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
        if let Some(url) = container {
            let file = self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
            let file = file.map(|file| Secret::File(file.into()));
            let inline = || self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::Inline);
            let token = file.or_else(inline);
            let url = self.url_of_variable(origin, "AWS_CONTAINER_CREDENTIALS_…_URI", &url)?;
            return Some(AwsKeys::Container { url, token });
        }
        let disabled = self.variable("AWS_EC2_METADATA_DISABLED");
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            self.note_with_help(
                origin,
                "there are no AWS keys, neither here nor in the environment".to_owned(),
                "set `access_key` and `secret_key`, `profile`, AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN",
            );
            return None;
        }
        const VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let url = self.variable(VARIABLE).unwrap_or_else(|| METADATA_SERVICE.to_owned());
        Some(AwsKeys::Instance { url: self.url_of_variable(origin, VARIABLE, &url)? })
    }

    fn profile(&mut self, origin: Origin, name: String) -> Option<AwsKeys> {
        let home = || Some(PathBuf::from(self.variable("HOME")?).join(".aws/credentials"));
        let file = self.variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home);
        let Some(file) = file else {
            self.note_with_help(
                origin,
                format!("the file with the AWS profile `{name}` is not known"),
                "set the variable AWS_SHARED_CREDENTIALS_FILE or HOME",
            );
            return None;
        };
        Some(AwsKeys::Profile { file, name })
    }

    fn sts(&mut self, origin: Origin, region: &str, fips: bool) -> Option<Uri> {
        for name in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"] {
            if let Some(url) = self.variable(name) {
                return self.url_of_variable(origin, name, &url);
            }
        }
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let service = if fips { "sts-fips" } else { "sts" };
        let url = format!("https://{service}.{region}.{domain}/");
        self.url_of_variable(origin, "region", &url)
    }

    fn url_of_variable(&mut self, origin: Origin, name: &str, url: &str) -> Option<Uri> {
        let parsed = url.parse::<Uri>().ok().filter(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        });
        if parsed.is_none() {
            self.note(origin, format!("the variable {name}: `{url}` is not a URL"));
        }
        parsed
    }

    /// A variable of the environment that is set to something.
    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}
