//! Signed requests, and keys from everywhere AWS gives them out.

use std::fs;

use flinkrelay::http::ErrorKind;
use tempfile::{NamedTempFile, TempDir};

use super::{Recorder, form, post, receiver};
use crate::fakes::http::{Answer, Request};

/// An answer of STS; `seconds` from now is its end.
fn keys(name: &str, seconds: i64) -> Answer {
    let now = aws_smithy_types::DateTime::from(std::time::SystemTime::now());
    let end = aws_smithy_types::DateTime::from_secs(now.secs() + seconds);
    let end = end.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap();
    Answer::new(
        200,
        &[("content-type", "text/xml")],
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{name}</AccessKeyId>\
             <SecretAccessKey>secret</SecretAccessKey><SessionToken>token of {name}</SessionToken>\
             <Expiration>{end}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ),
    )
}

/// The same as JSON, as containers and instances get it.
fn json_keys(name: &str) -> Answer {
    let body = format!(
        r#"{{"Code":"Success","AccessKeyId":"{name}","SecretAccessKey":"s","Token":"token of {name}","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    Answer::words(200, &body)
}

/// The key that a request was signed with, and region and service of its signature.
fn signer(request: &Request) -> String {
    let header = request.header("authorization").unwrap_or_default();
    let scope = header.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap_or_default();
    let parts: Vec<_> = scope.split(['/', ',']).collect();
    format!("{} {} {}", parts[0], parts[2], parts[3])
}

async fn remote() -> Recorder {
    Recorder::start(|_, _| Answer::words(200, "ok")).await
}

#[tokio::test]
async fn requests_are_signed_with_keys_of_the_configuration_or_the_environment() {
    let remote = remote().await;
    let lines = "sigv4: {region: eu-central-1, access_key: AKIA, secret_key: s}\n\
                 headers: {x-scope-orgid: a}";
    post(&receiver(lines, &[]), &remote.url("/api/v1/write"), "body").await.unwrap();
    let environment = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "ENV"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "t"),
    ];
    let client = receiver("sigv4: {service_name: execute-api}", &environment);
    post(&client, &remote.url("/"), "body").await.unwrap();
    let requests = remote.requests();
    assert_eq!(signer(&requests[0]), "AKIA eu-central-1 aps");
    assert_eq!(requests[0].header("x-amz-security-token"), None);
    let signed = requests[0].header("authorization").unwrap();
    // What says how to read the body is signed with it, and so is the tenant.
    assert!(
        signed.contains("SignedHeaders=content-encoding;host;x-amz-date;x-scope-orgid,"),
        "{signed}"
    );
    assert_eq!(signer(&requests[1]), "ENV us-east-1 execute-api");
    assert_eq!(requests[1].header("x-amz-security-token"), Some("t"));
}

