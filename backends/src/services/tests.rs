//! What the clouds are asked that no test can reach: requests and logins, as they would go over the wire.

#![cfg_attr(
    not(all(feature = "azure", feature = "gs")),
    allow(dead_code, unused_imports, reason = "what records requests serves these two")
)]

use std::sync::{Arc, Mutex};

use opendal::{Buffer, HttpBody, HttpTransport};

use super::*;
use crate::s3::tests::{Heard, server};

/// Answers every request with success, and writes them down.
#[derive(Clone, Default)]
struct Recorder {
    asked: Arc<Mutex<Vec<http::request::Parts>>>,
}

impl HttpTransport for Recorder {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let (parts, _) = request.into_parts();
        let status = if parts.method == http::Method::PUT { 201 } else { 200 };
        self.asked.lock().unwrap().push(parts);
        let nothing = HttpBody::new(futures::stream::empty(), None);
        Ok(http::Response::builder().status(status).body(nothing).unwrap())
    }
}

impl Recorder {
    fn transport(&self) -> HttpTransporter {
        HttpTransporter::new(self.clone())
    }

    /// What writing the config asks, whatever the library thinks of the answer.
    fn write(&self, operator: &Operator) -> http::request::Parts {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(operator.write("config", vec![1, 2, 3])).ok();
        self.asked.lock().unwrap().pop().expect("something was asked")
    }
}

fn header<'a>(parts: &'a http::request::Parts, name: &str) -> &'a str {
    parts.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn options(texts: &[&str], variables: &[(&str, &str)]) -> Options {
    let mut options = Options::parse(texts).unwrap();
    options.variables = variables.iter().map(|(name, value)| (*name, *value)).collect();
    options
}

fn bucket() -> Bucket {
    Bucket { name: "bucket".to_owned(), prefix: "a/b".to_owned() }
}

fn client() -> Client {
    Client::new(&Context::new(), &Options::default(), 1, None).unwrap()
}

#[cfg(feature = "azure")]
#[test]
fn azure_is_asked_with_the_accounts_key_or_a_signature() {
    let account = ("AZURE_ACCOUNT_NAME", "account");
    let key = [account, ("AZURE_ACCOUNT_KEY", "c2VjcmV0")];
    let recorder = Recorder::default();
    let ask = |texts: &[&str], variables: &[(&str, &str)]| {
        let service = azure::service(&bucket(), &options(texts, variables), recorder.transport()).unwrap();
        recorder.write(&service.operator)
    };
    let put = ask(&["azure.access-tier=cool"], &key);
    assert_eq!((put.method.as_str(), put.uri.to_string().as_str()), {
        ("PUT", "https://account.blob.core.windows.net/bucket/a/b/config")
    });
    assert!(header(&put, "authorization").starts_with("SharedKey account:"), "{:?}", put.headers);
    assert_eq!((header(&put, "x-ms-access-tier"), header(&put, "x-ms-blob-type")), ("Cool", "BlockBlob"));
    let sas = [account, ("AZURE_ACCOUNT_SAS", "?sv=1&sig=x"), ("AZURE_ENDPOINT_SUFFIX", "example")];
    let put = ask(&[], &sas);
    let address = put.uri.to_string();
    assert!(address.starts_with("https://account.blob.example/bucket/a/b/config?"), "{address}");
    assert!(address.contains("sig=x") && header(&put, "x-ms-access-tier").is_empty(), "{address}");
}

#[cfg(feature = "azure")]
#[test]
fn azure_says_what_is_missing() {
    let open = |texts: &[&str], variables: &[(&str, &str)]| {
        azure::service(&bucket(), &options(texts, variables), Recorder::default().transport())
    };
    assert!(matches!(open(&[], &[]), Err(ServiceError::Missing { what: "AZURE_ACCOUNT_NAME" })));
    let key = [("AZURE_ACCOUNT_NAME", "a"), ("AZURE_ACCOUNT_KEY", "no base64!")];
    assert!(matches!(open(&[], &key), Err(ServiceError::Invalid { what: "AZURE_ACCOUNT_KEY" })));
    assert!(matches!(open(&["azure.access-tier=Archive"], &key), Err(ServiceError::Options(_))));
}

