//! A server's refusal over HTTP: what it answered, and what a caller can do about it.
//!
//! In: status, headers and the beginning of the body. Out: a [`Refusal`], which is an error with a text for the
//! user, a kind for the caller, and what the server said about waiting or about the right region. Pure. Only
//! the code and the message of a body are kept: other parts of it may repeat keys.

use std::error::Error;
use std::fmt;

use http::Response;
use http::header::{HeaderMap, RETRY_AFTER};
use opendal::HttpBody;
use opendal::raw::oio::ReadStream as _;
use repo_core::backend::{BackendError, ErrorKind};

/// No refusal needs more of its body to be understood.
const BODY_MAX: usize = 64 << 10;

/// What a server answered instead of doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
    retry_after: Option<u32>,
}

impl Refusal {
    /// Reads a refusal; the body may be empty (as after HEAD), XML, JSON or anything else.
    pub(crate) fn new(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body.get(..BODY_MAX).unwrap_or(body));
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let json = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
        let json = json.get("error").unwrap_or(&json);
        let field = |xml: &str, key: &str| {
            tag(&text, xml).or_else(|| json.get(key).and_then(|value| value.as_str()).map(str::to_owned))
        };
        Self {
            status,
            code: field("Code", "code").or_else(|| header("x-ms-error-code")).unwrap_or_default(),
            message: field("Message", "message").unwrap_or_default(),
            region: tag(&text, "Region").or_else(|| header("x-amz-bucket-region")),
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|seconds| seconds.trim().parse().ok()),
        }
    }

    /// What the caller can do about it. The code says more than the status where there is one.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.code.as_str() {
            "NoSuchKey" | "NoSuchBucket" | "NotFound" => ErrorKind::NotFound,
            "InvalidObjectState" => ErrorKind::Cold,
            "SlowDown" | "TooManyRequests" | "Throttling" | "RequestLimitExceeded" | "ServerBusy" => {
                ErrorKind::Throttled
            }
            "InternalError"
            | "RequestTimeout"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            | "BadDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody" => ErrorKind::Transient,
            "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity" => ErrorKind::Full,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "IllegalLocationConstraintException"
            | "InvalidBucketName"
            | "InvalidStorageClass"
            | "InvalidArgument"
            | "InvalidRequest"
            | "InvalidEncryptionAlgorithmError"
            | "InvalidLocationConstraint"
            | "KeyTooLongError"
            | "UnsupportedArgument"
            | "UnsupportedSignature" => ErrorKind::Config,
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "RequestTimeTooSkewed" => {
                ErrorKind::Denied
            }
            _ => self.kind_of_status(),
        }
    }

    fn kind_of_status(&self) -> ErrorKind {
        match self.status {
            401 | 403 => ErrorKind::Denied,
            404 | 410 => ErrorKind::NotFound,
            409 | 412 => ErrorKind::Exists,
            413 | 507 => ErrorKind::Full,
            416 => ErrorKind::TooShort,
            429 | 503 => ErrorKind::Throttled,
            408 | 499 | 500 | 502 | 504 => ErrorKind::Transient,
            300..=399 => ErrorKind::Config,
            // Among them 400 without a word about why: perhaps the request was cut on its way, which is tried again
            // for a while, perhaps it is wrong, which nobody mends.
            _ => ErrorKind::Other,
        }
    }

    /// Whether the server read the request, and does not know or want a part of it.
    pub(crate) fn is_about_the_request(&self) -> bool {
        self.status == 501 || (self.status == 400 && !self.code.is_empty() && !self.kind().is_passing())
    }

    /// The server's word for what is wrong; empty if it gave none.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Where the bucket lies, if the server says that it lies elsewhere.
    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The refusal as the cause of an error of its kind.
    pub(crate) fn into_error(self, make: impl FnOnce(ErrorKind) -> BackendError) -> BackendError {
        let error = make(self.kind());
        let error = match self.retry_after {
            Some(seconds) => error.retry_after(seconds),
            None => error,
        };
        error.because(self)
    }

    /// The refusal among an error's causes.
    pub(crate) fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code.as_str() {
            "RequestTimeTooSkewed" => f.write_str("this machine's clock is wrong by too much; ")?,
            "NoSuchBucket" => f.write_str("there is no such bucket; ")?,
            _ => {}
        }
        write!(f, "the server answers {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        let message = self.message.trim().trim_end_matches('.');
        if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
    }
}

impl Error for Refusal {}

