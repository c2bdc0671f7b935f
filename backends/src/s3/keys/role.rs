//! Assuming a role: keys of one account in, temporary keys of a role out.
//!
//! One request to the token service (STS), signed with what was found before. The library's own way accepts
//! neither another server nor another form of role names, both of which minio needs.
//! Source: AWS Security Token Service API reference, `AssumeRole`; restic's variables `RESTIC_AWS_ASSUME_ROLE_*`.

use bytes::Bytes;
use reqsign_aws_v4::{Credential, RequestSigner, StaticCredentialProvider};
use reqsign_core::hash::hex_sha256;
use reqsign_core::{Error, Signer};
use url::form_urlencoded::Serializer;

use crate::network::Variables;
use crate::refusal::{Refusal, tag};

/// Which role to assume, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    arn: String,
    session_name: String,
    external_id: Option<String>,
    policy: Option<String>,
    region: String,
    endpoint: String,
}

/// For how long the keys should be good; the signer asks for new ones in time.
const SECONDS: &str = "3600";

impl Role {
    pub(super) fn from_variables(variables: &Variables, region: &str) -> Option<Self> {
        let get = |name: &str| variables.get(&format!("RESTIC_AWS_ASSUME_ROLE_{name}")).map(str::to_owned);
        let region = get("REGION").unwrap_or_else(|| region.to_owned());
        let end = if region.starts_with("cn-") { ".cn" } else { "" };
        Some(Self {
            arn: get("ARN")?,
            session_name: get("SESSION_NAME").unwrap_or_else(|| "larder".to_owned()),
            external_id: get("EXTERNAL_ID"),
            policy: get("POLICY"),
            endpoint: get("STS_ENDPOINT")
                .unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com{end}")),
            region,
        })
    }

    pub(super) async fn assume(
        &self,
        context: &reqsign_core::Context,
        from: Credential,
    ) -> reqsign_core::Result<Credential> {
        let mut provider = StaticCredentialProvider::new(&from.access_key_id, &from.secret_access_key);
        if let Some(token) = &from.session_token {
            provider = provider.with_session_token(token);
        }
        let signer = Signer::new(context.clone(), provider, RequestSigner::new("sts", &self.region));
        let (mut parts, body) = self.request()?.into_parts();
        signer.sign(&mut parts, None).await?;
        let answer = context.http_send(http::Request::from_parts(parts, body)).await?;
        if !answer.status().is_success() {
            let refusal = Refusal::new(answer.status().as_u16(), answer.headers(), answer.body());
            let passing = refusal.kind().is_passing();
            let error = Error::permission_denied(format!("cannot assume the role {}", self.arn));
            return Err(error.set_retryable(passing).with_source(refusal));
        }
        keys(&String::from_utf8_lossy(answer.body()))
            .ok_or_else(|| Error::unexpected("the token service's answer holds no keys"))
    }

    fn request(&self) -> reqsign_core::Result<http::Request<Bytes>> {
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", "AssumeRole")
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", &self.arn)
            .append_pair("RoleSessionName", &self.session_name)
            .append_pair("DurationSeconds", SECONDS);
        for (name, value) in [("ExternalId", &self.external_id), ("Policy", &self.policy)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let body = form.finish();
        let address = format!("{}/", self.endpoint.trim_end_matches('/'));
        Ok(http::Request::post(address)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("x-amz-content-sha256", hex_sha256(body.as_bytes()))
            .body(Bytes::from(body))?)
    }
}

/// The keys in an answer.
fn keys(xml: &str) -> Option<Credential> {
    Some(Credential {
        access_key_id: tag(xml, "AccessKeyId")?,
        secret_access_key: tag(xml, "SecretAccessKey")?,
        session_token: Some(tag(xml, "SessionToken")?),
        expires_in: Some(tag(xml, "Expiration")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(variables: &[(&str, &str)]) -> Option<Role> {
        let variables = variables
            .iter()
            .map(|(name, value)| (format!("RESTIC_AWS_ASSUME_ROLE_{name}"), *value))
            .collect();
        Role::from_variables(&variables, "eu-west-1")
    }

    #[test]
    fn every_variable_is_taken() {
        assert_eq!(role(&[("SESSION_NAME", "x")]), None);
        let plain = role(&[("ARN", "arn:aws:iam::1:role/r")]).unwrap();
        assert_eq!(plain.endpoint, "https://sts.eu-west-1.amazonaws.com");
        assert_eq!((plain.session_name.as_str(), plain.region.as_str()), ("larder", "eu-west-1"));
        let full = role(&[
            ("ARN", "a"),
            ("SESSION_NAME", "n m"),
            ("EXTERNAL_ID", "e"),
            ("POLICY", "{}"),
            ("REGION", "r"),
            ("STS_ENDPOINT", "http://127.0.0.1:9/"),
        ])
        .unwrap();
        let request = full.request().unwrap();
        assert_eq!(request.uri(), "http://127.0.0.1:9/");
        assert_eq!(
            request.body(),
            "Action=AssumeRole&Version=2011-06-15&RoleArn=a&RoleSessionName=n+m&DurationSeconds=3600\
             &ExternalId=e&Policy=%7B%7D"
        );
        assert_eq!(role(&[("ARN", "a"), ("REGION", "cn-north-1")]).unwrap().endpoint, {
            "https://sts.cn-north-1.amazonaws.com.cn"
        });
    }

    #[test]
    fn keys_are_taken_from_an_answer_that_has_all_of_them() {
        let xml = "<R><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
            <SessionToken>T</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration></Credentials></R>";
        let found = keys(xml).unwrap();
        assert_eq!((found.access_key_id.as_str(), found.session_token.as_deref()), ("A", Some("T")));
        assert!(keys(&xml.replace("Expiration", "X")).is_none());
        assert!(keys("").is_none());
    }
}
