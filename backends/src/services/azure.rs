//! Azure blobs: an account with its key, a shared access signature, or whatever Azure's own programs use.
//!
//! Source: restic's variables `AZURE_*`; Azure's REST reference of the blob service.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method};
use opendal::{HttpTransporter, Operator};
use reqsign_azure_storage::{
    AzureCliCredentialProvider, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider,
};

use super::{Service, ServiceError, maker, needed, on, root};
use crate::location::Bucket;
use crate::network::Variables;
use crate::options::{Options, OptionsError};
use crate::outside;
use crate::signed::Signed;

/// The version of the protocol, as the library asks for it.
const VERSION: &str = "2022-11-02";

pub(super) fn service(
    container: &Bucket,
    options: &Options,
    transport: HttpTransporter,
) -> Result<Service, ServiceError> {
    let variables = &options.variables;
    let tier = tier(options)?;
    let builder = opendal::services::Azblob::default()
        .endpoint(&endpoint(variables)?)
        .container(&container.name)
        .root(&root(container))
        .skip_signature();
    let context = outside::context(variables, transport.clone());
    let account = needed(variables, "AZURE_ACCOUNT_NAME")?;
    let signer = RequestSigner::new();
    let signed = if let Some(key) = variables.get("AZURE_ACCOUNT_KEY") {
        if reqsign_core::hash::base64_decode(key).is_err() {
            return Err(ServiceError::Invalid { what: "AZURE_ACCOUNT_KEY" });
        }
        Signed::new(transport, StaticCredentialProvider::new_shared_key(account, key), signer, context)
    } else if let Some(sas) = variables.get("AZURE_ACCOUNT_SAS") {
        let sas = sas.trim_start_matches('?');
        Signed::new(transport, StaticCredentialProvider::new_sas_token(sas), signer, context)
    } else if variables.get("AZURE_FORCE_CLI_CREDENTIAL").is_some_and(is_true) {
        Signed::new(transport, AzureCliCredentialProvider::new(), signer, context)
    } else {
        Signed::new(transport, DefaultCredentialProvider::new(), signer, context)
    };
    let address = format!("{}/{}?restype=container", endpoint(variables)?, container.name);
    let ask = |method: Method| {
        http::Request::builder()
            .method(method)
            .uri(&address)
            .header("x-ms-version", VERSION)
            .header(CONTENT_LENGTH, 0)
            .body(Bytes::new())
            .map_err(|_| ServiceError::Invalid { what: "the name of the container" })
    };
    let maker = maker(signed.clone(), ask(Method::GET)?, Ok(ask(Method::PUT)?));
    let signed = match tier.map(HeaderValue::from_static) {
        Some(tier) => signed.with_upload_header("x-ms-access-tier", tier),
        None => signed,
    };
    Ok(Service { operator: on(Operator::new(builder)?, HttpTransporter::new(signed)), maker: Some(maker) })
}

fn endpoint(variables: &Variables) -> Result<String, ServiceError> {
    let account = needed(variables, "AZURE_ACCOUNT_NAME")?;
    let end = variables.get("AZURE_ENDPOINT_SUFFIX").unwrap_or("core.windows.net");
    Ok(format!("https://{account}.blob.{end}"))
}

/// The tier of new blobs. The archive would take in what is needed to open the repository, so it is not offered.
fn tier(options: &Options) -> Result<Option<&'static str>, OptionsError> {
    options.choice("azure.access-tier", &["Hot", "Cool", "Cold"])
}

fn is_true(word: &str) -> bool {
    ["1", "t", "true"].contains(&word.to_lowercase().as_str())
}
