//! Swift: where the storage is, and a token for it, from whichever login the variables describe.
//!
//! `OS_STORAGE_URL` and `OS_AUTH_TOKEN` say both at once. Otherwise Keystone version 3 is asked (a user's password
//! or an application's secret), or the old version 1 (`ST_AUTH`). A token is not renewed while a run lasts.
//! Source: `OpenStack` Identity API v3; Swift's `TempAuth`; restic's variables.

use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{ServiceError, asked, needed, root, text};
use crate::http::{Client, Request};
use crate::location::Bucket;
use crate::network::Variables;

/// Where the storage is, and what opens it.
struct Login {
    storage: String,
    token: String,
}

pub(super) fn settings(
    container: &Bucket,
    variables: &Variables,
    client: &Client,
) -> Result<Vec<(String, String)>, ServiceError> {
    let Login { storage, token } = login(variables, client)?;
    let settings = [
        ("endpoint", storage),
        ("token", token),
        ("container", container.name.clone()),
        ("root", root(container)),
    ];
    Ok(settings.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

fn login(variables: &Variables, client: &Client) -> Result<Login, ServiceError> {
    let get = |name: &str| variables.get(name);
    if let (Some(storage), Some(token)) = (get("OS_STORAGE_URL"), get("OS_AUTH_TOKEN")) {
        return Ok(Login { storage: storage.to_owned(), token: token.to_owned() });
    }
    if let Some(address) = get("ST_AUTH") {
        return version_1(address, variables, client);
    }
    version_3(needed(variables, "OS_AUTH_URL")?, variables, client)
}

fn version_1(address: &str, variables: &Variables, client: &Client) -> Result<Login, ServiceError> {
    let mut request = Request::new(Method::GET, parsed(address, "ST_AUTH")?);
    for (header, name) in [("x-auth-user", "ST_USER"), ("x-auth-key", "ST_KEY")] {
        let mut value = HeaderValue::from_str(needed(variables, name)?)
            .map_err(|_| ServiceError::Invalid { what: name })?;
        value.set_sensitive(true);
        request.headers.insert(HeaderName::from_static(header), value);
    }
    let (headers, _) = asked(client, request)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Login {
        storage: header("x-storage-url").ok_or(ServiceError::Answer { what: "the storage's address" })?,
        token: header("x-auth-token").ok_or(ServiceError::Answer { what: "a token" })?,
    })
}

fn version_3(address: &str, variables: &Variables, client: &Client) -> Result<Login, ServiceError> {
    let url = parsed(&format!("{}/auth/tokens", address.trim_end_matches('/')), "OS_AUTH_URL")?;
    let body = question(variables)?.to_string();
    let mut request = Request::new(Method::POST, url).with_body(body.as_bytes());
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (headers, answer) = asked(client, request)?;
    let token = headers.get("x-subject-token").and_then(|value| value.to_str().ok());
    let storage = match variables.get("OS_STORAGE_URL") {
        Some(said) => Some(said),
        None => storage_in(&answer, variables.get("OS_REGION_NAME")),
    };
    Ok(Login {
        storage: storage.ok_or(ServiceError::Answer { what: "the storage's address" })?.to_owned(),
        token: token.ok_or(ServiceError::Answer { what: "a token" })?.to_owned(),
    })
}

/// Who we are, and for which project.
fn question(variables: &Variables) -> Result<Value, ServiceError> {
    let get = |name: &str| variables.get(name);
    let domain = |id: &str, name: &str| match (get(id), get(name)) {
        (Some(id), _) => json!({ "id": id }),
        (None, name) => json!({ "name": name.unwrap_or("Default") }),
    };
    let user = |mut user: Value| {
        match (get("OS_USER_ID"), get("OS_USERNAME")) {
            (Some(id), _) => user["id"] = id.into(),
            (None, Some(name)) => {
                user["name"] = name.into();
                user["domain"] = domain("OS_USER_DOMAIN_ID", "OS_USER_DOMAIN_NAME");
            }
            (None, None) => {}
        }
        user
    };
    if let Some(secret) = get("OS_APPLICATION_CREDENTIAL_SECRET") {
        let mut application = json!({ "secret": secret });
        match (get("OS_APPLICATION_CREDENTIAL_ID"), get("OS_APPLICATION_CREDENTIAL_NAME")) {
            (Some(id), _) => application["id"] = id.into(),
            (None, name) => {
                let what = "OS_APPLICATION_CREDENTIAL_ID or OS_APPLICATION_CREDENTIAL_NAME";
                application["name"] = name.ok_or(ServiceError::Missing { what })?.into();
                application["user"] = user(json!({}));
            }
        }
        let identity =
            json!({ "methods": ["application_credential"], "application_credential": application });
        return Ok(json!({ "auth": { "identity": identity } }));
    }
    if get("OS_USER_ID").or(get("OS_USERNAME")).is_none() {
        return Err(ServiceError::Missing { what: "OS_USERNAME" });
    }
    let user = user(json!({ "password": needed(variables, "OS_PASSWORD")? }));
    let mut auth = json!({ "identity": { "methods": ["password"], "password": { "user": user } } });
    let project = get("OS_PROJECT_NAME").or(get("OS_TENANT_NAME"));
    if let Some(trust) = get("OS_TRUST_ID") {
        auth["scope"] = json!({ "OS-TRUST:trust": { "id": trust } });
    } else if let Some(id) = get("OS_PROJECT_ID").or(get("OS_TENANT_ID")) {
        auth["scope"] = json!({ "project": { "id": id } });
    } else if let Some(name) = project {
        let domain = domain("OS_PROJECT_DOMAIN_ID", "OS_PROJECT_DOMAIN_NAME");
        auth["scope"] = json!({ "project": { "name": name, "domain": domain } });
    }
    Ok(json!({ "auth": auth }))
}

/// The public address of the object store in a catalogue, in that region or in the first one.
fn storage_in<'a>(answer: &'a Value, region: Option<&str>) -> Option<&'a str> {
    let array = |json: &'a Value, name| json.get(name).and_then(Value::as_array).into_iter().flatten();
    let stores =
        array(answer.get("token")?, "catalog").filter(|entry| text(entry, &["type"]) == Some("object-store"));
    let mut endpoints = stores.flat_map(|store| array(store, "endpoints"));
    let found = endpoints.find(|endpoint| {
        let here = text(endpoint, &["region"]).or(text(endpoint, &["region_id"]));
        text(endpoint, &["interface"]) == Some("public") && (region.is_none() || here == region)
    });
    text(found?, &["url"])
}

