//! Reads locations: one function per kind of storage. Pure; every error says how to write it right.

use std::ffi::{OsStr, OsString};

use super::{Bucket, Location, LocationError, Rest, S3, Secret, Sftp};

/// Reads any location.
///
/// As in restic, a text without a colon is a path, one that begins with a known word and a colon is that kind
/// of storage, and another word before a colon is an error rather than a surprising folder.
pub(super) fn location(text: &str) -> Result<Location, LocationError> {
    if text.is_empty() {
        return Err(LocationError::Empty);
    }
    let Some((word, rest)) = text.split_once(':') else { return Ok(Location::Local(text.into())) };
    match word {
        "local" if rest.is_empty() => Err(LocationError::Empty),
        "local" => Ok(Location::Local(rest.into())),
        "sftp" => sftp(rest).map(Location::Sftp),
        "rest" => self::rest(rest).map(Location::Rest),
        "s3" => s3(rest).map(Location::S3),
        "b2" => bucket(rest, &[':', '/'], "b2", "b2:bucket:path").map(Location::B2),
        "azure" => bucket(rest, &[':'], "azure", "azure:container:/path").map(Location::Azure),
        "gs" => bucket(rest, &[':'], "gs", "gs:bucket:/path").map(Location::Gs),
        "swift" => bucket(rest, &[':'], "swift", "swift:container:/path").map(Location::Swift),
        "rclone" if rest.is_empty() => malformed("rclone", "rclone:remote:path"),
        "rclone" => Ok(Location::Rclone { remote: rest.to_owned() }),
        "memory" => Ok(Location::Memory { name: rest.to_owned() }),
        "opendal" => opendal(rest),
        _ if looks_like_a_path(word, rest) => Ok(Location::Local(text.into())),
        _ => Err(LocationError::Unknown { word: word.to_owned() }),
    }
}

/// The path itself, or what follows `local:`.
pub(super) fn path_that_is_not_utf8(text: &OsStr) -> Location {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let bytes = text.as_bytes();
        let path = bytes.strip_prefix(b"local:").unwrap_or(bytes);
        Location::Local(OsString::from_vec(path.to_vec()).into())
    }
    #[cfg(not(unix))]
    Location::Local(OsString::from(text).into())
}

/// A separator before the colon, or a drive letter: nobody means a kind of storage.
fn looks_like_a_path(word: &str, rest: &str) -> bool {
    let drive = word.len() == 1 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    word.contains(['/', '\\']) || (drive && rest.starts_with(['/', '\\']))
}

fn malformed<T>(kind: &'static str, form: &'static str) -> Result<T, LocationError> {
    Err(LocationError::Malformed { kind, form })
}

/// `user@host:path` or `//user@host:port/path`. A user may hold one `@`.
fn sftp(rest: &str) -> Result<Sftp, LocationError> {
    let error =
        LocationError::Malformed { kind: "sftp", form: "sftp:user@host:path or sftp://user@host:port/path" };
    let url = rest.strip_prefix("//");
    let (authority, path) = match url {
        Some(url) => url.split_once('/').filter(|(_, path)| !path.is_empty()).ok_or_else(|| error.clone())?,
        None => split_outside_brackets(rest).ok_or_else(|| error.clone())?,
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = match url {
        Some(_) => host_and_port(host).ok_or_else(|| error.clone())?,
        None => (host.trim_start_matches('[').trim_end_matches(']'), None),
    };
    let (user, path) = match url {
        // ssh has its own ways to ask for a password; one in the location is not used, as in restic.
        Some(_) => {
            let user = user.map(|user| user.split(':').next().unwrap_or_default());
            let decode = |text| percent_decoded(text).ok_or_else(|| error.clone());
            (user.map(decode).transpose()?, decode(path)?)
        }
        None => (user.map(str::to_owned), path.to_owned()),
    };
    if host.is_empty() {
        return Err(error);
    }
    let path = clean(&path);
    if path.starts_with('~') {
        return Err(LocationError::Tilde);
    }
    Ok(Sftp { user: user.filter(|user| !user.is_empty()), host: host.to_owned(), port, path })
}

/// Splits at the first colon that is not part of an address in brackets.
fn split_outside_brackets(text: &str) -> Option<(&str, &str)> {
    let from = if text.contains('[') { text.find(']')? } else { 0 };
    let at = from + text.get(from..)?.find(':')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        None => None,
        Some("") => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok()?))),
    }
}

