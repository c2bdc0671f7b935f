//! Google cloud storage: a token, a service account's file, the user's own login, or the machine's account.
//!
//! Source: restic's variables; Google's JSON API of cloud storage.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use opendal::{HttpTransporter, Operator};
use reqsign_google::{Credential, DefaultCredentialProvider, RequestSigner, TokenCredentialProvider};

use super::{Service, ServiceError, maker, on, root};
use crate::location::Bucket;
use crate::network::Variables;
use crate::operator::Maker;
use crate::options::Options;
use crate::outside;
use crate::signed::Signed;

/// What the keys are good for: reading and writing objects.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Names an emulator's host and port, as for Google's own libraries.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";

pub(super) fn service(
    bucket: &Bucket,
    options: &Options,
    transport: HttpTransporter,
) -> Result<Service, ServiceError> {
    let variables = &options.variables;
    let endpoint = endpoint(variables);
    let builder = opendal::services::Gcs::default()
        .endpoint(&endpoint)
        .bucket(&bucket.name)
        .root(&root(bucket))
        .scope(SCOPE)
        .disable_config_load()
        .disable_vm_metadata()
        .skip_signature();
    let context = outside::context(variables, transport.clone());
    let signer = RequestSigner::new("storage").with_scope(SCOPE);
    let signed = match (variables.get("GOOGLE_ACCESS_TOKEN"), variables.get(EMULATOR)) {
        (Some(token), _) => Signed::new(transport, TokenCredentialProvider::new(token), signer, context),
        (None, None) => Signed::new(transport, DefaultCredentialProvider::new(), signer, context),
        // Emulators let everybody in.
        (None, Some(_)) => Signed::anonymous(transport),
    };
    let maker = made(&endpoint, bucket, options, signed.clone())?;
    Ok(Service { operator: on(Operator::new(builder)?, HttpTransporter::new(signed)), maker: Some(maker) })
}

/// Looks for the bucket, and makes it in the project and the region that were named.
fn made(
    endpoint: &str,
    bucket: &Bucket,
    options: &Options,
    signed: Signed<Credential>,
) -> Result<Maker, ServiceError> {
    let invalid = |_| ServiceError::Invalid { what: "the name of the bucket or of the project" };
    let buckets = format!("{endpoint}/storage/v1/b");
    let look =
        http::Request::get(format!("{buckets}/{}", bucket.name)).body(Bytes::new()).map_err(invalid)?;
    let make = match options.variables.get("GOOGLE_PROJECT_ID") {
        None => Err("there is no such bucket; with GOOGLE_PROJECT_ID it would be made"),
        Some(project) => {
            let region = options.text("gs.region").unwrap_or_else(|| "us".to_owned());
            let wish = serde_json::json!({ "name": bucket.name, "location": region }).to_string();
            let request = http::Request::post(format!("{buckets}?project={project}"))
                .header(CONTENT_TYPE, "application/json")
                .body(Bytes::from(wish));
            Ok(request.map_err(invalid)?)
        }
    };
    Ok(maker(signed, look, make))
}

/// Google's own address, or that of an emulator, with or without a scheme.
fn endpoint(variables: &Variables) -> String {
    match variables.get(EMULATOR) {
        None => "https://storage.googleapis.com".to_owned(),
        Some(host) if host.contains("://") => host.trim_end_matches('/').to_owned(),
        Some(host) => format!("http://{host}"),
    }
}