#[tokio::test]
async fn a_service_account_gets_keys_from_sts_and_new_ones_before_they_end() {
    let token = NamedTempFile::new().unwrap();
    fs::write(token.path(), "jwt-1\n").unwrap();
    // The first keys have ended before they come, the others end in an hour.
    let sts = Recorder::start(|_, n| keys(&format!("ASIA{n}"), if n == 0 { -60 } else { 3600 }));
    let (sts, remote) = (sts.await, remote().await);
    let (path, url) = (token.path().display().to_string(), sts.url("/"));
    let environment = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*path),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/relay"),
        ("AWS_ENDPOINT_URL_STS", &*url),
    ];
    let client = receiver("sigv4: {}", &environment);
    post(&client, &remote.url("/"), "body").await.unwrap();
    // Kubernetes has put a new token into the file.
    fs::write(token.path(), "jwt-2-longer\n").unwrap();
    post(&client, &remote.url("/"), "body").await.unwrap();
    post(&client, &remote.url("/"), "body").await.unwrap();
    let signers: Vec<_> = remote.requests().iter().map(signer).collect();
    assert_eq!(signers, ["ASIA0 eu-west-1 aps", "ASIA1 eu-west-1 aps", "ASIA1 eu-west-1 aps"]);
    assert_eq!(remote.headers("x-amz-security-token")[2], "token of ASIA1");
    let asked = sts.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].header("authorization"), None, "the token is proof enough");
    let pairs: Vec<_> = asked.iter().map(form).collect();
    let expected = |token: &str| {
        [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::1:role/relay"),
            ("RoleSessionName", "flinkrelay"),
            ("WebIdentityToken", token),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    assert_eq!(pairs, [expected("jwt-1"), expected("jwt-2-longer")]);
}

#[tokio::test]
async fn a_role_is_taken_on_with_signed_requests() {
    let (sts, remote) = (Recorder::start(|_, _| keys("ASIA", 3600)).await, remote().await);
    let lines = "sigv4: {region: eu-west-1, access_key: AKIA, secret_key: s, external_id: x, \
                 role_arn: 'arn:aws:iam::2:role/write'}";
    let client = receiver(lines, &[("AWS_ENDPOINT_URL", &sts.url("/"))]);
    for _ in 0..3 {
        post(&client, &remote.url("/"), "body").await.unwrap();
    }
    let asked = sts.requests();
    assert_eq!(asked.len(), 1, "keys are kept");
    assert_eq!(signer(&asked[0]), "AKIA eu-west-1 sts");
    let pairs = form(&asked[0]);
    assert_eq!(pairs[0].1, "AssumeRole");
    assert_eq!(pairs[4], ("ExternalId".to_owned(), "x".to_owned()));
    let signers: Vec<_> = remote.requests().iter().map(signer).collect();
    assert_eq!(signers, ["ASIA eu-west-1 aps"; 3]);
}

#[tokio::test]
async fn a_profile_is_read_again_when_it_changes() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join(".aws/credentials");
    fs::create_dir(directory.path().join(".aws")).unwrap();
    let write = |key: &str| {
        let text = format!("[relay]\naws_access_key_id={key}\naws_secret_access_key=s\n");
        fs::write(&file, text).unwrap();
    };
    write("ONE");
    let (remote, home) = (remote().await, directory.path().display().to_string());
    let client = receiver("sigv4: {region: r, profile: relay}", &[("HOME", &home)]);
    post(&client, &remote.url("/"), "body").await.unwrap();
    write("ANOTHER");
    post(&client, &remote.url("/"), "body").await.unwrap();
    let signers: Vec<_> = remote.requests().iter().map(signer).collect();
    assert_eq!(signers, ["ONE r aps", "ANOTHER r aps"]);
}

#[tokio::test]
async fn containers_and_instances_have_services_for_keys() {
    let service = Recorder::start(|request, _| match (&*request.method, &*request.target) {
        ("GET", "/v1/credentials") => json_keys("CONTAINER"),
        ("PUT", "/latest/api/token") => Answer::words(200, "session"),
        ("GET", "/latest/meta-data/iam/security-credentials/") => Answer::words(200, "node\n"),
        ("GET", "/latest/meta-data/iam/security-credentials/node") => json_keys("INSTANCE"),
        other => panic!("{other:?}"),
    })
    .await;
    let (remote, token) = (remote().await, NamedTempFile::new().unwrap());
    fs::write(token.path(), "pod token\n").unwrap();
    let (url, path) = (service.url("/v1/credentials"), token.path().display().to_string());
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &*path),
    ];
    let url = service.url("/");
    let instance = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url)];
    for environment in [&container[..], &instance[..]] {
        let client = receiver("sigv4: {region: r}", environment);
        post(&client, &remote.url("/"), "body").await.unwrap();
        post(&client, &remote.url("/"), "body").await.unwrap();
    }
    let signers: Vec<_> = remote.requests().iter().map(signer).collect();
    assert_eq!(signers, ["CONTAINER r aps", "CONTAINER r aps", "INSTANCE r aps", "INSTANCE r aps"]);
    let asked = service.requests();
    assert_eq!(asked.len(), 4, "once each");
    assert_eq!(asked[0].header("authorization"), Some("pod token"));
    assert_eq!(asked[1].header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
    for request in &asked[2..] {
        assert_eq!(request.header("x-aws-ec2-metadata-token"), Some("session"));
    }
}

#[tokio::test]
async fn without_keys_nothing_is_sent_and_the_error_says_why() {
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized to \
                  perform sts:AssumeRole</Message></Error></ErrorResponse>";
    let sts = Recorder::start(move |_, _| Answer::words(403, denied)).await;
    let (remote, url) = (remote().await, sts.url("/"));
    let lines = "sigv4: {region: r, access_key: AKIA, secret_key: hunter2, role_arn: arn}";
    let client = receiver(lines, &[("AWS_ENDPOINT_URL_STS", &url)]);
    let error = post(&client, &remote.url("/"), "body").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Secret);
    let expected = format!(
        "no AWS keys from {url}: HTTP 403 Forbidden AccessDenied: Not authorized to perform \
         sts:AssumeRole"
    );
    assert_eq!(error.to_string(), expected);
    let lines = "sigv4: {region: r, profile: absent}";
    let client = receiver(lines, &[("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")]);
    let error = post(&client, &remote.url("/"), "body").await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/credentials"), "{error}");
    assert!(remote.requests().is_empty());
}