#[cfg(feature = "gs")]
#[test]
fn google_is_asked_with_a_token() {
    let recorder = Recorder::default();
    let options = options(&[], &[("GOOGLE_ACCESS_TOKEN", "secret")]);
    let service = google::service(&bucket(), &options, recorder.transport()).unwrap();
    let put = recorder.write(&service.operator);
    let address = put.uri.to_string();
    assert!(address.starts_with("https://storage.googleapis.com/upload/storage/v1/b/bucket/o?"), "{address}");
    assert!(address.contains("name=a%2Fb%2Fconfig") || address.contains("name=a/b/config"), "{address}");
    assert_eq!(header(&put, "authorization"), "Bearer secret");
}

#[cfg(feature = "gs")]
#[test]
fn a_bucket_of_google_is_made_in_the_named_project_and_region() {
    let (address, heards) = server(|heard| {
        let status = if heard.line.starts_with("GET") { 404 } else { 200 };
        (status, String::new(), String::new())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let make = |more: &[(&str, &str)]| {
        let variables = [&[("STORAGE_EMULATOR_HOST", address.as_str())], more].concat();
        let options = options(&["gs.region=europe-west3"], &variables);
        let service = google::service(&bucket(), &options, client().transporter()).unwrap();
        runtime.block_on(service.maker.unwrap().0())
    };
    let error = make(&[]).unwrap_err().to_string();
    assert!(error.contains("GOOGLE_PROJECT_ID"), "{error}");
    make(&[("GOOGLE_PROJECT_ID", "mine"), ("GOOGLE_ACCESS_TOKEN", "secret")]).unwrap();
    let heards = heards.lock().unwrap();
    let lines: Vec<_> = heards.iter().map(|heard| heard.line.as_str()).collect();
    assert_eq!(
        lines,
        ["GET /storage/v1/b/bucket", "GET /storage/v1/b/bucket", "POST /storage/v1/b?project=mine"]
    );
    assert_eq!(heards[2].body, br#"{"location":"europe-west3","name":"bucket"}"#);
    assert_eq!(heards[2].header("authorization"), Some("Bearer secret"));
}

/// The variables of a login at B2.
fn b2() -> Variables {
    [("B2_ACCOUNT_ID", "id"), ("B2_ACCOUNT_KEY", "key")].into_iter().collect()
}

#[test]
fn the_number_of_a_b2_bucket_is_looked_up_by_name() {
    let own = Arc::new(Mutex::new(String::new()));
    let told = own.clone();
    let (address, heards) = server(move |heard| {
        let api = told.lock().unwrap().clone();
        let body = if heard.line.starts_with("GET") {
            format!(
                r#"{{"accountId":"acc","authorizationToken":"tok","apiUrl":"http://{api}","allowed":{{"bucketName":"mine","bucketId":"m1"}}}}"#
            )
        } else {
            r#"{"buckets":[{"bucketName":"bucket","bucketId":"b7"}]}"#.to_owned()
        };
        (200, String::new(), body)
    });
    *own.lock().unwrap() = address.clone();
    let login = format!("http://{address}/b2api/v2/b2_authorize_account");
    let number = |name: &str| {
        let bucket = Bucket { name: name.to_owned(), prefix: "p".to_owned() };
        let settings = b2::settings_from(&login, &bucket, &b2(), &client())?;
        Ok::<_, ServiceError>(settings.into_iter().find(|(name, _)| name == "bucket_id").unwrap().1)
    };
    assert_eq!(number("mine").unwrap(), "m1");
    assert_eq!(number("bucket").unwrap(), "b7");
    assert!(matches!(number("other"), Err(ServiceError::Answer { .. })));
    let heards = heards.lock().unwrap();
    assert_eq!(heards[0].header("authorization"), Some("Basic aWQ6a2V5"));
    assert_eq!(heards[2].header("authorization"), Some("tok"));
    assert_eq!(heards[2].body, br#"{"accountId":"acc","bucketName":"bucket"}"#);
}

#[test]
fn a_refused_login_says_so_and_hides_the_key() {
    let (address, _) =
        server(|_| (401, String::new(), r#"{"code":"unauthorized","message":"no"}"#.to_owned()));
    let error = b2::settings_from(&format!("http://{address}/"), &bucket(), &b2(), &client()).unwrap_err();
    assert!(matches!(error, ServiceError::Refused(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("key"), "{error:?}");
}

#[test]
fn swift_logs_in_the_old_way_the_new_way_and_not_at_all() {
    let (address, heards) = server(|heard| {
        if heard.line.starts_with("GET") {
            return (200, "x-storage-url: http://old\r\nx-auth-token: t1\r\n".to_owned(), String::new());
        }
        let body = r#"{"token":{"catalog":[{"type":"object-store","endpoints":[{"interface":"public","url":"http://new"}]}]}}"#;
        (201, "x-subject-token: t3\r\n".to_owned(), body.to_owned())
    });
    let login = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| (*name, *value)).collect();
        let swift::Login { storage, token } = swift::login(&variables, &client()).unwrap();
        (storage, token.to_str().unwrap().to_owned())
    };
    let pair = |storage: &str, token: &str| (storage.to_owned(), token.to_owned());
    assert_eq!(login(&[("OS_STORAGE_URL", "http://s"), ("OS_AUTH_TOKEN", "t")]), pair("http://s", "t"));
    let old = format!("http://{address}/auth/v1.0");
    assert_eq!(login(&[("ST_AUTH", &old), ("ST_USER", "u"), ("ST_KEY", "k")]), pair("http://old", "t1"));
    let new = format!("http://{address}/v3");
    let user = [("OS_AUTH_URL", new.as_str()), ("OS_USERNAME", "u"), ("OS_PASSWORD", "p")];
    assert_eq!(login(&user), pair("http://new", "t3"));
    let heards = heards.lock().unwrap();
    assert_eq!((heards[0].header("x-auth-user"), heards[0].header("x-auth-key")), (Some("u"), Some("k")));
    assert_eq!(heards[1].line, "POST /v3/auth/tokens");
}

/// A Swift whose tokens are good for so many requests, at its own address, with what it heard.
fn swift_server(uses: usize) -> (Variables, Arc<Mutex<Vec<Heard>>>) {
    let own = Arc::new(Mutex::new(String::new()));
    let told = own.clone();
    // Logins so far, uses left of the last token, whether there is a container.
    let state = Mutex::new((0, 0, false));
    let (address, heards) = server(move |heard| {
        let mut state = state.lock().unwrap();
        let (logins, left, is_made) = &mut *state;
        if heard.line.starts_with("GET /auth") {
            (*logins, *left) = (*logins + 1, uses);
            let headers = format!(
                "x-storage-url: http://{}/store\r\nx-auth-token: t{logins}\r\n",
                told.lock().unwrap()
            );
            return (200, headers, String::new());
        }
        if *left == 0 || heard.header("x-auth-token") != Some(&format!("t{logins}")) {
            return (401, String::new(), String::new());
        }
        *left -= 1;
        let is_container = heard.line.ends_with(" /store/bucket");
        let status = match heard.line.split(' ').next() {
            Some("HEAD") if is_container && !*is_made => 404,
            Some("PUT") => 201,
            _ => 200,
        };
        *is_made |= is_container && status == 201;
        (status, String::new(), String::new())
    });
    let login = format!("http://{address}/auth/v1.0");
    *own.lock().unwrap() = address;
    let variables = [("ST_AUTH", login.as_str()), ("ST_USER", "u"), ("ST_KEY", "k")];
    (variables.into_iter().collect(), heards)
}

#[test]
fn a_token_of_swift_that_runs_out_is_replaced() {
    let (variables, heards) = swift_server(2);
    let service = swift::service(&bucket(), &variables, client()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..5 {
        runtime.block_on(service.operator.write("config", vec![1, 2, 3])).unwrap();
    }
    let heards = heards.lock().unwrap();
    let count = |what: &str| heards.iter().filter(|heard| heard.line.starts_with(what)).count();
    // Every third write is refused once.
    assert_eq!((count("GET /auth"), count("PUT /store/bucket/a/b/config")), (3, 7));
    assert!(heards.iter().filter(|heard| heard.line.starts_with("PUT")).all(|heard| heard.body == [1, 2, 3]));
}

#[test]
fn a_login_of_swift_that_is_not_taken_is_refused_and_not_repeated_for_ever() {
    let (variables, heards) = swift_server(0);
    let service = swift::service(&bucket(), &variables, client()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(service.operator.write("config", vec![1])).unwrap_err();
    assert_eq!(error.kind(), opendal::ErrorKind::PermissionDenied, "{error}");
    assert_eq!(heards.lock().unwrap().len(), 4);
}

#[test]
fn a_container_of_swift_is_made_once() {
    let (variables, heards) = swift_server(100);
    let service = swift::service(&bucket(), &variables, client()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let make = service.maker.unwrap().0;
    for _ in 0..2 {
        runtime.block_on(make()).unwrap();
    }
    let heards = heards.lock().unwrap();
    let lines: Vec<_> = heards.iter().skip(1).map(|heard| heard.line.as_str()).collect();
    assert_eq!(lines, ["HEAD /store/bucket", "PUT /store/bucket", "HEAD /store/bucket"]);
}
