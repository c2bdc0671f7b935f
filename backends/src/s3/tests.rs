//! What goes over the wire, against a server that says what each test wants to hear and writes down what it heard.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::location::Location;

/// A request as the server heard it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// Method and path with query.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) type Heards = Arc<Mutex<Vec<Heard>>>;

/// Answers each request as `answer` says: status, headers, body. Ends with the process.
pub(crate) fn server(
    answer: impl Fn(&Heard) -> (u16, String, String) + Send + Sync + 'static,
) -> (String, Heards) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heards, answer): (Heards, _) = (Arc::default(), Arc::new(answer));
    let noted = heards.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (noted, answer) = (noted.clone(), answer.clone());
            std::thread::spawn(move || serve(&stream.unwrap(), &noted, &*answer));
        }
    });
    (address, heards)
}

fn serve(stream: &TcpStream, noted: &Heards, answer: &dyn Fn(&Heard) -> (u16, String, String)) -> Option<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut heard = Heard::default();
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|len| *len > 0)?;
        heard.line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            heard.headers.push((name.to_lowercase(), value.to_owned()));
        }
        let len = heard.header("content-length").map_or(0, |len| len.parse().unwrap());
        heard.body.resize(len, 0);
        lines.read_exact(&mut heard.body).ok()?;
        let (status, headers, body) = answer(&heard);
        let is_head = heard.line.starts_with("HEAD");
        noted.lock().unwrap().push(heard);
        let len = if is_head && !body.is_empty() { body.clone() } else { body.len().to_string() };
        let body = if is_head { String::new() } else { body };
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {len}\r\n{headers}\r\n{body}");
        (&mut &*stream).write_all(text.as_bytes()).ok()?;
    }
}