/// `http(s)://user:password@host:port/path/` or `http+unix:///socket:/path/`.
fn rest(rest: &str) -> Result<Rest, LocationError> {
    let form = "rest:https://user:password@host:port/path/";
    let Some((scheme, rest)) = rest.split_once("://") else { return malformed("rest", form) };
    if !["http", "https", "http+unix"].contains(&scheme) {
        return malformed("rest", form);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    if host.is_empty() != (scheme == "http+unix") || (host.is_empty() && path.len() < 2) {
        return malformed("rest", form);
    }
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, "")) => (Some(user.to_owned()), None),
        Some((user, password)) => (Some(user.to_owned()), Some(Secret::new(password))),
    };
    let slash = if path.ends_with('/') { "" } else { "/" };
    Ok(Rest { scheme: scheme.to_owned(), user, password, address: format!("{host}{path}{slash}") })
}

/// `host/bucket/prefix`, `//host/bucket/prefix` or a whole URL. A host without scheme means https.
fn s3(rest: &str) -> Result<S3, LocationError> {
    let form = "s3:host/bucket/path or s3:http://host:port/bucket/path";
    let is_url = rest.starts_with("http://") || rest.starts_with("https://");
    let (scheme, place) = match rest.split_once("://").filter(|_| is_url) {
        Some(url) => url,
        None => ("https", rest.strip_prefix("//").unwrap_or(rest)),
    };
    let Some((host, path)) = place.split_once('/') else { return malformed("s3", form) };
    let path = if is_url { percent_decoded(path) } else { Some(path.to_owned()) };
    let Some(path) = path else { return malformed("s3", form) };
    let (bucket, prefix) = path.split_once('/').unwrap_or((&path, ""));
    // A login in the host would be shown by every message; keys belong into the environment.
    if host.is_empty() || host.contains('@') || bucket.is_empty() {
        return malformed("s3", form);
    }
    let endpoint = format!("{scheme}://{host}");
    Ok(S3 { endpoint, bucket: bucket.to_owned(), prefix: clean_prefix(prefix) })
}

/// `name:prefix`; with `/` among the separators also `name/prefix` and a bare `name`.
fn bucket(
    rest: &str,
    separators: &[char],
    kind: &'static str,
    form: &'static str,
) -> Result<Bucket, LocationError> {
    let (name, prefix) = match rest.split_once(separators) {
        Some(parts) => parts,
        None if separators.contains(&'/') => (rest, ""),
        None => return malformed(kind, form),
    };
    if name.is_empty() {
        return malformed(kind, form);
    }
    Ok(Bucket { name: name.to_owned(), prefix: clean_prefix(prefix) })
}

/// `SERVICE?key=value&key=value` with percent-encoded values.
fn opendal(rest: &str) -> Result<Location, LocationError> {
    let form = "opendal:SERVICE?key=value&key=value";
    let (service, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut settings = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else { return malformed("opendal", form) };
        let Some(value) = percent_decoded(value) else { return malformed("opendal", form) };
        settings.push((key.to_owned(), value));
    }
    if service.is_empty()
        || !service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return malformed("opendal", form);
    }
    Ok(Location::Opendal { service: service.to_owned(), settings })
}

/// A prefix without slashes at the ends and without empty, `.` and `..` parts.
fn clean_prefix(prefix: &str) -> String {
    clean(&format!("/{prefix}")).trim_start_matches('/').to_owned()
}

/// The shortest path of the same meaning, by text alone; `.` if nothing is left.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

