//! Discovery documents.

use core::cmp::Ordering;

/// Orders versions of a group by preference, most preferred first: `v2`, `v1`, `v1beta1`,
/// `v1alpha1`, then others by name; as upstream's `CompareKubeAwareVersionStrings`.
pub fn version_order(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor of `v1beta2`; stability 2 is stable.
fn parse(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number = |s: &str| (!s.starts_with('0')).then(|| s.parse::<u32>().ok()).flatten();
    let major = number(&rest[..end])?;
    match &rest[end..] {
        "" => Some((2, major, 0)),
        tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(minor), _) => Some((1, major, number(minor)?)),
            (_, Some(minor)) => Some((0, major, number(minor)?)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_upstream_prefers_them() {
        let mut all = ["foo", "v1alpha1", "v1", "v2beta1", "v10", "v1beta2", "v2", "bar", "v01"];
        all.sort_by(|a, b| version_order(a, b));
        assert_eq!(all, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo", "v01"]);
    }
}