fn backend(address: &str, options: &[&str]) -> S3Backend {
    let Ok(Location::S3(location)) = format!("s3:http://{address}/b/a b").parse() else { panic!() };
    let mut options = Options::parse(options).unwrap();
    options.variables =
        [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")].into_iter().collect();
    S3Backend::new(&Context::new(), &location, &options, Runtime::get().unwrap()).unwrap()
}

fn pack(content: &[u8]) -> FileId {
    FileId { kind: FileKind::Pack, id: hex_sha256(content).parse().unwrap() }
}

fn ok() -> (u16, String, String) {
    (200, String::new(), String::new())
}

fn refusal(status: u16, code: &str) -> (u16, String, String) {
    (status, String::new(), format!("<Error><Code>{code}</Code></Error>"))
}

fn heard(heards: &Heards) -> Vec<Heard> {
    std::mem::take(&mut heards.lock().unwrap())
}

fn lines(heards: &Heards) -> Vec<String> {
    heard(heards).into_iter().map(|heard| heard.line).collect()
}

#[test]
fn an_upload_is_one_request_that_names_its_checksum() {
    let (address, heards) = server(|_| ok());
    let content = b"content".repeat(50_000);
    let file = pack(&content);
    backend(&address, &["s3.sse=aws:kms,s3.sse-kms-key-id=k"]).write(file, &content).unwrap();
    let heards = heard(&heards);
    assert_eq!(heards.len(), 1);
    let put = &heards[0];
    let name = file.id.to_string();
    assert_eq!(put.line, format!("PUT /b/a%20b/data/{}/{name}", &name[..2]));
    assert!(put.body == content);
    assert_eq!(put.header("x-amz-content-sha256"), Some(name.as_str()));
    assert_eq!(put.header("x-amz-checksum-sha256"), Some(base64_encode(file.id.as_bytes()).as_str()));
    assert_eq!(put.header("x-amz-server-side-encryption"), Some("aws:kms"));
    assert_eq!(put.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("k"));
    assert_eq!((put.header("x-amz-storage-class"), put.header("if-none-match")), (None, None));
    let signed = put.header("authorization").unwrap();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=id/") && signed.contains("/us-east-1/s3/"));
    assert!(signed.contains("x-amz-checksum-sha256;") && !signed.contains("secret"), "{signed}");
}

#[test]
fn nothing_is_signed_and_no_checksum_sent_when_the_user_says_so() {
    let (address, heards) = server(|_| ok());
    let backend = backend(&address, &["s3.unsafe-anonymous-auth=true,s3.checksum=none"]);
    backend.write(pack(b""), b"").unwrap();
    let heards = heard(&heards);
    assert_eq!(heards[0].header("content-length"), Some("0"));
    assert_eq!((heards[0].header("authorization"), heards[0].header("x-amz-checksum-sha256")), (None, None));
}

#[test]
fn only_packs_of_data_go_to_a_cold_class() {
    for (class, metadata) in [("GLACIER", None), ("STANDARD_IA", Some("STANDARD_IA"))] {
        let (address, heards) = server(|_| ok());
        let backend = backend(&address, &[&format!("s3.storage-class={class}")]);
        let (data, tree) = (pack(b"data"), pack(b"tree"));
        backend.hint_trees(&[PackId::from(tree.id)]);
        backend.write(data, b"data").unwrap();
        backend.write(tree, b"tree").unwrap();
        backend.write(FileId { kind: FileKind::Index, ..data }, b"data").unwrap();
        backend.write(FileId::CONFIG, b"config").unwrap();
        let heards = heard(&heards);
        let classes: Vec<_> = heards.iter().map(|put| put.header("x-amz-storage-class")).collect();
        assert_eq!(classes, [Some(class), metadata, metadata, metadata]);
    }
}

#[test]
fn a_bucket_in_another_region_is_found_once_for_all() {
    let (address, heards) = server(|heard| {
        let there = heard.header("authorization").unwrap().contains("/eu-west-3/");
        match (there, heard.line.starts_with("HEAD")) {
            (false, true) => (400, String::new(), String::new()),
            (false, false) => {
                let body =
                    "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>";
                (400, String::new(), body.to_owned())
            }
            (true, _) => (200, String::new(), "7".to_owned()),
        }
    });
    let backend = backend(&address, &[]);
    assert_eq!(backend.size(FileId::CONFIG).unwrap(), 7);
    let path = "/b/a%20b/config";
    assert_eq!(lines(&heards), [format!("HEAD {path}"), format!("GET {path}"), format!("HEAD {path}")]);
    assert_eq!(backend.size(FileId::CONFIG).unwrap(), 7);
    assert_eq!(lines(&heards), [format!("HEAD {path}")]);
    let known = self::backend(&address, &["s3.region=us-east-2"]);
    let error = known.size(FileId::CONFIG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("AuthorizationHeaderMalformed"));
}

#[test]
fn the_config_of_a_new_repository_replaces_none() {
    let (address, heards) = server(|heard| match heard.line.as_str() {
        "PUT /b/a%20b/config" if heard.header("if-none-match").is_some() => {
            refusal(412, "PreconditionFailed")
        }
        "GET /b/a%20b/config" => (200, String::new(), "ours".to_owned()),
        _ => ok(),
    });
    let backend = backend(&address, &[]);
    backend.create().unwrap();
    let error = backend.write(FileId::CONFIG, b"other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    // The upload that lost its answer, made again.
    backend.write(FileId::CONFIG, b"ours").unwrap();
    heard(&heards);
    // From now on it is an ordinary config, to be replaced.
    backend.write(FileId::CONFIG, b"upgraded").unwrap();
    assert_eq!(heard(&heards)[0].header("if-none-match"), None);
}

#[test]
fn servers_that_know_no_conditions_store_the_config_as_ever() {
    let (address, _) = server(|heard| match heard.header("if-none-match") {
        Some(_) => refusal(501, "NotImplemented"),
        None => ok(),
    });
    let backend = backend(&address, &[]);
    backend.create().unwrap();
    backend.write(FileId::CONFIG, b"config").unwrap();
}

#[test]
fn create_makes_a_bucket_that_is_missing() {
    for (head, region, expected) in [
        (404, "us-east-1", &["HEAD /b", "PUT /b"][..]),
        (404, "eu-west-1", &["HEAD /b", "PUT /b"]),
        (200, "us-east-1", &["HEAD /b"]),
        (403, "us-east-1", &["HEAD /b"]),
    ] {
        let (address, heards) = server(move |heard| match &heard.line[..4] {
            "HEAD" => (head, String::new(), String::new()),
            _ => ok(),
        });
        backend(&address, &[&format!("s3.region={region}")]).create().unwrap();
        let heards = heard(&heards);
        let lines: Vec<_> = heards.iter().map(|heard| heard.line.as_str()).collect();
        assert_eq!(lines, expected);
        let named = String::from_utf8_lossy(&heards.last().unwrap().body).contains(region);
        assert_eq!(named, region != "us-east-1");
    }
}

#[test]
fn a_refused_look_says_why() {
    for (status, code, kind, text) in [
        (403, "SignatureDoesNotMatch", ErrorKind::Denied, "the server answers 403 SignatureDoesNotMatch"),
        (
            403,
            "RequestTimeTooSkewed",
            ErrorKind::Denied,
            "this machine's clock is wrong by too much; the server answers 403 RequestTimeTooSkewed",
        ),
        (404, "NoSuchBucket", ErrorKind::NotFound, "the server answers 404"),
    ] {
        let (address, _) = server(move |_| refusal(status, code));
        let error = backend(&address, &[]).size(FileId::CONFIG).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), text);
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[test]
fn servers_that_are_busy_say_for_how_long() {
    let (address, _) = server(|_| (503, "retry-after: 7\r\n".to_owned(), String::new()));
    let backend = backend(&address, &[]);
    let content = b"content";
    for error in [
        backend.write(pack(content), content).unwrap_err(),
        backend.size(FileId::CONFIG).unwrap_err(),
        backend.read_all(FileId::CONFIG, 9, &mut Vec::new()).unwrap_err(),
        backend.list(FileKind::Pack).unwrap_err(),
        backend.remove(pack(content)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
        assert_eq!(error.wait().map(|wait| wait.as_secs()), Some(7), "{error}");
    }
}

#[test]
fn a_cold_pack_is_said_to_be_cold_and_asked_for_once() {
    let cold = |state: &'static str| {
        server(move |heard| match (&heard.line[..4], state) {
            ("HEAD", "warm") => ok(),
            ("HEAD", _) => (200, format!("x-amz-storage-class: GLACIER\r\n{state}"), String::new()),
            ("POST", _) => (202, String::new(), String::new()),
            _ => refusal(403, "InvalidObjectState"),
        })
    };
    let file = pack(b"content");
    let packs = [PackId::from(file.id)];
    let thawing = "x-amz-restore: ongoing-request=\"true\"\r\n";
    let thawed = "x-amz-restore: ongoing-request=\"false\", expiry-date=\"x\"\r\n";
    for (state, waits, asks) in
        [("", true, true), (thawing, true, false), (thawed, false, false), ("warm", false, false)]
    {
        let (address, heards) = cold(state);
        let options = ["s3.enable-restore=true,s3.restore-days=3,s3.restore-tier=Bulk"];
        let backend = backend(&address, &options);
        assert_eq!(backend.thaw(&packs).unwrap(), if waits { &packs[..] } else { &[] }, "{state}");
        let asked = heard(&heards).into_iter().find(|heard| heard.line.starts_with("POST"));
        assert_eq!(asked.is_some(), asks, "{state}");
        if let Some(asked) = asked {
            assert!(asked.line.ends_with("?restore"), "{}", asked.line);
            let body = String::from_utf8(asked.body).unwrap();
            assert!(body.contains("<Days>3</Days>") && body.contains("<Tier>Bulk</Tier>"), "{body}");
        }
        let error = backend.read(file, 0..1, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cold);
    }
    let (address, heards) = cold("");
    assert_eq!(backend(&address, &[]).thaw(&packs).unwrap(), []);
    assert!(lines(&heards).is_empty(), "without the option nothing is asked and nothing is paid");
}

/// A page of a listing, as servers write it: at most a thousand keys after the token.
fn page(keys: &[String], heard: &Heard) -> (u16, String, String) {
    let query = heard.line.split_once('?').unwrap().1;
    let parameter = |name: &str| {
        let found = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (prefix, after) = (parameter("prefix"), parameter("continuation-token"));
    let mut rest = keys.iter().filter(|key| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = rest.by_ref().take(PAGE_MAX).collect();
    let more = rest.next().is_some();
    let mut body = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    for key in &page {
        let at = "<LastModified>2020-01-02T03:04:05Z</LastModified>";
        write!(body, "<Contents><Key>{key}</Key>{at}<ETag>x</ETag><Size>8</Size></Contents>").unwrap();
    }
    if let Some(last) = page.last().filter(|_| more) {
        write!(body, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
    }
    (200, String::new(), body + "</ListBucketResult>")
}

const PAGE_MAX: usize = 1000;

#[test]
fn many_packs_are_listed_side_by_side_and_few_in_one_request() {
    for (count, at_least, at_most) in [(0, 1, 1), (998, 1, 1), (3000, 8, 17), (20_000, 20, 49)] {
        let ids: Vec<Id> =
            (0..count).map(|seed: u32| hex_sha256(&seed.to_le_bytes()).parse().unwrap()).collect();
        let path = |id: &Id| format!("a b/{}", layout::path(FileId { kind: FileKind::Pack, id: *id }));
        let mut keys: Vec<String> = ids.iter().map(path).collect();
        keys.push("a b/data/ab/foreign".to_owned());
        keys.sort();
        let (address, heards) = server(move |heard| page(&keys, heard));
        let mut listed = backend(&address, &[]).list(FileKind::Pack).unwrap();
        let mut expected: Vec<_> = ids.into_iter().map(|id| Listed { id, size: 8 }).collect();
        listed.sort_unstable();
        expected.sort_unstable();
        assert!(listed == expected, "{count} packs");
        let requests = lines(&heards).len();
        assert!((at_least..=at_most).contains(&requests), "{requests} requests for {count} packs");
    }
}

#[test]
fn a_listing_without_order_is_read_page_by_page() {
    let ids: Vec<Id> = (0..2500_u32).map(|seed| hex_sha256(&seed.to_le_bytes()).parse().unwrap()).collect();
    let keys: Vec<String> = ids
        .iter()
        .map(|id| format!("a b/{}", layout::path(FileId { kind: FileKind::Pack, id: *id })))
        .collect();
    let (address, heards) = server(move |heard| {
        let start = heard
            .line
            .split_once("continuation-token=")
            .map_or(0, |(_, token)| token.split('&').next().unwrap().parse().unwrap());
        let end = (start + PAGE_MAX).min(keys.len());
        let (_, headers, body) =
            page(&keys[start..end], &Heard { line: "GET ?prefix=".to_owned(), ..Heard::default() });
        let more = format!(
            "<IsTruncated>{}</IsTruncated><NextContinuationToken>{end}</NextContinuationToken>",
            end < keys.len()
        );
        (200, headers, body.replace("<IsTruncated>false</IsTruncated>", &more))
    });
    let listed = backend(&address, &[]).list(FileKind::Pack).unwrap();
    assert_eq!((listed.len(), lines(&heards).len()), (2500, 3));
}