/// Replaces `%41` by `A`; nothing if a `%` is not followed by two digits or the result is not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, shown, and read again; `shown` is `None` if it reads differently (hidden secrets).
    fn check(text: &str, shown: &str) -> Location {
        let location = location(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(location.to_string(), shown, "{text}");
        if !shown.contains("***") {
            assert_eq!(self::location(shown), Ok(location.clone()), "{text} shown as {shown}");
        }
        location
    }

    #[test]
    fn paths_are_local() {
        for (text, path, shown) in [
            ("/srv/backup", "/srv/backup", "/srv/backup"),
            ("backup", "backup", "backup"),
            ("../a:b", "../a:b", "../a:b"),
            ("./a:b", "./a:b", "./a:b"),
            ("/mnt/s3:host", "/mnt/s3:host", "/mnt/s3:host"),
            ("local:/srv/backup", "/srv/backup", "/srv/backup"),
            ("local:foo:bar", "foo:bar", "local:foo:bar"),
            ("local:local:x", "local:x", "local:local:x"),
            ("C:\\backup", "C:\\backup", "C:\\backup"),
        ] {
            assert_eq!(check(text, shown), Location::Local(path.into()), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let path = |bytes: &'static [u8]| Location::Local(OsStr::from_bytes(bytes).into());
        assert_eq!(Location::parse(OsStr::from_bytes(b"/a\xff")), Ok(path(b"/a\xff")));
        assert_eq!(Location::parse(OsStr::from_bytes(b"local:a\xff")), Ok(path(b"a\xff")));
        assert_eq!(Location::parse(OsStr::from_bytes(b"/a:b\xff")), Ok(path(b"/a:b\xff")));
    }

    /// As a path it would be shown, password and all.
    #[cfg(unix)]
    #[test]
    fn a_password_beside_bytes_that_are_not_utf8_is_not_taken_for_a_path() {
        use std::os::unix::ffi::OsStrExt;
        let location = Location::parse(OsStr::from_bytes(b"rest:http://ann:secret@host/\xff"));
        assert_eq!(location, Err(LocationError::NotText { kind: "rest" }));
        let location = Location::parse(OsStr::from_bytes(b"what:\xff"));
        assert_eq!(location, Err(LocationError::Unknown { word: "what".to_owned() }));
    }

    #[test]
    fn both_spellings_of_sftp_are_read() {
        let sftp = |user: Option<&str>, host: &str, port, path: &str| {
            let (user, host, path) = (user.map(str::to_owned), host.to_owned(), path.to_owned());
            Location::Sftp(Sftp { user, host, port, path })
        };
        for (text, expected, shown) in [
            ("sftp:u@h:/srv/x", sftp(Some("u"), "h", None, "/srv/x"), "sftp:u@h:/srv/x"),
            ("sftp:h:x//y/", sftp(None, "h", None, "x/y"), "sftp:h:x/y"),
            ("sftp:h:", sftp(None, "h", None, "."), "sftp:h:."),
            ("sftp:u@dom@h:x:y", sftp(Some("u@dom"), "h", None, "x:y"), "sftp:u@dom@h:x:y"),
            ("sftp:u@[::1]:x", sftp(Some("u"), "::1", None, "x"), "sftp://u@[::1]/x"),
            ("sftp://u@h/x/y", sftp(Some("u"), "h", None, "x/y"), "sftp:u@h:x/y"),
            ("sftp://u@h:22//srv", sftp(Some("u"), "h", Some(22), "/srv"), "sftp://u@h:22//srv"),
            ("sftp://h:22/a%20b%25", sftp(None, "h", Some(22), "a b%"), "sftp://h:22/a b%25"),
            ("sftp://u:pw@[::1]:22/x", sftp(Some("u"), "::1", Some(22), "x"), "sftp://u@[::1]:22/x"),
        ] {
            assert_eq!(check(text, shown), expected, "{text}");
        }
        assert_eq!(location("sftp:h:~/x"), Err(LocationError::Tilde));
    }

    #[test]
    fn rest_ends_with_a_slash_and_hides_its_password() {
        for (text, shown, password) in [
            ("rest:http://h:8000/x", "rest:http://h:8000/x/", None),
            ("rest:https://h", "rest:https://h/", None),
            ("rest:https://u:p@ss@h/", "rest:https://u:***@h/", Some("p@ss")),
            ("rest:https://u@h/", "rest:https://u@h/", None),
            ("rest:http+unix:///run/x.sock:/path", "rest:http+unix:///run/x.sock:/path/", None),
        ] {
            let Location::Rest(rest) = check(text, shown) else { panic!("{text}") };
            assert_eq!(rest.password.as_ref().map(Secret::reveal), password);
            assert!(!format!("{rest:?}").contains("p@ss"), "{rest:?}");
        }
    }

    #[test]
    fn all_spellings_of_s3_are_read() {
        let s3 = |endpoint: &str, bucket: &str, prefix: &str| {
            let (endpoint, bucket, prefix) = (endpoint.to_owned(), bucket.to_owned(), prefix.to_owned());
            Location::S3(S3 { endpoint, bucket, prefix })
        };
        for (text, expected, shown) in [
            ("s3:h/b", s3("https://h", "b", ""), "s3:https://h/b"),
            ("s3:h/b/p//q/", s3("https://h", "b", "p/q"), "s3:https://h/b/p/q"),
            ("s3://h/b/p", s3("https://h", "b", "p"), "s3:https://h/b/p"),
            ("s3:http://h:9000/b/p", s3("http://h:9000", "b", "p"), "s3:http://h:9000/b/p"),
            ("s3:https://h/b", s3("https://h", "b", ""), "s3:https://h/b"),
            (
                "s3:http.example.org/b",
                s3("https://http.example.org", "b", ""),
                "s3:https://http.example.org/b",
            ),
        ] {
            assert_eq!(check(text, shown), expected, "{text}");
        }
    }

    #[test]
    fn other_kinds_are_read() {
        for (text, shown) in [
            ("b2:bucket:a/b", "b2:bucket:/a/b"),
            ("b2:bucket/a/b", "b2:bucket:/a/b"),
            ("b2:bucket", "b2:bucket:/"),
            ("azure:c:/x/../y", "azure:c:/y"),
            ("gs:b:/", "gs:b:/"),
            ("swift:c:/x", "swift:c:/x"),
            ("rclone:r:a/b", "rclone:r:a/b"),
            ("memory:", "memory:"),
            ("memory:one", "memory:one"),
            ("opendal:memory", "opendal:memory"),
            ("opendal:s3?bucket=b%20c&secret_access_key=k", "opendal:s3?bucket=b c&secret_access_key=***"),
        ] {
            check(text, shown);
        }
        let Location::Opendal { settings, .. } = location("opendal:x?a=%41&b=").unwrap() else { panic!() };
        assert_eq!(settings, [("a".to_owned(), "A".to_owned()), ("b".to_owned(), String::new())]);
    }

    #[test]
    fn what_is_no_location_is_refused() {
        for text in [
            "",
            "local:",
            "sftp:host",
            "sftp:@:x",
            "sftp://host",
            "sftp://host/",
            "sftp://h:99999/x",
            "sftp://h/%zz",
            "rest:",
            "rest:h/x",
            "rest:ftp://h/",
            "rest:http://",
            "rest:http+unix://",
            "s3:",
            "s3:h",
            "s3:h/",
            "s3:/b",
            "s3:http://k:s@h/b",
            "b2:",
            "b2::x",
            "azure:c",
            "gs:b",
            "swift:c",
            "rclone:",
            "opendal:",
            "opendal:a b",
            "opendal:s3?x",
            "foo:bar",
            "LOCAL:x",
            "https://h/x",
            "C:x",
        ] {
            assert!(location(text).is_err(), "{text}: {:?}", location(text));
        }
        let error = location("foo:bar").unwrap_err();
        assert_eq!(error, LocationError::Unknown { word: "foo".to_owned() });
        assert!(error.advice().contains("local:foo:"));
    }

    #[test]
    fn no_error_quotes_a_password() {
        for text in
            ["sftp://u:geheim@", "rest:ftp://u:geheim@h/", "s3:http://u:geheim@h/b", "http://u:geheim@h"]
        {
            let error = location(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("geheim"), "{text}: {error}");
        }
    }
}
