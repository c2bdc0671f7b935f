//! Which keys are found where, without a network: a transport that answers from a table.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport};
use reqsign_core::time::Timestamp;

use super::*;

/// Answers by the beginning of `METHOD address`, and remembers what was asked.
#[derive(Clone, Default)]
struct Table {
    answers: Vec<(&'static str, u16, &'static str)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpTransport for Table {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let line = format!("{} {}", parts.method, parts.uri);
        let body = String::from_utf8_lossy(&body.to_vec()).into_owned();
        let signed = if parts.headers.contains_key("authorization") { " signed" } else { "" };
        self.asked.lock().unwrap().push(format!("{line} {body}{signed}"));
        let found = self.answers.iter().find(|(start, ..)| line.starts_with(start));
        let Some((_, status, text)) = found else {
            return Err(opendal::Error::new(opendal::ErrorKind::Unexpected, "nobody is there"));
        };
        let pieces = futures::stream::iter([Ok(Buffer::from(text.as_bytes().to_vec()))]);
        Ok(Response::builder().status(*status).body(HttpBody::new(pieces, None)).unwrap())
    }
}

/// Who the chain says we are: id, secret and token; or why nobody.
fn found(variables: &[(&str, &str)], table: &Table) -> Result<(String, String, Option<String>), String> {
    let variables = variables.iter().map(|(name, value)| (*name, *value)).collect();
    let keys = Keys::new(&variables, "us-east-1", HttpTransporter::new(table.clone()));
    assert!(!format!("{keys:?} {:?}", keys.context).contains("secret"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let provided = runtime.block_on(keys.provide_credential(&reqsign_core::Context::new()));
    match provided {
        Ok(Some(found)) => Ok((found.access_key_id, found.secret_access_key, found.session_token)),
        Ok(None) => panic!("nothing and no reason"),
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                write!(text, ": {cause}").unwrap();
                next = cause.source();
            }
            Err(text)
        }
    }
}

#[track_caller]
fn check(variables: &[(&str, &str)], table: &Table, expected: (&str, &str, Option<&str>)) {
    let (id, secret, token) = found(variables, table).unwrap();
    assert_eq!((id.as_str(), secret.as_str(), token.as_deref()), expected);
}

#[test]
fn variables_come_first_in_restics_order() {
    let none = Table::default();
    let aws = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let minio = [("MINIO_ACCESS_KEY", "m"), ("MINIO_SECRET_KEY", "secret2")];
    check(&aws, &none, ("a", "secret", None));
    check(&minio, &none, ("m", "secret2", None));
    check(&[aws, minio].concat(), &none, ("a", "secret", None));
    check(&[&aws[..], &[("AWS_SESSION_TOKEN", "t")]].concat(), &none, ("a", "secret", Some("t")));
    check(&[&minio[..], &[("AWS_ACCESS_KEY_ID", "")]].concat(), &none, ("m", "secret2", None));
    check(&[("MINIO_ROOT_USER", "r"), ("MINIO_ROOT_PASSWORD", "secret")], &none, ("r", "secret", None));
}

