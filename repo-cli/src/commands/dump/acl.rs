//! Access control lists as the kernel keeps them → the text that tar archives hold.

/// The text of a list, one entry per line; `None` if the bytes are no list.
///
/// The kernel's form: version 2 in four bytes, then per entry tag, permissions (two bytes each) and id (four).
pub fn text(value: &[u8]) -> Option<String> {
    let entries = value.strip_prefix(&[2, 0, 0, 0])?;
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let mut text = String::new();
    for [tag_low, tag_high, permissions, _, id @ ..] in entries {
        let id = u32::from_le_bytes(*id);
        let (who, id) = match u16::from_le_bytes([*tag_low, *tag_high]) {
            0x01 => ("user", None),
            0x02 => ("user", Some(id)),
            0x04 => ("group", None),
            0x08 => ("group", Some(id)),
            0x10 => ("mask", None),
            0x20 => ("other", None),
            _ => return None,
        };
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let letter = |bit: u8, letter: char| if permissions & bit == 0 { '-' } else { letter };
        text += &format!("{who}:{id}:{}{}{}\n", letter(4, 'r'), letter(2, 'w'), letter(1, 'x'));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_line_by_line() {
        let entry =
            |tag: u8, permissions: u8, id: u32| [&[tag, 0, permissions, 0][..], &id.to_le_bytes()].concat();
        let value = [
            vec![2, 0, 0, 0],
            entry(1, 6, u32::MAX),
            entry(2, 6, 1000),
            entry(4, 4, u32::MAX),
            entry(8, 5, 7),
            entry(0x10, 7, u32::MAX),
            entry(0x20, 0, u32::MAX),
        ];
        let expected = "user::rw-\nuser:1000:rw-\ngroup::r--\ngroup:7:r-x\nmask::rwx\nother::---\n";
        assert_eq!(text(&value.concat()).as_deref(), Some(expected));
    }

    #[test]
    fn other_bytes_are_no_list() {
        for value in [&b""[..], &[1, 0, 0, 0], &[2, 0, 0, 0, 1], &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(text(value), None, "{value:?}");
        }
    }
}
