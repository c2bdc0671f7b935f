//! The client against servers that answer, lie, break off, and stand still. Each is a thread with a listener.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::mpsc;
use std::thread;

use opendal::Buffer;
use repo_core::backend::{ErrorKind, Throttle};
use repo_core::context::with_causes;

use super::*;
use crate::network::Network;

const STALL: Duration = Duration::from_millis(200);

fn client(options: &Options) -> Client {
    Client::new(&Context::new(), options, 5, None).unwrap()
}

fn with(network: Network) -> Options {
    let mut options = Options::default();
    options.network = network;
    options
}

fn impatient() -> Options {
    with(Network { stall_timeout: STALL, ..Network::default() })
}

/// A request as a server sees it.
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// Reads one request whose body has a `Content-Length`; nothing if the client has gone.
fn receive(stream: impl Read) -> Option<Seen> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let len = head.to_lowercase().split("content-length: ").nth(1).map_or(0, |rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    });
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    Some(Seen { head, body })
}

/// A server that gives every connection to `answer`, in a thread of its own.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

/// A server that answers every request with the same bytes and then closes.
fn says(answer: &'static str) -> SocketAddr {
    serve(move |mut stream| {
        if receive(&stream).is_some() {
            stream.write_all(answer.as_bytes()).unwrap();
        }
    })
}

fn get(address: SocketAddr) -> Request<'static> {
    let url = format!("http://{address}/secret/path?token=secret");
    Request::new(Method::GET, url.parse().unwrap())
}

/// Asks a server once, with a short stall timeout.
fn asked(address: SocketAddr) -> Result<(Answer, Vec<u8>), HttpError> {
    let mut buffer = b"old".to_vec();
    let answer = client(&impatient()).send(get(address), 1000, &mut buffer)?;
    Ok((answer, buffer))
}

#[test]
fn a_borrowed_body_arrives_whole_and_comes_back_whole() {
    let address = serve(|mut stream| {
        while let Some(seen) = receive(&stream) {
            assert!(seen.head.starts_with("POST /x HTTP/1.1\r\n"), "{}", seen.head);
            assert!(seen.head.to_lowercase().contains("user-agent: larder/"), "{}", seen.head);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len()).unwrap();
            stream.write_all(&seen.body).unwrap();
        }
    });
    let client = client(&Options::default());
    let mut buffer = Vec::new();
    let mut sum = 0;
    for len in [0_usize, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 5_000_000] {
        let body: Vec<u8> = (0..=250).cycle().take(len).collect();
        let request = Request::new(Method::POST, format!("http://{address}/x").parse().unwrap());
        let answer = client.send(request.with_body(&body), len as u64, &mut buffer).unwrap();
        assert_eq!((answer.status, answer.cut, answer.len()), (StatusCode::OK, false, Some(len as u64)));
        assert!(buffer == body, "{len} bytes");
        sum += len as u64;
    }
    assert_eq!(client.traffic(), Traffic { requests: 6, sent: sum, received: sum });
}

#[test]
fn no_more_than_the_limit_is_kept() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n";
    let body: &'static str = "x".repeat(2000).leak();
    let address = says(format!("{answer}{body}").leak());
    let (answer, buffer) = asked(address).unwrap();
    assert!(answer.cut && buffer.len() == 1000, "{} bytes", buffer.len());
}

#[test]
fn an_answer_that_ends_early_is_an_error_that_may_pass() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", ErrorKind::Transient),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", ErrorKind::Transient),
        ("HTTP/1.1 200 OK\r\nContent-", ErrorKind::Transient),
        ("", ErrorKind::Transient),
        ("SSH-2.0-OpenSSH_9.2\r\n", ErrorKind::Transient),
    ] {
        let error = asked(says(answer)).map(drop).unwrap_err();
        assert_eq!(error.kind(), expected, "{answer}: {error:?}");
    }
}

#[test]
fn a_reset_connection_is_an_error_that_may_pass() {
    let address = serve(|mut stream| {
        stream.read_exact(&mut [0; 10]).unwrap(); // what stays unread makes closing a reset
    });
    let error = asked(address).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
}

