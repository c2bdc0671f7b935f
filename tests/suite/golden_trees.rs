//! Nodes and whole trees that restic wrote: built from the same metadata they have the same bytes, and read
//! and written again they keep them.

use repo_core::format::{Mode, Node, NodeKind, Tree, TreeWriter, Xattr};
use repo_core::hash;
use repo_core::id::{DataId, TreeId};
use repo_core::time::{Time, Timestamp, Zone};
use serde_json::Value;
use tests::fixtures::{self, Fixture};

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn time(value: &Value, zone: &Zone) -> Time {
    let (seconds, nanos) = (value[0].as_i64().expect("seconds"), number(&value[1]));
    zone.at(Timestamp { seconds, nanos: u32::try_from(nanos).expect("nanoseconds") })
}

/// The node that a backup makes of this metadata (sections 6.2 and 6.4).
fn node(line: &Value) -> Node {
    let zone = Zone::from_tz(line["tz"].as_str());
    let mode = Mode::from_unix(u32::from_str_radix(text(&line["st_mode"]), 8).expect("octal"));
    let kind = mode.kind();
    let (is_device, is_dir) =
        (matches!(kind, NodeKind::Device | NodeKind::CharDevice), kind == NodeKind::Dir);
    let only = |condition: bool, value: &Value| if condition { number(value) } else { 0 };
    let ids = |value: &Value| -> Option<Vec<DataId>> {
        Some(value.as_array()?.iter().map(|id| text(id).parse().expect("an id")).collect())
    };
    Node {
        mode,
        mtime: time(&line["mtime"], &zone),
        atime: time(&line["mtime"], &zone),
        ctime: time(&line["ctime"], &zone),
        uid: u32::try_from(number(&line["uid"])).expect("32 bits"),
        gid: u32::try_from(number(&line["gid"])).expect("32 bits"),
        user: text(&line["user"]).into(),
        group: text(&line["group"]).into(),
        inode: number(&line["st_ino"]),
        device_id: number(&line["st_dev"]),
        size: only(kind == NodeKind::File, &line["st_size"]),
        links: only(!is_dir && kind != NodeKind::Fifo, &line["st_nlink"]),
        link_target: line["linktarget_hex"].as_str().map_or_else(Vec::new, fixtures::from_hex),
        xattrs: xattrs(&line["xattrs"]),
        device: only(is_device, &line["st_rdev"]),
        content: ids(&line["content"]),
        subtree: line["subtree"].as_str().map(|id| id.parse::<TreeId>().expect("an id")),
        ..Node::new(fixtures::from_hex(text(&line["name_hex"])), kind)
    }
}

fn xattrs(list: &Value) -> Vec<Xattr> {
    let bytes = |value: &Value| fixtures::from_hex(text(value));
    let pairs = list.as_array().expect("a list").iter();
    pairs.map(|pair| Xattr { name: bytes(&pair[0]), value: Some(bytes(&pair[1])) }).collect()
}

fn written(node: &Node) -> String {
    let mut out = Vec::new();
    node.write(&mut out);
    String::from_utf8(out).expect("JSON is text")
}

/// What restic 0.14 wrote differently: two escapes, an older Unicode, and no second form of link targets.
fn as_restic_0_14(json: &str) -> String {
    let mut json = json.replace(r"\b", r"\u0008").replace(r"\f", r"\u000c").replace('\u{61d}', r"\\u061d");
    if let Some(start) = json.find(r#","linktarget_raw":""#) {
        let end = json[start + 1..].find(",\"").expect("content follows") + start + 1;
        json.replace_range(start..end, "");
    }
    json
}

