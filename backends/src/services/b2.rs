//! Backblaze's own protocol wants a bucket's number, while people know its name: two requests find it.
//!
//! Source: Backblaze B2 native API, `b2_authorize_account` and `b2_list_buckets`.

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqsign_core::hash::base64_encode;
use url::Url;

use super::{ServiceError, asked, needed, root, text};
use crate::http::{Client, Request};
use crate::location::Bucket;
use crate::network::Variables;

const LOGIN: &str = "https://api.backblazeb2.com/b2api/v2/b2_authorize_account";

pub(super) fn settings(
    bucket: &Bucket,
    variables: &Variables,
    client: &Client,
) -> Result<Vec<(String, String)>, ServiceError> {
    settings_from(LOGIN, bucket, variables, client)
}

/// The same with another address to log in at.
pub(super) fn settings_from(
    login: &str,
    bucket: &Bucket,
    variables: &Variables,
    client: &Client,
) -> Result<Vec<(String, String)>, ServiceError> {
    let id = needed(variables, "B2_ACCOUNT_ID")?;
    let key = needed(variables, "B2_ACCOUNT_KEY")?;
    let bucket_id = bucket_id(login, id, key, &bucket.name, client)?;
    let settings = [
        ("application_key_id", id.to_owned()),
        ("application_key", key.to_owned()),
        ("bucket", bucket.name.clone()),
        ("bucket_id", bucket_id),
        ("root", root(bucket)),
    ];
    Ok(settings.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

fn bucket_id(
    login: &str,
    id: &str,
    key: &str,
    bucket: &str,
    client: &Client,
) -> Result<String, ServiceError> {
    let invalid = |_| ServiceError::Invalid { what: "the address of the B2 server" };
    let basic = format!("Basic {}", base64_encode(format!("{id}:{key}").as_bytes()));
    let mut request = Request::new(Method::GET, login.parse().map_err(invalid)?);
    request.headers.insert(AUTHORIZATION, secret(&basic)?);
    let (_, account) = asked(client, request)?;
    let wanted = |what, path: &[&str]| text(&account, path).ok_or(ServiceError::Answer { what });
    // Keys for one bucket know it, and may not list others.
    if let (Some(name), Some(number)) =
        (text(&account, &["allowed", "bucketName"]), text(&account, &["allowed", "bucketId"]))
        && name == bucket
    {
        return Ok(number.to_owned());
    }
    let token = wanted("a token", &["authorizationToken"])?;
    let url: Url = format!("{}/b2api/v2/b2_list_buckets", wanted("an address", &["apiUrl"])?)
        .parse()
        .map_err(invalid)?;
    let question =
        serde_json::json!({ "accountId": wanted("an account", &["accountId"])?, "bucketName": bucket })
            .to_string();
    let mut request = Request::new(Method::POST, url).with_body(question.as_bytes());
    request.headers.insert(AUTHORIZATION, secret(token)?);
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (_, found) = asked(client, request)?;
    let mut buckets = found.get("buckets").and_then(|buckets| buckets.as_array()).into_iter().flatten();
    let found = buckets.find(|found| text(found, &["bucketName"]) == Some(bucket));
    found
        .and_then(|found| text(found, &["bucketId"]))
        .map(str::to_owned)
        .ok_or(ServiceError::Answer { what: "the bucket, which has to be made beforehand" })
}

fn secret(value: &str) -> Result<HeaderValue, ServiceError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| ServiceError::Invalid { what: "the B2 key" })?;
    value.set_sensitive(true);
    Ok(value)
}