#[test]
fn a_server_that_stands_still_is_given_up() {
    for part in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"] {
        let (gone, is_gone) = mpsc::channel();
        let address = serve(move |mut stream| {
            receive(&stream).unwrap();
            stream.write_all(part.as_bytes()).unwrap();
            let end = stream.read(&mut [0; 10]).unwrap_or_default(); // returns when the client gives up
            gone.send(end).unwrap();
        });
        let error = asked(address).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{part}: {error:?}");
        let ended = is_gone.recv_timeout(Duration::from_secs(10));
        assert_eq!(ended, Ok(0), "{part}: the connection is closed");
    }
}

#[test]
fn a_slow_server_that_moves_is_waited_for() {
    let address = serve(|mut stream| {
        receive(&stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").unwrap();
        let (_keep, never) = mpsc::channel::<()>();
        for _ in 0..8 {
            never.recv_timeout(STALL / 3).unwrap_err(); // together far longer than the timeout
            stream.write_all(b"x").unwrap();
        }
    });
    assert_eq!(asked(address).unwrap().1, b"xxxxxxxx");
}

#[test]
fn without_a_stall_timeout_an_answer_is_waited_for() {
    for stall_timeout in [Duration::ZERO, Duration::MAX] {
        let client = client(&with(Network { stall_timeout, ..Network::default() }));
        let address = says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        let mut buffer = Vec::new();
        client.send(get(address), 100, &mut buffer).unwrap();
        assert_eq!(buffer, b"here");
    }
}

#[test]
fn an_upload_that_nobody_reads_is_given_up() {
    let (_keep, never) = mpsc::channel::<()>();
    let never = std::sync::Mutex::new(never);
    let address = serve(move |stream| {
        never.lock().unwrap().recv().ok();
        drop(stream);
    });
    let body = vec![0; 50_000_000];
    let error = client(&impatient()).send(get(address).with_body(&body), 0, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
}

/// At 100 kB/s each way 40 kB pass in 0.2 s and 0.2 s, less the burst that is free at the beginning. A machine
/// under load takes longer; what must not happen is that it takes less, or that the wait counts as standing still.
#[test]
fn limits_hold_in_both_directions_and_their_waits_are_no_stall() {
    let address = serve(|mut stream| {
        while let Some(seen) = receive(&stream) {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len()).unwrap();
            stream.write_all(&seen.body).unwrap();
        }
    });
    let limit = |rate| NonZeroU64::new(rate).map(Throttle::new);
    let (context, body) = (Context::new(), vec![7; 40_000]);
    for (upload_max, download_max) in [(limit(100_000), None), (None, limit(100_000))] {
        let network = Network { upload_max, download_max, stall_timeout: STALL / 2, ..Network::default() };
        let client = Client::new(&context, &with(network), 5, None).unwrap();
        let begin = context.clock.elapsed();
        for _ in 0..2 {
            client.send(get(address).with_body(&body), 40_000, &mut Vec::new()).unwrap();
        }
        let spent = context.clock.elapsed().saturating_sub(begin);
        assert!(spent >= Duration::from_millis(350), "{spent:?}");
    }
}

#[test]
fn a_status_that_is_no_success_keeps_what_the_server_said() {
    let address = says(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 14\r\n\r\n\nbusy, sorry\r\n ",
    );
    let (answer, buffer) = asked(address).unwrap();
    assert!(buffer.is_empty());
    let error = answer.success().unwrap_err();
    assert_eq!(error.to_string(), format!("{address} answered 503 Service Unavailable: busy, sorry"));
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Throttled, Some(7)));
}