#[test]
fn nodes_have_restics_bytes() {
    let lines = fixtures::text("golden-nodes.jsonl");
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let (node, golden) = (node(&line), text(&line["json"]));
        let ours = written(&node);
        match text(&line["restic"]) {
            "0.14" => assert_eq!(as_restic_0_14(&ours), golden),
            _ => assert_eq!(ours, golden),
        }
        let read = Node::parse(golden.as_bytes()).expect("a node");
        assert_eq!(written(&read) == golden, !is_lossy(golden), "{golden}");
        assert_eq!(read.checked_name(), Ok(&*node.name));
    }
    assert_eq!(lines.lines().count(), 116);
}

/// Whether reading cannot give the bytes back: bytes that the writer replaced, and the escapes of old Go.
fn is_lossy(tree: &str) -> bool {
    let old_go = tree.contains(r"\u0008") || tree.contains(r"\\u061d");
    let parts: Vec<_> = tree.split('"').collect();
    // The text of a target that has a second form loses nothing.
    let replaced = parts.windows(3).any(|part| part[0].contains(r"\ufffd") && part[2] != "linktarget_raw");
    old_go || replaced
}

#[test]
fn trees_keep_their_bytes_and_so_their_ids() {
    let fixture = Fixture::unpack("golden-trees");
    let files = fixtures::files_in(&fixture.path());
    let (mut same, mut lossy) = (0, 0);
    for file in &files {
        let golden = std::fs::read(file).expect("a tree");
        let mut writer = TreeWriter::new();
        for node in Tree::parse(&golden).expect("a tree").nodes {
            assert!(node.checked_name().is_ok() && node.unknown.is_empty());
            writer.push(&node).expect("sorted");
        }
        let ours = writer.finish();
        let golden = String::from_utf8(golden).expect("a tree is UTF-8");
        if is_lossy(&golden) {
            lossy += 1;
            continue;
        }
        same += 1;
        let name = file.file_name().and_then(|name| name.to_str());
        assert_eq!(Some(&*hash::sha256(&ours).to_string()), name);
        assert_eq!(String::from_utf8(ours).expect("a tree is UTF-8"), golden);
    }
    assert_eq!((same + lossy, files.len()), (47, 47));
    assert_eq!(lossy, 5, "restic 0.14 and names of attributes that are not UTF-8");
}

/// The golden files hold one example of each; here is every place where an odd byte can stand.
#[test]
fn odd_bytes_are_escaped_in_every_field() {
    let odd = b"\"\\<\x08\x1b\xff\xe2\x80\xa8";
    let node = Node {
        user: "a\"<\u{2028}".into(),
        group: "\u{8}".into(),
        link_target: odd.to_vec(),
        xattrs: vec![
            Xattr { name: odd.to_vec(), value: Some(odd.to_vec()) },
            Xattr { name: b"user.old".to_vec(), value: None },
        ],
        error: "&".to_owned(),
        generic_attributes: vec![("z".to_owned(), "1".into()), ("a<".to_owned(), "{}".into())],
        unknown: vec![("later".to_owned(), "[null]".into())],
        ..Node::new(&odd[..], NodeKind::Other("<new>".to_owned()))
    };
    let expected = concat!(
        r#"{"name":"\\\"\\\\\u003c\\b\\x1b\\xff\\u2028","type":"\u003cnew\u003e","#,
        r#""mtime":"0001-01-01T00:00:00Z","atime":"0001-01-01T00:00:00Z","ctime":"0001-01-01T00:00:00Z","#,
        r#""uid":0,"gid":0,"user":"a\"\u003c\u2028","group":"\b","#,
        r#""linktarget":"\"\\\u003c\b\u001b\ufffd\u2028","linktarget_raw":"Ilw8CBv/4oCo","#,
        r#""extended_attributes":[{"name":"\"\\\u003c\b\u001b\ufffd\u2028","value":"Ilw8CBv/4oCo"},"#,
        r#"{"name":"user.old","value":null}],"generic_attributes":{"a\u003c":{},"z":1},"content":null,"#,
        r#""error":"\u0026","later":[null]}"#,
    );
    assert_eq!(written(&node), expected);
}