#[test]
fn half_a_pair_and_nothing_at_all_are_said() {
    let none = Table::default();
    let error = found(&[("AWS_ACCESS_KEY_ID", "a")], &none).unwrap_err();
    assert_eq!(error, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not");
    assert_eq!(found(&[], &none).unwrap_err(), NONE_FOUND);
}

#[test]
fn files_are_where_the_variables_say() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pair = |id: &str| format!("aws_access_key_id = {id}\naws_secret_access_key = secret\n");
    let home = folder.path().to_str().unwrap().to_owned();
    write(".aws/credentials", &format!("[default]\n{}[other]\n{}", pair("home"), pair("other")));
    let shared = write("shared", &format!("[default]\n{}aws_session_token = t\n", pair("shared")));
    let config = write("config", &format!("[profile far]\n{}", pair("far")));
    let none = Table::default();
    check(&[("HOME", &home)], &none, ("home", "secret", None));
    check(&[("HOME", &home), ("AWS_PROFILE", "other")], &none, ("other", "secret", None));
    check(&[("AWS_SHARED_CREDENTIALS_FILE", &shared)], &none, ("shared", "secret", Some("t")));
    check(&[("AWS_CONFIG_FILE", &config), ("AWS_PROFILE", "far")], &none, ("far", "secret", None));
    let minio = write("mc.json", r#"{"aliases":{"mine":{"accessKey":"m","secretKey":"secret"}}}"#);
    let variables = [("MINIO_SHARED_CREDENTIALS_FILE", minio.as_str()), ("MINIO_ALIAS", "mine")];
    check(&variables, &none, ("m", "secret", None));
}

#[cfg(unix)]
#[test]
fn a_program_may_hand_out_keys() {
    let folder = tempfile::tempdir().unwrap();
    let answer = r#"{"Version":1,"AccessKeyId":"p","SecretAccessKey":"secret","SessionToken":"t"}"#;
    std::fs::write(folder.path().join("answer"), answer).unwrap();
    let config = folder.path().join("config");
    let text = format!("[default]\ncredential_process = /bin/cat {}/answer\n", folder.path().display());
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    check(&[("AWS_CONFIG_FILE", config)], &Table::default(), ("p", "secret", Some("t")));
}

#[test]
fn containers_and_instances_have_roles() {
    let keys =
        r#"{"AccessKeyId":"c","SecretAccessKey":"secret","Token":"t","Expiration":"2099-01-02T03:04:05Z"}"#;
    let table = Table { answers: vec![("GET http://169.254.170.2/mine", 200, keys)], ..Table::default() };
    check(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/mine")], &table, ("c", "secret", Some("t")));
    let keys = r#"{"Code":"Success","AccessKeyId":"i","SecretAccessKey":"secret","Token":"t","Expiration":"2099-01-02T03:04:05Z"}"#;
    let base = "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/";
    let table = Table {
        answers: vec![
            ("PUT http://169.254.169.254/latest/api/token", 200, "token"),
            ("GET http://169.254.169.254/latest/meta-data/iam/security-credentials/role", 200, keys),
            (base, 200, "role"),
        ],
        ..Table::default()
    };
    check(&[], &table, ("i", "secret", Some("t")));
    assert_eq!(found(&[("AWS_EC2_METADATA_DISABLED", "true")], &table).unwrap_err(), NONE_FOUND);
}

const ASSUMED: &str = "<R><AccessKeyId>ASIAASSUMEDROLE12345</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
    <SessionToken>t</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration></R>";

#[test]
fn a_role_is_assumed_with_the_keys_found_before() {
    let table = Table { answers: vec![("POST http://sts:9/", 200, ASSUMED)], ..Table::default() };
    let variables = [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("RESTIC_AWS_ASSUME_ROLE_ARN", "arn:x"),
        ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", "http://sts:9"),
    ];
    check(&variables, &table, ("ASIAASSUMEDROLE12345", "secret", Some("t")));
    let asked = table.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains("RoleArn=arn%3Ax") && asked[0].ends_with(" signed"), "{asked:?}");
    let refused = "<E><Code>AccessDenied</Code><Message>no</Message></E>";
    let table = Table { answers: vec![("POST http://sts:9/", 403, refused)], ..Table::default() };
    let error = found(&variables, &table).unwrap_err();
    assert_eq!(error, "cannot assume the role arn:x: the server answers 403 AccessDenied: no");
}

#[test]
fn a_web_identity_is_exchanged_for_keys() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "jwt").unwrap();
    let answer = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
        <AccessKeyId>ASIAWEBIDENTITY12345</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
        <SessionToken>t</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration>\
        </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    let table = Table { answers: vec![("POST https://sts.amazonaws.com/", 200, answer)], ..Table::default() };
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"),
    ];
    check(&variables, &table, ("ASIAWEBIDENTITY12345", "secret", Some("t")));
    assert!(table.asked.lock().unwrap()[0].contains("WebIdentityToken=jwt"));
    assert!("2099-01-02T03:04:05Z".parse::<Timestamp>().is_ok());
}
