//! What a bucket is like and how it is to be used: location and options → [`Settings`].
//!
//! Pure. Names of options are restic's where restic has them. What the user says beats the variables, which
//! beat what the name of the host tells.

use crate::location::S3;
use crate::options::{Options, OptionsError};

/// Everything about a bucket but the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four switches that users have, each under its own name")]
pub(crate) struct Settings {
    /// `https://host` or `http://host:port`, without the bucket.
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    /// Without slashes at the ends; empty for the bucket itself.
    pub(crate) prefix: String,
    pub(crate) region: Region,
    /// Whether the bucket is part of the host's name instead of the path.
    pub(crate) virtual_host: bool,
    /// The class of new objects; `None` leaves it to the bucket.
    pub(crate) storage_class: Option<String>,
    pub(crate) list_v1: bool,
    pub(crate) anonymous: bool,
    /// Server-side encryption: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub(crate) sse: Option<String>,
    pub(crate) sse_kms_key_id: Option<String>,
    /// Whether uploads carry a checksum header beside the signed one.
    pub(crate) checksum: bool,
    /// How to thaw; `None` never asks for it, because it costs.
    pub(crate) thaw: Option<Thaw>,
    pub(crate) connections: usize,
}

/// Where the bucket lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Region {
    /// Somebody said so.
    Known(String),
    /// The best guess, to be replaced by what the server says.
    Guessed(String),
}

impl Region {
    pub(crate) fn name(&self) -> &str {
        let (Self::Known(name) | Self::Guessed(name)) = self;
        name
    }
}

/// How cold objects are made readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thaw {
    /// For how many days they stay readable.
    pub(crate) days: u32,
    /// `Standard`, `Bulk` or `Expedited`.
    pub(crate) tier: String,
}

/// Classes whose objects cannot be read at once. What everybody needs to open a repository never goes there.
const COLD: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

impl Settings {
    pub(crate) fn new(location: &S3, options: &Options) -> Result<Self, OptionsError> {
        options.only_known("s3")?;
        let endpoint = location.endpoint.clone();
        let host = host(&endpoint);
        let variable = |name: &str| options.variables.get(name).map(str::to_owned);
        let region = options
            .text("s3.region")
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| region_of(host))
            .map_or_else(|| Region::Guessed("us-east-1".to_owned()), Region::Known);
        let virtual_host = match options.choice("s3.bucket-lookup", &["auto", "dns", "path"])? {
            Some("dns") => true,
            Some("path") => false,
            // A certificate for *.host does not cover a bucket with dots in its name.
            _ => is_virtual(host) && !(endpoint.starts_with("https:") && location.bucket.contains('.')),
        };
        // Accepted and bounded for the sake of scripts; tries are made above all backends alike.
        options.number("s3.retries")?;
        options.thaw_timeout()?;
        let tier = options.choice("s3.restore-tier", &["Standard", "Bulk", "Expedited"])?;
        let days = options.number("s3.restore-days")?.unwrap_or(7);
        let thaw = Thaw { days, tier: tier.unwrap_or("Standard").to_owned() };
        let key_id = options.text("s3.sse-kms-key-id");
        let sse = options.choice("s3.sse", &["AES256", "aws:kms", "aws:kms:dsse"])?;
        Ok(Self {
            bucket: location.bucket.clone(),
            prefix: location.prefix.clone(),
            region,
            virtual_host,
            storage_class: options.text("s3.storage-class"),
            list_v1: options.flag("s3.list-objects-v1")?,
            anonymous: options.flag("s3.unsafe-anonymous-auth")?,
            sse: sse.or(key_id.as_ref().map(|_| "aws:kms")).map(str::to_owned),
            sse_kms_key_id: key_id,
            checksum: options.choice("s3.checksum", &["sha256", "none"])? != Some("none"),
            thaw: options.flag("s3.enable-restore")?.then_some(thaw),
            connections: options.remote("s3")?.connections,
            endpoint,
        })
    }

    /// The address of the bucket, without a slash at the end.
    pub(crate) fn bucket_url(&self) -> String {
        let endpoint = match self.endpoint.as_str() {
            // The one host that answers for all regions of AWS, and is slow to follow for new buckets.
            "https://s3.amazonaws.com" => format!("https://s3.{}.amazonaws.com", self.region.name()),
            endpoint => endpoint.to_owned(),
        };
        match endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_host => format!("{scheme}://{}.{host}", self.bucket),
            _ => format!("{endpoint}/{}", self.bucket),
        }
    }

    /// Whether objects of the chosen class must be thawed before they can be read.
    pub(crate) fn is_cold(&self) -> bool {
        self.storage_class.as_deref().is_some_and(|class| COLD.contains(&class))
    }
}

