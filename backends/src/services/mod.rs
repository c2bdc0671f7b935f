//! Operators for clouds that the `opendal` library reaches by itself, and for any of its services by name.
//!
//! In: a location, options and variables. Out: an operator that sends through the crate's HTTP client, without
//! retries or time limits of its own, and what makes the bucket. Azure and Google are signed by us with keys from the variables; B2 and
//! Swift are asked one thing before the first file: the bucket's number, the storage's address. Which services
//! are built in is decided by Cargo features; asking for another one is an error that says so.

#[cfg(feature = "azure")]
mod azure;
mod b2;
#[cfg(feature = "gs")]
mod google;
mod swift;

use std::ffi::OsStr;

use bytes::Bytes;
use opendal::{HttpTransporter, OperationContext, Operator};
use repo_core::Context;
use repo_core::backend::ErrorKind;
use reqsign_core::SigningCredential;
use serde_json::Value;

use crate::http::{Client, HttpError, Request, SetupError};
use crate::location::{Bucket, Location};
use crate::network::Variables;
use crate::operator::Maker;
use crate::options::{Options, OptionsError};
use crate::refusal::Refusal;
use crate::signed::{Signed, Unchanged};

/// Why there is no operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServiceError {
    /// No such service, or it is not built in.
    #[error("the service {name} is not built in")]
    Unknown { name: String },
    /// Something must be said that was not.
    #[error("{what} is needed and not set")]
    Missing { what: &'static str },
    /// A key or a text that cannot be one.
    #[error("{what} makes no sense")]
    Invalid { what: &'static str },
    /// The library reads every variable of the process for this service, and ends it at one like this.
    #[error("the variable {name} is not UTF-8, which this service cannot stand; unset it")]
    Variable { name: String },
    /// The server says no to the first question.
    #[error("the server refuses the login or the bucket")]
    Refused(#[source] Refusal),
    /// An answer that is not what the protocol promises.
    #[error("the server's answer lacks {what}")]
    Answer { what: &'static str },
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Client(#[from] SetupError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Library(#[from] opendal::Error),
}

/// A storage that the library reaches.
pub(crate) struct Service {
    pub(crate) operator: Operator,
    /// Makes the bucket, where it is known how.
    pub(crate) maker: Option<Maker>,
}

impl From<Operator> for Service {
    fn from(operator: Operator) -> Self {
        Self { operator, maker: None }
    }
}

/// The service for a location that is no folder, server or bucket of S3.
pub(crate) fn service(
    context: &Context,
    location: &Location,
    options: &Options,
) -> Result<Service, ServiceError> {
    let client =
        || Ok::<_, ServiceError>(Client::new(context, options, connections(location, options)?, None)?);
    if matches!(location, Location::Gs(_))
        || matches!(location, Location::Opendal { service, .. } if service == "gcs")
    {
        readable(&options.variables)?;
    }
    match location {
        Location::Opendal { service, settings } => {
            let operator = by_name(service, settings.iter().cloned())?;
            if WITHOUT_HTTP.contains(&service.as_str()) {
                return Ok(operator.into());
            }
            Ok(unchanged(operator, &client()?).into())
        }
        #[cfg(feature = "azure")]
        Location::Azure(bucket) => azure::service(bucket, options, client()?.transporter()),
        #[cfg(feature = "gs")]
        Location::Gs(bucket) => google::service(bucket, options, client()?.transporter()),
        Location::B2(bucket) => {
            let client = client()?;
            Ok(unchanged(by_name("b2", b2::settings(bucket, &options.variables, &client)?)?, &client).into())
        }
        Location::Swift(bucket) => swift::service(bucket, &options.variables, client()?),
        other => Err(ServiceError::Unknown { name: other.kind().to_owned() }),
    }
}

/// Whether the library can read all variables. Names that were not UTF-8 have a sign for that in them.
fn readable(variables: &Variables) -> Result<(), ServiceError> {
    let is_odd = |(name, value): &(&str, &OsStr)| {
        name.contains(char::REPLACEMENT_CHARACTER) || value.to_str().is_none()
    };
    match variables.iter().find(is_odd) {
        Some((name, _)) => Err(ServiceError::Variable { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Sends `look`, and `make` if the answer is that nothing is there. Who may not look at the bucket itself may still use
/// what is in it; whether it is there shows soon enough.
fn maker<C: SigningCredential>(
    signed: Signed<C>,
    look: http::Request<Bytes>,
    make: Result<http::Request<Bytes>, &'static str>,
) -> Maker {
    Maker(Box::new(move || {
        let (signed, look, make) = (signed.clone(), look.clone(), make.clone());
        Box::pin(async move {
            match signed.ask(look).await {
                Ok(_) => Ok(()),
                Err(error)
                    if Refusal::of(&error).is_some_and(|refusal| refusal.kind() == ErrorKind::Denied) =>
                {
                    Ok(())
                }
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => {
                    let make =
                        make.map_err(|text| opendal::Error::new(opendal::ErrorKind::ConfigInvalid, text))?;
                    match signed.ask(make).await {
                        // Somebody else was faster.
                        Err(error)
                            if Refusal::of(&error)
                                .is_some_and(|refusal| refusal.kind() == ErrorKind::Exists) =>
                        {
                            Ok(())
                        }
                        made => made.map(drop),
                    }
                }
                Err(error) => Err(error),
            }
        })
    }))
}

/// Services that do not send through our client, which would count and pace them.
const WITHOUT_HTTP: [&str; 3] = ["memory", "fs", "sftp"];

/// Whether the client under the operator holds to the limits of bandwidth.
pub(crate) fn paces_itself(location: &Location) -> bool {
    !matches!(location, Location::Opendal { service, .. } if WITHOUT_HTTP.contains(&service.as_str()))
}

fn connections(location: &Location, options: &Options) -> Result<usize, OptionsError> {
    Ok(options.remote(location.kind())?.connections)
}

fn by_name(
    name: &str,
    settings: impl IntoIterator<Item = (String, String)>,
) -> Result<Operator, ServiceError> {
    opendal::init_default_registry();
    if !opendal::OperatorRegistry::get().schemes().iter().any(|scheme| scheme == name) {
        return Err(ServiceError::Unknown { name: name.to_owned() });
    }
    Ok(Operator::via_iter(name, settings)?)
}

/// The operator on our client, with requests as the service makes them.
fn unchanged(operator: Operator, client: &Client) -> Operator {
    on(operator, HttpTransporter::new(Unchanged(client.transporter())))
}

fn on(operator: Operator, transport: HttpTransporter) -> Operator {
    operator.with_context(OperationContext::new().with_http_transport(transport))
}

/// A path below the root of a bucket, as the library writes roots.
fn root(bucket: &Bucket) -> String {
    format!("/{}", bucket.prefix)
}

fn needed<'a>(variables: &'a Variables, name: &'static str) -> Result<&'a str, ServiceError> {
    variables.get(name).ok_or(ServiceError::Missing { what: name })
}

/// Sends one request of a login; gives headers and JSON of a success.
fn asked(client: &Client, request: Request<'_>) -> Result<(http::HeaderMap, Value), ServiceError> {
    const ANSWER_MAX: u64 = 1 << 20;
    let mut body = Vec::new();
    let answer = client.send(request, ANSWER_MAX, &mut body)?;
    if !answer.status.is_success() {
        let refusal = Refusal::new(answer.status.as_u16(), &answer.headers, &answer.problem);
        return Err(ServiceError::Refused(refusal));
    }
    // Old logins answer with headers alone.
    Ok((answer.headers, serde_json::from_slice(&body).unwrap_or_default()))
}

/// The text at a path of names inside JSON.
fn text<'a>(json: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(json, |json, name| json.get(name))?.as_str()
}

#[cfg(test)]
mod tests;
