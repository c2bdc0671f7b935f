//! Google cloud storage: a token, a service account's file, the user's own login, or the machine's account.
//!
//! Source: restic's variables; Google's JSON API of cloud storage.

use opendal::{HttpTransporter, Operator};
use reqsign_google::{DefaultCredentialProvider, RequestSigner, TokenCredentialProvider};

use super::{ServiceError, on, root};
use crate::location::Bucket;
use crate::network::Variables;
use crate::outside;
use crate::signed::Signed;

/// What the keys are good for: reading and writing objects.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

pub(super) fn operator(
    bucket: &Bucket,
    variables: &Variables,
    transport: HttpTransporter,
) -> Result<Operator, ServiceError> {
    let builder = opendal::services::Gcs::default()
        .bucket(&bucket.name)
        .root(&root(bucket))
        .scope(SCOPE)
        .disable_config_load()
        .disable_vm_metadata()
        .skip_signature();
    let context = outside::context(variables, transport.clone());
    let signer = RequestSigner::new("storage").with_scope(SCOPE);
    let signed = match variables.get("GOOGLE_ACCESS_TOKEN") {
        Some(token) => Signed::new(transport, TokenCredentialProvider::new(token), signer, context),
        None => Signed::new(transport, DefaultCredentialProvider::new(), signer, context),
    };
    Ok(on(Operator::new(builder)?, HttpTransporter::new(signed)))
}