/// Host and port of an endpoint.
fn host(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, host)| host)
}

/// The region that a host's name tells: `s3.eu-west-1.amazonaws.com`, `s3.us-west-004.backblazeb2.com` …
fn region_of(host: &str) -> Option<String> {
    const AFTER: [&str; 9] = [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".backblazeb2.com",
        ".wasabisys.com",
        ".digitaloceanspaces.com",
        ".scw.cloud",
        ".linodeobjects.com",
        ".your-objectstorage.com",
        ".io.cloud.ovh.net",
    ];
    if host.ends_with(".r2.cloudflarestorage.com") {
        return Some("auto".to_owned());
    }
    let name = AFTER.into_iter().find_map(|end| host.strip_suffix(end))?;
    let name = name.strip_prefix("s3.dualstack.").or_else(|| name.strip_prefix("s3.")).unwrap_or_else(|| {
        // Older names of AWS: s3-eu-west-1.amazonaws.com.
        name.strip_prefix("s3-").unwrap_or(name)
    });
    let is_region = !["", "s3", "accelerate", "dualstack", "s3-accelerate"].contains(&name)
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_region.then(|| name.to_owned())
}

/// Hosts that want the bucket in their name: AWS, Google, Alibaba; others are asked with the bucket in the path.
fn is_virtual(host: &str) -> bool {
    ["amazonaws.com", "amazonaws.com.cn", "storage.googleapis.com", "aliyuncs.com"]
        .iter()
        .any(|end| host.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;

    fn settings(
        location: &str,
        texts: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Settings, OptionsError> {
        let Ok(Location::S3(location)) = location.parse() else { panic!("{location}") };
        let mut options = Options::parse(texts)?;
        options.variables = variables.iter().map(|(name, value)| (*name, *value)).collect();
        Settings::new(&location, &options)
    }

    #[test]
    fn without_options_everything_is_as_restic_has_it() {
        let expected = Settings {
            endpoint: "http://127.0.0.1:9000".to_owned(),
            bucket: "b".to_owned(),
            prefix: "p/q".to_owned(),
            region: Region::Guessed("us-east-1".to_owned()),
            virtual_host: false,
            storage_class: None,
            list_v1: false,
            anonymous: false,
            sse: None,
            sse_kms_key_id: None,
            checksum: true,
            thaw: None,
            connections: 5,
        };
        assert_eq!(settings("s3:http://127.0.0.1:9000/b/p/q", &[], &[]), Ok(expected));
    }

    #[test]
    fn the_region_is_said_or_told_by_the_host_or_guessed() {
        fn check(host: &str, texts: &[&str], variables: &[(&str, &str)], expected: &str) {
            let region = settings(&format!("s3:{host}/b"), texts, variables).unwrap().region;
            assert_eq!(region.name(), expected, "{host}");
            assert_eq!(matches!(region, Region::Guessed(_)), expected == "us-east-1", "{host}");
        }
        check("s3.amazonaws.com", &[], &[], "us-east-1");
        check("s3.eu-west-1.amazonaws.com", &[], &[], "eu-west-1");
        check("s3-eu-west-1.amazonaws.com", &[], &[], "eu-west-1");
        check("s3.dualstack.eu-west-1.amazonaws.com", &[], &[], "eu-west-1");
        check("s3.cn-north-1.amazonaws.com.cn", &[], &[], "cn-north-1");
        check("s3.us-west-004.backblazeb2.com", &[], &[], "us-west-004");
        check("fra1.digitaloceanspaces.com", &[], &[], "fra1");
        check("s3.wasabisys.com", &[], &[], "us-east-1");
        check("abc.r2.cloudflarestorage.com", &[], &[], "auto");
        check("minio.example:9000", &[], &[], "us-east-1");
        check("h", &[], &[("AWS_DEFAULT_REGION", "x"), ("AWS_REGION", "y")], "x");
        check("h", &[], &[("AWS_REGION", "y")], "y");
        check("h", &[], &[("AWS_DEFAULT_REGION", "")], "us-east-1");
        check("s3.eu-west-1.amazonaws.com", &["s3.region=z"], &[("AWS_REGION", "y")], "z");
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_host() {
        fn check(location: &str, texts: &[&str], expected: &str) {
            assert_eq!(settings(location, texts, &[]).unwrap().bucket_url(), expected);
        }
        check("s3:http://h:9000/b/p", &[], "http://h:9000/b");
        check("s3:http://h:9000/b", &["s3.bucket-lookup=dns"], "http://b.h:9000");
        check("s3:s3.amazonaws.com/b", &[], "https://b.s3.us-east-1.amazonaws.com");
        check("s3:s3.amazonaws.com/b", &["s3.region=eu-west-1"], "https://b.s3.eu-west-1.amazonaws.com");
        check(
            "s3:s3.eu-west-1.amazonaws.com/b",
            &["s3.bucket-lookup=path"],
            "https://s3.eu-west-1.amazonaws.com/b",
        );
        check("s3:s3.eu-west-1.amazonaws.com/a.b", &[], "https://s3.eu-west-1.amazonaws.com/a.b");
        check("s3:storage.googleapis.com/b", &["s3.bucket-lookup=auto"], "https://b.storage.googleapis.com");
        check("s3:notamazonaws.com/b", &[], "https://notamazonaws.com/b");
    }

    #[test]
    fn every_option_is_taken() {
        let texts = [
            "s3.storage-class=GLACIER,s3.list-objects-v1=true,s3.retries=3,s3.unsafe-anonymous-auth=1",
            "s3.enable-restore=true,s3.restore-days=2,s3.restore-tier=Bulk,s3.restore-timeout=1h30m",
            "s3.sse-kms-key-id=key,s3.checksum=none,s3.connections=9,s3.layout=default",
        ];
        let settings = settings("s3:h/b", &texts, &[]).unwrap();
        assert_eq!(settings.storage_class.as_deref(), Some("GLACIER"));
        assert!(settings.is_cold() && settings.list_v1 && settings.anonymous && !settings.checksum);
        assert_eq!(settings.thaw, Some(Thaw { days: 2, tier: "Bulk".to_owned() }));
        assert_eq!(
            (settings.sse.as_deref(), settings.sse_kms_key_id.as_deref()),
            (Some("aws:kms"), Some("key"))
        );
        assert_eq!(settings.connections, 9);
    }

    #[test]
    fn only_classes_that_must_be_thawed_are_cold() {
        for (class, cold) in
            [("STANDARD_IA", false), ("GLACIER_IR", false), ("GLACIER", true), ("DEEP_ARCHIVE", true)]
        {
            let text = format!("s3.storage-class={class}");
            assert_eq!(settings("s3:h/b", &[&text], &[]).unwrap().is_cold(), cold, "{class}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "s3.bucket-lookup=maybe",
            "s3.list-objects-v1=perhaps",
            "s3.retries=0",
            "s3.restore-days=none",
            "s3.restore-tier=Fast",
            "s3.restore-timeout=soon",
            "s3.sse=rot13",
            "s3.checksum=md4",
            "s3.connections=0",
            "s3.nonsense=1",
        ] {
            assert!(settings("s3:h/b", &[text], &[]).is_err(), "{text}");
        }
    }
}
