//! Who a process is: numbers and names, resolved with the container's own files.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use super::Outcome;
use crate::spec::User;

/// More than this of `/etc/passwd` or `/etc/group` is not read.
const MAX_FILE: u64 = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Resolves a user inside the current root.
pub fn resolve(user: &User) -> Outcome<Identity> {
    find(user, &read("/etc/passwd"), &read("/etc/group"))
}

/// A file that is missing, special or not text reads as empty.
fn read(path: &str) -> String {
    // A FIFO planted by the image must not block.
    let file =
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let Ok(file) = file else { return String::new() };
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn find(user: &User, passwd: &str, group: &str) -> Outcome<Identity> {
    let (name, group_name) = match user.name.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user.name.as_str(), None),
    };
    let wanted = match user.uid {
        Some(uid) => Some(uid),
        None if name.is_empty() => Some(0),
        None => name.parse().ok(),
    };
    let account = passwd.lines().filter_map(Account::parse).find(|a| match wanted {
        Some(uid) => a.uid == uid,
        None => a.name == name,
    });
    let Some(uid) = wanted.or(account.as_ref().map(|a| a.uid)) else {
        return Err(format!("unable to find user {name}: no matching entries in passwd file"));
    };
    // A uid given by the pod overrides the image's user, and with it the image's group.
    let group_name = group_name.filter(|_| user.uid.is_none());
    let gid = match (user.gid, group_name) {
        (Some(gid), _) => gid,
        (None, Some(name)) => find_group(name, group)?,
        (None, None) => account.as_ref().map_or(0, |a| a.gid),
    };
    let mut groups = user.supplementary.clone();
    if let (Some(account), false) = (&account, user.strict_groups) {
        groups.extend(member_of(account.name, group));
    }
    groups.sort_unstable();
    groups.dedup();
    let home = account.map(|a| a.home).filter(|h| !h.is_empty()).unwrap_or("/");
    Ok(Identity { uid, gid, groups, home: home.to_string() })
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(Self { name, uid, gid, home })
    }
}

fn find_group(name: &str, group: &str) -> Outcome<u32> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let mut entries = group.lines().filter_map(|l| {
        let mut fields = l.split(':');
        Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?))
    });
    entries
        .find(|(n, _)| *n == name)
        .map(|(_, gid)| gid)
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn member_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let gid = fields.nth(2)?.parse().ok()?;
        fields.next()?.split(',').any(|m| m.trim() == user).then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlog:x:4:web,other\nbad\n";

    fn named(name: &str) -> User {
        User { name: name.into(), ..User::default() }
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity { uid, gid, groups: groups.to_vec(), home: home.into() }
    }

    #[test]
    fn names_and_numbers() {
        let find = |user: &User| find(user, PASSWD, GROUP).unwrap();
        assert_eq!(find(&named("")), identity(0, 0, &[], "/root"));
        assert_eq!(find(&named("web")), identity(101, 102, &[4], "/srv"));
        assert_eq!(find(&named("101")), identity(101, 102, &[4], "/srv"));
        assert_eq!(find(&named("web:log")), identity(101, 4, &[4], "/srv"));
        assert_eq!(find(&named("1000:7")), identity(1000, 7, &[], "/"));
    }

    #[test]
    fn the_pod_overrides_the_image() {
        let user = User {
            name: "web:log".into(),
            uid: Some(5000),
            supplementary: vec![9, 8, 9],
            ..User::default()
        };
        assert_eq!(find(&user, PASSWD, GROUP).unwrap(), identity(5000, 0, &[8, 9], "/"));
        let strict = User { strict_groups: true, ..named("web") };
        assert_eq!(find(&strict, PASSWD, GROUP).unwrap().groups, Vec::<u32>::new());
    }

    #[test]
    fn unknown_names_are_errors() {
        assert_eq!(
            find(&named("nobody"), PASSWD, GROUP).unwrap_err(),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert!(find(&named("web:none"), PASSWD, GROUP).is_err());
    }
}