fn parsed(address: &str, what: &'static str) -> Result<url::Url, ServiceError> {
    address.parse().map_err(|_| ServiceError::Invalid { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_with(variables: &[(&str, &str)]) -> Result<Value, ServiceError> {
        question(&variables.iter().map(|(name, value)| (*name, *value)).collect())
    }

    #[test]
    fn every_login_is_asked_as_keystone_wants_it() {
        let password = [("OS_USERNAME", "u"), ("OS_PASSWORD", "p"), ("OS_USER_DOMAIN_NAME", "d")];
        let user = json!({ "password": "p", "name": "u", "domain": { "name": "d" } });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        for (more, scope) in [
            (vec![], Value::Null),
            (vec![("OS_PROJECT_ID", "i")], json!({ "project": { "id": "i" } })),
            (
                vec![("OS_TENANT_NAME", "t")],
                json!({ "project": { "name": "t", "domain": { "name": "Default" } } }),
            ),
            (
                vec![("OS_PROJECT_NAME", "n"), ("OS_PROJECT_DOMAIN_ID", "x")],
                json!({ "project": { "name": "n", "domain": { "id": "x" } } }),
            ),
            (vec![("OS_TRUST_ID", "t"), ("OS_PROJECT_ID", "i")], json!({ "OS-TRUST:trust": { "id": "t" } })),
        ] {
            let asked = asked_with(&[&password[..], &more].concat()).unwrap();
            assert_eq!(asked["auth"]["identity"], identity);
            assert_eq!(asked["auth"].get("scope").cloned().unwrap_or_default(), scope, "{more:?}");
        }
        let application = [("OS_APPLICATION_CREDENTIAL_ID", "i"), ("OS_APPLICATION_CREDENTIAL_SECRET", "s")];
        let asked = asked_with(&application).unwrap();
        assert_eq!(asked["auth"]["identity"]["application_credential"], json!({ "secret": "s", "id": "i" }));
        assert!(matches!(asked_with(&[]), Err(ServiceError::Missing { what: "OS_USERNAME" })));
        let half = asked_with(&[("OS_USER_ID", "u")]);
        assert!(matches!(half, Err(ServiceError::Missing { what: "OS_PASSWORD" })));
    }

    #[test]
    fn the_storage_is_found_in_the_catalogue_by_region() {
        let endpoint = |region: &str, interface: &str| json!({ "region": region, "interface": interface, "url": format!("https://{region}.{interface}") });
        let endpoints = [endpoint("a", "internal"), endpoint("a", "public"), endpoint("b", "public")];
        let answer = json!({ "token": { "catalog": [
            { "type": "compute", "endpoints": [endpoint("c", "public")] },
            { "type": "object-store", "endpoints": endpoints },
        ] } });
        assert_eq!(storage_in(&answer, None), Some("https://a.public"));
        assert_eq!(storage_in(&answer, Some("b")), Some("https://b.public"));
        assert_eq!(storage_in(&answer, Some("c")), None);
        assert_eq!(storage_in(&json!({}), None), None);
    }
}
