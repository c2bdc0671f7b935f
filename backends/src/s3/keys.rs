//! Who we are: the chain of places that may hold keys for S3.
//!
//! In: variables (never the process's own environment) and a transport for the servers that hand out keys.
//! Out: a provider for the signer, which asks again before keys expire. The order is restic's: variables, files,
//! then the roles of the machine. A role to assume stands on top of whatever was found. No key is ever shown.

mod role; // whoever we are, become somebody else

use std::fmt;
use std::time::Duration;

use opendal::HttpTransporter;
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider, IMDSv2CredentialProvider,
    ProcessCredentialProvider, ProfileCredentialProvider, SSOCredentialProvider,
};
use reqsign_core::{Error, ProvideCredential, ProvideCredentialDyn};

use crate::network::Variables;
use crate::outside;
use role::Role;

/// Machines outside a cloud have nobody at the address of the instance roles; some networks just say nothing.
const INSTANCE_TIMEOUT: Duration = Duration::from_secs(5);

/// All places that may hold keys, asked in turn.
pub(super) struct Keys {
    context: reqsign_core::Context,
    sources: Vec<Box<dyn ProvideCredentialDyn<Credential = Credential>>>,
    role: Option<Role>,
}

impl Keys {
    /// The whole chain; `region` is where the bucket lies.
    pub(super) fn new(variables: &Variables, region: &str, transport: HttpTransporter) -> Self {
        Self {
            context: outside::context(variables, transport),
            sources: vec![
                Box::new(ProfileCredentialProvider::new()),
                Box::new(FromMinioFile),
                Box::new(ProcessCredentialProvider::new()),
                Box::new(SSOCredentialProvider::default()),
                Box::new(AssumeRoleWithWebIdentityCredentialProvider::new()),
                Box::new(ECSCredentialProvider::new()),
                Box::new(Instance(IMDSv2CredentialProvider::new())),
            ],
            role: Role::from_variables(variables, region),
        }
    }

    /// What the first place gives that has something. A place that fails does not hide the later ones.
    async fn first(&self) -> reqsign_core::Result<Credential> {
        // Half a pair of variables is a mistake; going on would use somebody else's keys.
        if let Some(found) = FromVariables.provide_credential(&self.context).await? {
            return Ok(found);
        }
        let mut failed: Option<Error> = None;
        for source in &self.sources {
            match source.provide_credential_dyn(&self.context).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // The first failure tells most: later places are those that exist only in a cloud.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let error = Error::credential_invalid(NONE_FOUND);
        Err(match failed {
            Some(cause) => error.set_retryable(cause.is_retryable()).with_source(cause),
            None => error,
        })
    }
}

/// Said when nobody has keys for us.
pub(super) const NONE_FOUND: &str = "no keys for S3 were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
    or use -o s3.unsafe-anonymous-auth=true for a bucket that is open to everybody";

impl ProvideCredential for Keys {
    type Credential = Credential;

    /// The context given is the signer's, which knows no variables of ours.
    async fn provide_credential(
        &self,
        _: &reqsign_core::Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        let found = self.first().await?;
        match &self.role {
            None => Ok(Some(found)),
            Some(role) => role.assume(&self.context, found).await.map(Some),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Keys in variables, by the names of AWS and of minio.
#[derive(Debug)]
struct FromVariables;

/// Which variables belong together, in restic's order.
const NAMES: [(&str, &str, Option<&str>); 4] = [
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", Some("AWS_SESSION_TOKEN")),
    ("AWS_ACCESS_KEY", "AWS_SECRET_KEY", Some("AWS_SESSION_TOKEN")),
    ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", None),
    ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", None),
];

impl ProvideCredential for FromVariables {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &reqsign_core::Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        for (id, secret, token) in NAMES {
            match (context.env_var(id), context.env_var(secret)) {
                (Some(id), Some(secret)) => {
                    let token = token.and_then(|name| context.env_var(name));
                    return Ok(Some(credential(id, secret, token)));
                }
                (None, None) => {}
                (Some(_), None) => {
                    return Err(Error::config_invalid(format!("{id} is set, but {secret} is not")));
                }
                (None, Some(_)) => {
                    return Err(Error::config_invalid(format!("{secret} is set, but {id} is not")));
                }
            }
        }
        Ok(None)
    }
}

fn credential(id: String, secret: String, token: Option<String>) -> Credential {
    Credential { access_key_id: id, secret_access_key: secret, session_token: token, expires_in: None }
}

/// The file of minio's client, which may hold keys of several servers.
#[derive(Debug)]
struct FromMinioFile;

impl ProvideCredential for FromMinioFile {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &reqsign_core::Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        let path = context.env_var("MINIO_SHARED_CREDENTIALS_FILE").or_else(|| {
            let home = context.home_dir()?;
            Some(home.join(".mc/config.json").to_string_lossy().into_owned())
        });
        let alias = context.env_var("MINIO_ALIAS").unwrap_or_else(|| "s3".to_owned());
        let Some(path) = path else { return Ok(None) };
        let Ok(content) = context.file_read(&path).await else { return Ok(None) };
        let config: serde_json::Value = serde_json::from_slice(&content)
            .map_err(|_| Error::config_invalid(format!("the file {path} is no JSON")))?;
        let entry = ["aliases", "hosts"].iter().find_map(|group| config.get(group)?.get(&alias));
        let text = |key: &str| {
            let text = entry?.get(key)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        Ok(text("accessKey").zip(text("secretKey")).map(|(id, secret)| credential(id, secret, None)))
    }
}

/// The role of the machine, asked for a bounded time.
#[derive(Debug)]
struct Instance(IMDSv2CredentialProvider);

impl ProvideCredential for Instance {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &reqsign_core::Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        match tokio::time::timeout(INSTANCE_TIMEOUT, self.0.provide_credential(context)).await {
            Ok(Ok(found)) => Ok(found),
            // Most machines are no instances, so this is not worth a word beside "no keys were found".
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
