//! A tree: the entries of one directory.
//!
//! In and out: the plain bytes of a tree blob, `{"nodes":[…]}` and a newline (section 6.1). Written trees are
//! sorted by the raw bytes of the names; read ones need not be, because old programs did not always sort.

use super::error::{FormatError, require};
use super::json::Reader;
use super::name::quote_name;
use super::node::{Node, Owners};

/// The entries of one directory, in the order stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree {
    /// The entries. Neither their order nor their names can be relied on.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Reads the bytes of a tree blob.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let (mut nodes, mut owners) = (None, Owners::default());
        Reader::record(text, |json, key| {
            if key.name() != "nodes" {
                return json.skip();
            }
            if json.null() {
                nodes = None;
                return Ok(());
            }
            let read = nodes.insert(Vec::new());
            json.array(|json| {
                read.push(owners.read_node(json)?);
                Ok(())
            })
        })?;
        Ok(Self { nodes: require(nodes, "nodes")? })
    }
}

/// Two nodes came in an order that no tree has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name \"{}\" does not come after \"{}\"", quote_name(.name), quote_name(.previous))]
pub struct OrderError {
    /// The name of the node that was refused.
    pub name: Vec<u8>,
    /// The name of the node before.
    pub previous: Vec<u8>,
}

/// Puts a tree together, node by node.
///
/// ```
/// use repo_core::format::{Node, NodeKind, TreeWriter};
///
/// let mut tree = TreeWriter::new();
/// tree.push(&Node::new("a", NodeKind::Fifo))?;
/// assert!(tree.push(&Node::new("a", NodeKind::File)).is_err());
/// assert!(tree.finish().starts_with(br#"{"nodes":[{"name":"a","type":"fifo","#));
/// # Ok::<(), repo_core::format::OrderError>(())
/// ```
#[derive(Debug)]
pub struct TreeWriter {
    out: Vec<u8>,
    last: Option<Vec<u8>>,
}

impl TreeWriter {
    /// A tree without nodes; finished at once it is an empty directory's.
    pub fn new() -> Self {
        Self { out: br#"{"nodes":["#.to_vec(), last: None }
    }

    /// Adds a node.
    ///
    /// Returns [`OrderError`], and leaves the tree as it is, if its name is not greater than the one before.
    pub fn push(&mut self, node: &Node) -> Result<(), OrderError> {
        match &mut self.last {
            Some(last) if *last >= node.name => {
                return Err(OrderError { name: node.name.clone(), previous: last.clone() });
            }
            Some(last) => {
                self.out.push(b',');
                last.clone_from(&node.name);
            }
            last @ None => *last = Some(node.name.clone()),
        }
        node.write(&mut self.out);
        Ok(())
    }

    /// Length in bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether no node was added.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The bytes of the tree blob.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}\n");
        self.out
    }
}

impl Default for TreeWriter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Mode, NodeKind};

    #[test]
    fn empty_tree_is_restics() {
        assert_eq!(TreeWriter::new().finish(), b"{\"nodes\":[]}\n");
        assert_eq!(Tree::parse(b"{\"nodes\":[]}\n"), Ok(Tree::default()));
    }

    #[test]
    fn nodes_come_in_ascending_order_of_their_bytes() {
        let mut tree = TreeWriter::new();
        let mut push = |name: &[u8]| tree.push(&Node::new(name, NodeKind::File)).is_ok();
        for (name, good) in [
            (&b"B"[..], true),
            (b"a", true),
            (b"a", false),
            (b"A", false),
            (b"a\0", true),
            ("ä".as_bytes(), true),
            (b"\xff", true),
        ] {
            assert_eq!(push(name), good, "{name:x?}");
        }
        let error = tree.push(&Node::new("\n", NodeKind::File)).unwrap_err();
        assert_eq!(error.to_string(), r#"the name "\n" does not come after "\xff""#);
        assert_eq!(Tree::parse(&tree.finish()).unwrap().nodes.len(), 5);
    }

    #[test]
    fn other_keys_and_unsorted_nodes_are_read() {
        let tree =
            Tree::parse(br#" {"a":[{}],"Nodes":[{"name":"b"},{"name":"a","type":"new"},{}],"z":null} "#);
        let nodes = tree.unwrap().nodes;
        assert_eq!(nodes[0].name, b"b");
        assert_eq!(nodes[1].kind, NodeKind::Other("new".to_owned()));
        assert_eq!(nodes[2].name, b"");
    }

    #[test]
    fn other_records_are_no_tree() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"nodes":null}"#,
            r#"{"nodes":[],"nodes":null}"#,
            r#"{"nodes":{}}"#,
            r#"{"nodes":[1]}"#,
            r#"{"nodes":[]}x"#,
            r#"{"nodes":[{"name":"a\"b"}]}"#,
            r#"{"nodes":[{"content":["12"]}]}"#,
        ] {
            assert!(Tree::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(names in prop::collection::btree_set(any::<Vec<u8>>(), 0..5), mode: u32) {
            let mut writer = TreeWriter::new();
            let mut tree = Tree::default();
            for name in names {
                let node = Node { mode: Mode(mode), ..Node::new(name, NodeKind::Dir) };
                writer.push(&node).unwrap();
                tree.nodes.push(node);
            }
            prop_assert_eq!(Tree::parse(&writer.finish()), Ok(tree));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"\{"nodes":\[\{("[a-z_]{4,9}":[\[\]{}0-9"a-f]{1,3},?){0,4}\}\]\}"#) {
            let _ = Tree::parse(&bytes);
            let _ = Tree::parse(text.as_bytes());
        }
    }
}
