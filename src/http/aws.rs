//! AWS Signature Version 4: signed requests, and the keys that they are signed with.
//!
//! Signing is `aws-sigv4`'s. The keys' sources are here and not `aws-config`'s, which would bring
//! a second HTTP client and a hundred crates for the five questions of [`keys`].

mod keys;
mod profile;
mod sts;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign as signature},
    sign::v4::SigningParams,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;

use self::{
    keys::{Keys, Source},
    sts::Sts,
};
use super::{
    BuildError,
    credentials::{CredentialError, Lease},
};
use crate::config;

/// Signs the requests of one receiver.
pub(super) struct Signer {
    region: String,
    service: String,
    source: Source,
    sts: Sts,
    role: Option<config::AwsRole>,
    /// Keys of the role.
    lease: Lease<(), Keys>,
    timeout: Duration,
}

impl Signer {
    /// `timeout` bounds each question to who gives keys out.
    pub(super) fn new(
        config: &config::Sigv4,
        proxy: Option<&config::Proxy>,
        timeout: Duration,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            region: config.region.clone(),
            service: config.service.clone(),
            source: Source::new(&config.keys, timeout)?,
            sts: Sts::new(config, proxy, timeout)?,
            role: config.role.clone(),
            lease: Lease::default(),
            timeout,
        })
    }

    /// Adds the headers of a signature; nothing that is signed may change after it.
    pub(super) async fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
    ) -> Result<(), Arc<CredentialError>> {
        let keys = self.keys().await?;
        sign(request, &keys, &self.region, &self.service, SystemTime::now()).map_err(Arc::new)
    }

    async fn keys(&self) -> Result<Keys, Arc<CredentialError>> {
        let Some(role) = &self.role else { return self.source.keys(&self.sts).await };
        let assume = async {
            let keys = self.source.keys(&self.sts).await;
            let keys = keys.map_err(|error| CredentialError::Other(error.to_string()))?;
            self.sts.assume(role, &keys, SystemTime::now()).await
        };
        self.lease.get(&(), self.timeout / 2, Box::pin(assume)).await
    }
}

fn sign(
    request: &mut Request<Full<Bytes>>,
    keys: &Keys,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<(), CredentialError> {
    let fault = |error: &dyn std::fmt::Display| {
        CredentialError::Other(format!("the request cannot be signed: {error}"))
    };
    let identity = Credentials::new(
        keys.access_key.clone(),
        keys.secret_key.clone(),
        keys.session_token.clone(),
        None,
        "flinkrelay",
    )
    .into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| fault(&error))?
        .into();
    // The whole body is there, so it takes no waiting.
    let body = request.body().clone().collect().now_or_never();
    let body = body.map_or_else(Bytes::new, |Ok(body)| body.to_bytes());
    let url = request.uri().to_string();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| Ok((name.as_str(), value.to_str()?)));
    let headers = headers.collect::<Result<Vec<_>, hyper::header::ToStrError>>();
    let headers = headers.map_err(|error| fault(&error))?;
    let signable = SignableRequest::new(
        request.method().as_str(),
        url,
        headers.into_iter(),
        SignableBody::Bytes(&body),
    );
    let signed = signable.and_then(|signable| signature(signable, &params));
    let (instructions, _) = signed.map_err(|error| fault(&error))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of AWS' own test suite for Signature Version 4 (`get-vanilla` and so on), as far as
    /// they are about requests such as ours: the headers that are signed, and the signature.
    #[test]
    fn the_signatures_are_those_of_aws() {
        const TIME: Duration = Duration::from_secs(1_440_938_160); // 2015-08-30T12:36:00Z
        let check = |(method, url, headers, body): (&str, &str, &[(&str, &str)], &'static str),
                     token: Option<&str>,
                     (signed_headers, signature): (&str, &str)| {
            let mut request = Request::builder().method(method).uri(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
            let keys = Keys {
                access_key: "AKIDEXAMPLE".to_owned(),
                secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
                session_token: token.map(str::to_owned),
            };
            let now = SystemTime::UNIX_EPOCH + TIME;
            sign(&mut request, &keys, "us-east-1", "service", now).unwrap();
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders={signed_headers}, Signature={signature}"
            );
            assert_eq!(request.headers()["authorization"], expected.as_str(), "{method} {url}");
            assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
            let sent = request.headers().get("x-amz-security-token");
            assert_eq!(sent.map(|token| token.to_str().unwrap()), token);
        };
        let get = ("GET", "https://example.amazonaws.com/", &[][..], "");
        let of_get = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        check(get, None, ("host;x-amz-date", of_get));
        // get-slash-normalized
        let slashes = ("GET", "https://example.amazonaws.com//", &[][..], "");
        check(slashes, None, ("host;x-amz-date", of_get));
        check(
            get,
            Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
            (
                "host;x-amz-date;x-amz-security-token",
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
        );
        check(
            ("GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", &[], ""),
            None,
            ("host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        );
        check(
            ("POST", "https://example.amazonaws.com/", &[("My-Header1", "value1")], ""),
            None,
            (
                "host;my-header1;x-amz-date",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        check(
            (
                "POST",
                "https://example.amazonaws.com/",
                &[form, ("user-agent", "x")],
                "Param1=value1",
            ),
            None,
            (
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        );
    }

    #[test]
    fn a_header_that_is_no_text_is_refused_and_not_sent_unsigned() {
        let request = Request::get("https://aps/").header("x-a", &b"\xff"[..]);
        let mut request = request.body(Full::default()).unwrap();
        let keys =
            Keys { access_key: "a".to_owned(), secret_key: "b".to_owned(), session_token: None };
        let error = sign(&mut request, &keys, "r", "s", SystemTime::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("cannot be signed"), "{error}");
    }
}