/// What the server says is wrong, read up to a limit, as an error of the `opendal` library.
pub(crate) async fn refused(answer: Response<HttpBody>) -> opendal::Error {
    let (parts, mut body) = answer.into_parts();
    let mut text = Vec::new();
    // A body that breaks off is still better than none: the status has been told.
    while let Ok(piece) = body.read().await {
        if piece.is_empty() || text.len() > BODY_MAX {
            break;
        }
        text.extend_from_slice(&piece.to_bytes());
    }
    let refusal = Refusal::new(parts.status.as_u16(), &parts.headers, &text);
    let kind = match refusal.kind() {
        ErrorKind::NotFound => opendal::ErrorKind::NotFound,
        ErrorKind::Denied => opendal::ErrorKind::PermissionDenied,
        ErrorKind::TooShort => opendal::ErrorKind::RangeNotSatisfied,
        ErrorKind::Throttled => opendal::ErrorKind::RateLimited,
        _ => opendal::ErrorKind::Unexpected,
    };
    let passing = refusal.kind().is_passing();
    opendal::Error::new(kind, "the server refuses").with_temporary(passing).set_source(refusal)
}

/// The text of the first `<name>…</name>`. Enough for answers, which are flat and short.
pub(crate) fn tag(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Refusal {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect();
        Refusal::new(status, &headers, body.as_bytes())
    }

    #[test]
    fn a_refusal_says_what_to_do_about_it() {
        fn check(status: u16, code: &str, expected: ErrorKind) {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
            assert_eq!(refusal(status, &[], &body).kind(), expected, "{status} {code}");
        }
        check(404, "NoSuchKey", ErrorKind::NotFound);
        check(404, "NoSuchBucket", ErrorKind::NotFound);
        check(404, "", ErrorKind::NotFound);
        check(403, "AccessDenied", ErrorKind::Denied);
        check(403, "SignatureDoesNotMatch", ErrorKind::Denied);
        check(403, "RequestTimeTooSkewed", ErrorKind::Denied);
        check(403, "InvalidObjectState", ErrorKind::Cold);
        check(503, "SlowDown", ErrorKind::Throttled);
        check(503, "", ErrorKind::Throttled);
        check(429, "", ErrorKind::Throttled);
        check(500, "InternalError", ErrorKind::Transient);
        check(400, "RequestTimeout", ErrorKind::Transient);
        check(400, "BadDigest", ErrorKind::Transient);
        check(502, "", ErrorKind::Transient);
        check(409, "OperationAborted", ErrorKind::Transient);
        check(412, "PreconditionFailed", ErrorKind::Exists);
        check(416, "InvalidRange", ErrorKind::TooShort);
        check(400, "AuthorizationHeaderMalformed", ErrorKind::Config);
        check(301, "PermanentRedirect", ErrorKind::Config);
        check(507, "", ErrorKind::Full);
        check(400, "InvalidBucketName", ErrorKind::Config);
        check(400, "InvalidRequest", ErrorKind::Config);
        check(400, "ExpiredToken", ErrorKind::Denied);
        check(400, "IncompleteBody", ErrorKind::Transient);
        check(400, "MalformedXML", ErrorKind::Other);
        check(400, "", ErrorKind::Other);
    }

    #[test]
    fn the_text_names_code_and_message_and_nothing_else_of_the_body() {
        fn check(status: u16, body: &str, expected: &str) {
            assert_eq!(refusal(status, &[], body).to_string(), expected);
        }
        check(
            403,
            "<Error><Code>SignatureDoesNotMatch</Code><Message>Check your key &amp; method.</Message>\
             <AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>secret</StringToSign></Error>",
            "the server answers 403 SignatureDoesNotMatch: Check your key & method",
        );
        check(
            403,
            "<Error><Code>RequestTimeTooSkewed</Code><Message>Too far</Message></Error>",
            "this machine's clock is wrong by too much; the server answers 403 RequestTimeTooSkewed: Too far",
        );
        check(403, "", "the server answers 403");
        check(502, "<html>Bad gateway</html>", "the server answers 502");
        check(401, r#"{"code":"bad_auth_token","message":"No.","status":401}"#, {
            "the server answers 401 bad_auth_token: No"
        });
        check(403, r#"{"error":{"code":403,"message":"No access"}}"#, "the server answers 403: No access");
        check(400, &"<".repeat(BODY_MAX * 2), "the server answers 400");
    }

    #[test]
    fn a_server_may_say_how_long_to_wait_and_where_to_go() {
        let slow = refusal(503, &[("retry-after", "7")], "");
        assert_eq!((slow.retry_after, slow.region()), (Some(7), None));
        assert_eq!(refusal(503, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], "").retry_after, None);
        assert_eq!(refusal(400, &[("x-amz-bucket-region", "eu-west-1")], "").region(), Some("eu-west-1"));
        let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>";
        assert_eq!(refusal(400, &[], body).region(), Some("eu-west-3"));
    }
}
