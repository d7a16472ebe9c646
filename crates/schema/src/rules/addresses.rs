//! IPAddresses and ServiceCIDRs.

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, IMMUTABLE, immutable};
use super::common::{NOT_A_CIDR, check, cidr};

/// Checks an address that is taken.
pub fn address(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let parent = At::top(new).get("spec.parentRef");
    if let Some(old) = old {
        immutable(e, &parent, &At::top(old).get("spec.parentRef"));
        return;
    }
    if !parent.is_set() {
        parent.required(e, "");
        return;
    }
    if !parent.get("group").is_empty() {
        check(e, &parent.get("group"), names::dns1123_subdomain);
    }
    for field in ["resource", "name"] {
        if parent.get(field).demand(e) {
            check(e, &parent.get(field), names::path_segment);
        }
    }
    if !parent.get("namespace").is_empty() {
        check(e, &parent.get("namespace"), names::path_segment);
    }
}

/// Checks a range of cluster IPs.
pub fn range(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let at = At::top(new).get("spec.cidrs");
    let Some(old) = old else {
        ranges(e, &at);
        return;
    };
    let before = old.at("spec.cidrs").items();
    let kept = |e: &mut Errors| {
        for (item, _) in at.items().zip(before).filter(|(item, was)| item.value != *was) {
            item.bad_str(e, IMMUTABLE);
        }
    };
    match (before.len(), at.len()) {
        (a, b) if a == b => kept(e),
        // One more makes it dual-stack.
        (1, 2) => {
            kept(e);
            ranges(e, &at);
        }
        _ => at.invalid(e, IMMUTABLE),
    }
}

fn ranges(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        at.required(e, "at least one CIDR required");
        return;
    }
    if at.len() > 2 {
        at.invalid(e, "may only hold up to 2 values");
        return;
    }
    for item in at.items().filter(|item| cidr(item.str()).is_none()) {
        item.bad_str(e, NOT_A_CIDR);
    }
    if let [a, b] = at.value.items()
        && let (Some((a, _)), Some((b, _))) = (cidr(a.str()), cidr(b.str()))
        && a.is_ipv4() == b.is_ipv4()
    {
        at.invalid(e, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64");
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn ranges_grow_by_a_family_only() {
        let of = |cidrs: Value| value!({ "spec": { "cidrs": cidrs } });
        let texts = |new: Value, old: Option<Value>| -> Vec<String> {
            let mut e = Errors::new();
            range(&mut e, &new, old.as_ref());
            e.iter().map(ToString::to_string).collect()
        };
        let one = of(value!(["10.0.0.0/16"]));
        assert!(texts(one.clone(), None).is_empty());
        assert!(texts(of(value!(["10.0.0.0/16", "fd00::/108"])), Some(one.clone())).is_empty());
        assert_eq!(
            texts(of(value!(["10.1.0.0/16"])), Some(one)),
            ["spec.cidrs[0]: Invalid value: \"10.1.0.0/16\": field is immutable"]
        );
        assert_eq!(
            texts(of(value!([])), None),
            ["spec.cidrs: Required value: at least one CIDR required"]
        );
        assert!(
            texts(of(value!(["10.0.0.0/16", "10.1.0.0/16"])), None)[0].contains("each IP family")
        );
    }

    #[test]
    fn addresses_have_parents() {
        let mut e = Errors::new();
        address(&mut e, &value!({ "spec": { "parentRef": { "resource": "services" } } }), None);
        assert_eq!(e[0].to_string(), "spec.parentRef.name: Required value");
    }
}
