//! Swift: where the storage is, and a token for it, from whichever login the variables describe.
//!
//! `OS_STORAGE_URL` and `OS_AUTH_TOKEN` say both at once. Otherwise Keystone version 3 is asked (a user's password
//! or an application's secret), or the old version 1 (`ST_AUTH`). A token that runs out is replaced by a new login.
//! Source: `OpenStack` Identity API v3; Swift's `TempAuth`; restic's variables.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use serde_json::{Value, json};

use super::{Service, ServiceError, asked, by_name, maker, needed, on, root, text};
use crate::http::{Client, Request};
use crate::location::Bucket;
use crate::network::Variables;
use crate::signed::{Signed, Unchanged};

/// Where the storage is, and what opens it.
pub(super) struct Login {
    pub(super) storage: String,
    pub(super) token: HeaderValue,
}

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

pub(super) fn service(
    container: &Bucket,
    variables: &Variables,
    client: Client,
) -> Result<Service, ServiceError> {
    let Login { storage, token } = login(variables, &client)?;
    let address = format!("{}/{}", storage.trim_end_matches('/'), container.name);
    let settings = [
        ("endpoint", storage),
        // The library wants to have one; the transport knows which is the right one.
        ("token", "of the moment".to_owned()),
        ("container", container.name.clone()),
        ("root", root(container)),
    ];
    let operator = by_name("swift", settings.map(|(name, value)| (name.to_owned(), value)))?;
    let transport = HttpTransporter::new(Renewing {
        transport: client.transporter(),
        logins: Arc::new(Logins {
            client,
            variables: variables.clone(),
            token: Mutex::new(token),
            renewing: Mutex::default(),
        }),
    });
    let ask = |method: Method| {
        let mut request = http::Request::builder().method(method).uri(&address);
        if let Some(policy) = variables.get("SWIFT_DEFAULT_CONTAINER_POLICY") {
            request = request.header("x-storage-policy", policy);
        }
        request.body(Bytes::new()).map_err(|_| ServiceError::Invalid { what: "the name of the container" })
    };
    let plain = Signed::<reqsign_aws_v4::Credential>::anonymous(transport.clone());
    let maker = maker(plain, ask(Method::HEAD)?, Ok(ask(Method::PUT)?));
    Ok(Service { operator: on(operator, HttpTransporter::new(Unchanged(transport))), maker: Some(maker) })
}

/// Puts the token of the moment into every request; when the server no longer takes it, logs in again, once per
/// request.
#[derive(Clone)]
struct Renewing {
    transport: HttpTransporter,
    logins: Arc<Logins>,
}

struct Logins {
    client: Client,
    variables: Variables,
    token: Mutex<HeaderValue>,
    /// Held during a login, so that there is one for all who need it. Whoever only wants the token does not wait here.
    renewing: Mutex<()>,
}

impl HttpTransport for Renewing {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let (mut parts, body) = request.into_parts();
        let used = self.logins.token();
        parts.headers.insert(TOKEN, used.clone());
        let again = http::Request::from_parts(parts.clone(), body.clone());
        let answer = self.transport.fetch(http::Request::from_parts(parts, body)).await?;
        if answer.status() != http::StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let logins = Arc::clone(&self.logins);
        // A login waits for its answer, which must not keep others from theirs.
        match tokio::task::spawn_blocking(move || logins.renewed(&used)).await {
            Ok(Some(token)) => {
                let mut again = again;
                again.headers_mut().insert(TOKEN, token);
                self.transport.fetch(again).await
            }
            // The refusal says more than a second one.
            _ => Ok(answer),
        }
    }
}

impl Logins {
    fn token(&self) -> HeaderValue {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another token than the used one, if there can be one.
    fn renewed(&self, used: &HeaderValue) -> Option<HeaderValue> {
        let _alone = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.token() == *used {
            let token = login(&self.variables, &self.client).ok()?.token;
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        }
        Some(self.token()).filter(|token| token != used)
    }
}

pub(super) fn login(variables: &Variables, client: &Client) -> Result<Login, ServiceError> {
    let get = |name: &str| variables.get(name);
    if let (Some(storage), Some(token)) = (get("OS_STORAGE_URL"), get("OS_AUTH_TOKEN")) {
        return Ok(Login { storage: storage.to_owned(), token: secret(token)? });
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
        token: secret(&header("x-auth-token").ok_or(ServiceError::Answer { what: "a token" })?)?,
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
        token: secret(token.ok_or(ServiceError::Answer { what: "a token" })?)?,
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

fn secret(token: &str) -> Result<HeaderValue, ServiceError> {
    let mut token = HeaderValue::from_str(token).map_err(|_| ServiceError::Invalid { what: "the token" })?;
    token.set_sensitive(true);
    Ok(token)
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
