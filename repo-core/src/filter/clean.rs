//! Paths and patterns in their shortest form.
//!
//! In: a path as somebody typed it. Out: the same without empty components, `.` and resolvable `..`, as Go's
//! `filepath.Clean` gives it. Works on the text alone: a `..` behind a symbolic link is not noticed.

/// The shortest path of the same meaning; `.` if nothing is left.
///
/// ```
/// assert_eq!(repo_core::filter::clean(b"./x/../a//b/"), b"a/b");
/// ```
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if rooted => {} // there is nothing above the root
            _ => kept.push(component),
        }
    }
    let mut cleaned = kept.join(&b'/');
    if rooted {
        cleaned.insert(0, b'/');
    }
    if cleaned.is_empty() {
        cleaned.push(b'.');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        let rows = [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("./a/", "a"),
            ("x/../a", "a"),
            ("a//b/./c", "a/b/c"),
            ("..", ".."),
            ("../../a", "../../a"),
            ("a/../..", ".."),
            ("a/..", "."),
            ("/a/b/../../c/", "/c"),
            ("../a/../b", "../b"),
            ("a/...", "a/..."),
        ];
        for (path, expected) in rows {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing() {
        proptest::proptest!(|(path in "[./a]{0,12}")| {
            let once = clean(path.as_bytes());
            proptest::prop_assert_eq!(clean(&once), once);
        });
    }
}