#[test]
fn a_redirect_is_followed_on_the_same_server_only() {
    let address = serve(|mut stream| {
        while let Some(seen) = receive(&stream) {
            let answer = if seen.head.starts_with("GET /there ") {
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere"
            } else {
                "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    assert_eq!(asked(address).unwrap().1, b"here");

    let target = says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let head = format!("Location: http://ann:secret@{target}/secret?secret\r\nContent-Length: 0");
    let address = says(format!("HTTP/1.1 307 Temporary Redirect\r\n{head}\r\n\r\n").leak());
    let error = asked(address).unwrap().0.success().unwrap_err();
    let expected = format!("{address} answers 307 Temporary Redirect and points to http://{target}");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, expected));
}

#[test]
fn no_message_shows_more_of_an_address_than_the_server() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, kind) in [(closed, ErrorKind::Transient), (says(""), ErrorKind::Transient)] {
        let error = asked(address).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind);
        let shown = format!("{} {error:?}", with_causes(&error));
        assert!(shown.contains(&address.to_string()) && !shown.contains("secret"), "{shown}");
    }
    let refused = with_causes(&asked(closed).map(drop).unwrap_err());
    assert!(refused.contains("cannot connect to 127.0.0.1") && refused.contains("refused"), "{refused}");
}

#[test]
fn a_proxy_is_used_for_other_machines_and_not_for_this_one() {
    let proxy = says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy");
    let here = says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
    let proxy = format!("http://{proxy}");
    let mut options = impatient();
    options.variables = [("http_proxy", proxy.as_str()), ("NO_PROXY", "localhost")].into_iter().collect();
    let client = client(&options);
    let mut buffer = Vec::new();
    let request = Request::new(Method::GET, "http://storage.invalid/x".parse().unwrap());
    client.send(request, 100, &mut buffer).unwrap();
    assert_eq!(buffer, b"proxy");
    client.send(get(here), 100, &mut buffer).unwrap();
    assert_eq!(buffer, b"here");
}

#[test]
fn a_unix_socket_is_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        receive(&stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").unwrap();
    });
    let client = Client::new(&Context::new(), &impatient(), 5, Some(&path)).unwrap();
    let mut buffer = Vec::new();
    client.send(Request::new(Method::GET, "http://socket/".parse().unwrap()), 100, &mut buffer).unwrap();
    assert_eq!(buffer, b"here");
}

#[test]
fn the_opendal_library_sends_through_the_same_client() {
    let address = serve(|mut stream| {
        while let Some(seen) = receive(&stream) {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len()).unwrap();
            stream.write_all(&seen.body).unwrap();
        }
    });
    let client = client(&impatient());
    let send = |address: SocketAddr, body: &Buffer| {
        let request = http::Request::put(format!("http://{address}/secret")).body(body.clone()).unwrap();
        client.0.runtime.block_on(client.transporter().send(request))
    };
    let parts = [vec![1; 300_000], vec![2; 10]];
    let body: Buffer = parts.into_iter().map(Bytes::from).collect();
    let back = send(address, &body).unwrap();
    assert!(back.body().to_bytes() == body.to_bytes());
    assert_eq!(client.traffic(), Traffic { requests: 1, sent: 300_010, received: 300_010 });

    let error = send(says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), &Buffer::new()).unwrap_err();
    assert!(error.is_temporary() && !format!("{error:?}").contains("secret"), "{error:?}");
    let stalled = serve(|mut stream| {
        stream.read_to_end(&mut Vec::new()).ok();
    });
    assert!(send(stalled, &body).unwrap_err().to_string().contains("nothing moved"));
}

mod tls {
    use std::fs;
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
    use rustls_pki_types::PrivateKeyDer;

    use super::*;

    struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        folder: tempfile::TempDir,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::new([]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            Self { issuer, folder: tempfile::tempdir().unwrap() }
        }

        fn file(&self, name: &str, content: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        }

        fn pem(&self) -> PathBuf {
            self.file("authority.pem", &self.issuer.pem())
        }

        fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &self.issuer).unwrap(), key)
        }

        /// A server with a certificate for `name`; with `clients` it asks for certificates of theirs.
        fn serve(&self, name: &str, clients: Option<&Self>) -> SocketAddr {
            let (certificate, key) = self.issue(name);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap();
            let builder = match clients {
                None => builder.with_no_client_auth(),
                Some(authority) => {
                    let mut roots = RootCertStore::empty();
                    roots.add(authority.issuer.der().clone()).unwrap();
                    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                    builder.with_client_cert_verifier(verifier.build().unwrap())
                }
            };
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
            serve(move |stream| {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                if receive(&mut stream).is_some() {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsealed").unwrap();
                }
            })
        }
    }

    fn asked(address: SocketAddr, network: Network) -> Result<Vec<u8>, HttpError> {
        let client = client(&with(network));
        let mut buffer = Vec::new();
        let url = format!("https://{address}/secret").parse().unwrap();
        client.send(Request::new(Method::GET, url), 100, &mut buffer)?;
        Ok(buffer)
    }

    #[test]
    fn a_certificate_is_accepted_if_its_authority_is_named_or_nobody_minds() {
        let (ours, other) = (Authority::new("ours"), Authority::new("another"));
        let address = ours.serve("127.0.0.1", None);
        let trusting = |files: &[&Authority]| Network {
            ca_files: files.iter().map(|authority| authority.pem()).collect(),
            ..Network::default()
        };
        for network in [trusting(&[&other, &ours]), Network { insecure_tls: true, ..Network::default() }] {
            assert_eq!(asked(address, network).unwrap(), b"sealed");
        }
        for network in [Network::default(), trusting(&[&other])] {
            let error = asked(address, network).unwrap_err();
            assert!(matches!(error, HttpError::Certificate { .. }), "{error:?}");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(with_causes(&error).contains("UnknownIssuer"), "{}", with_causes(&error));
            assert!(error.advice().is_some_and(|advice| advice.contains("--cacert")));
        }
        let elsewhere = ours.serve("elsewhere.example", None);
        let error = asked(elsewhere, trusting(&[&ours])).unwrap_err();
        assert!(matches!(error, HttpError::Certificate { .. }), "{error:?}");
    }

    #[test]
    fn a_server_that_wants_a_certificate_gets_ours() {
        let (ours, clients) = (Authority::new("ours"), Authority::new("another"));
        let address = ours.serve("127.0.0.1", Some(&clients));
        let (certificate, key) = clients.issue("ann");
        let both = clients.file("ann.pem", &format!("{}{}", key.serialize_pem(), certificate.pem()));
        let network = |client_cert| Network { ca_files: vec![ours.pem()], client_cert, ..Network::default() };
        assert_eq!(asked(address, network(Some(both))).unwrap(), b"sealed");
        let error = asked(address, network(None)).unwrap_err();
        assert!(matches!(error, HttpError::ClientCertificate { .. }), "{error:?}");
        let (foreign, key) = ours.issue("mallory");
        let foreign = ours.file("mallory.pem", &format!("{}{}", foreign.pem(), key.serialize_pem()));
        let error = asked(address, network(Some(foreign))).unwrap_err();
        assert!(matches!(error, HttpError::ClientCertificate { .. }), "{error:?}");
    }

    #[test]
    fn a_server_without_tls_is_told_from_a_broken_connection() {
        let address = serve(|mut stream| {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            stream.read_to_end(&mut Vec::new()).ok();
        });
        let error = asked(address, Network::default()).unwrap_err();
        assert!(matches!(error, HttpError::NoTls { .. }), "{error:?}");
    }

    #[test]
    fn files_that_do_not_hold_what_they_should_are_named() {
        let authority = Authority::new("ours");
        let (certificate, key) = authority.issue("ann");
        let setup = |network| Client::new(&Context::new(), &with(network), 1, None).map(drop).unwrap_err();
        let trusting = |path: PathBuf| Network { ca_files: vec![path], ..Network::default() };
        let showing = |path: PathBuf| Network { client_cert: Some(path), ..Network::default() };
        let only_key = authority.file("key.pem", &key.serialize_pem());
        let only_certificate = authority.file("certificate.pem", &certificate.pem());
        let missing = PathBuf::from("/nowhere/there.pem");
        for (network, expected) in [
            (trusting(missing.clone()), "there.pem"),
            (trusting(only_key.clone()), "key.pem holds no certificate"),
            (showing(missing), "there.pem"),
            (showing(only_key), "key.pem"),
            (showing(only_certificate), "certificate.pem"),
        ] {
            let error = setup(network);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.advice().is_some());
        }
        let mixed = format!("{}{}", certificate.pem(), KeyPair::generate().unwrap().serialize_pem());
        let error = setup(showing(authority.file("mixed.pem", &mixed)));
        assert!(matches!(error, SetupError::Unusable { .. }), "{error:?}");
    }
}
