//! The kernel's table of mounts, as `/proc/self/mountinfo` has it.

use alloc::vec::Vec;

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount<'a> {
    /// The directory of the file system that is shown, a path in bytes.
    pub root: Vec<u8>,
    /// Where it is shown.
    pub point: Vec<u8>,
    /// The kind of file system: `ext4`, `cgroup2`.
    pub kind: &'a str,
    /// The file system's own options, with commas.
    pub options: &'a str,
}

/// The mounts of a table, in their order. Lines that are none are left out.
pub fn mounts(table: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    table.split(|b| *b == b'\n').filter_map(Mount::read)
}

impl<'a> Mount<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ');
        let root = unescape(fields.nth(3)?);
        let point = unescape(fields.next()?);
        // A field of its own ends those of which there may be any number.
        let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
        let text = |field| core::str::from_utf8(field).unwrap_or("");
        let kind = text(rest.next()?);
        let options = rest.nth(1).map_or("", text);
        Some(Mount { root, point, kind, options })
    }
}

/// Blanks, line ends and backslashes are written as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, next @ ..] = rest {
        let digit = |b: &u8| (b'0'..=b'7').contains(b).then(|| u32::from(b - b'0'));
        let code = match (first, next) {
            (b'\\', [a, b, c, ..]) => digit(a)
                .zip(digit(b))
                .zip(digit(c))
                .and_then(|((a, b), c)| u8::try_from(a << 6 | b << 3 | c).ok()),
            _ => None,
        };
        out.push(code.unwrap_or(*first));
        rest = &rest[if code.is_some() { 4 } else { 1 }..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = b"22 1 0:20 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw,discard\n\
            30 22 0:26 /a\\040b /mnt/x\\134040\\012y rw - cgroup2 cgroup2 rw\n\
            \n31 22 0:27 / /no-kind rw\n";
        let all: Vec<_> = mounts(table).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (&*all[0].point, all[0].kind, all[0].options),
            (&b"/"[..], "ext4", "rw,discard")
        );
        assert_eq!((&*all[1].root, &*all[1].point), (&b"/a b"[..], &b"/mnt/x\\040\ny"[..]));
        assert_eq!(unescape(b"\\9 \\04 \\777\\"), b"\\9 \\04 \\777\\");
    }
}
