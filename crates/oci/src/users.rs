//! Users and groups as an image's own `/etc/passwd` and `/etc/group` name them.

use crate::error::{Error, Result};

/// Numbers for a process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, in the order of the group file.
    pub groups: Vec<u32>,
    /// The user's name, if the image names one.
    pub name: Option<String>,
    /// The home directory; `/` if the image names none.
    pub home: String,
}

/// Looks up `user`, `uid`, `user:group` or `uid:gid` (empty means root) as Docker does.
/// Numbers need no entry; an unknown name is an error.
pub fn lookup(spec: &str, passwd: &str, group: &str) -> Result<Identity> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let mut identity = user_entry(user, passwd)?;
    match wanted_group.filter(|g| !g.is_empty()) {
        Some(name) => identity.gid = group_id(name, group)?,
        None => identity.groups = memberships(&identity, group),
    }
    Ok(identity)
}

/// The number of a group by name or number.
pub fn group_id(name: &str, group: &str) -> Result<u32> {
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if fields.len() >= 3 && fields[0] == name {
            return number(fields[2], "group");
        }
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return number(name, "group");
    }
    Err(Error::Invalid(format!("unable to find group {name}: no matching entries in group file")))
}

fn user_entry(user: &str, passwd: &str) -> Result<Identity> {
    let user = if user.is_empty() { "0" } else { user };
    let numeric = user.bytes().all(|b| b.is_ascii_digit());
    let wanted = if numeric { Some(number(user, "user")?) } else { None };
    for line in passwd.lines() {
        let f: Vec<&str> = line.split(':').collect();
        if f.len() < 4 {
            continue;
        }
        let (Ok(uid), Ok(gid)) = (f[2].parse::<u32>(), f[3].parse::<u32>()) else { continue };
        if f[0] == user || wanted == Some(uid) {
            let home = f.get(5).copied().filter(|h| !h.is_empty()).unwrap_or("/").to_owned();
            return Ok(Identity { uid, gid, groups: Vec::new(), name: Some(f[0].into()), home });
        }
    }
    match wanted {
        Some(uid) => {
            let home = if uid == 0 { "/root" } else { "/" };
            Ok(Identity { uid, home: home.to_owned(), ..Identity::default() })
        }
        None => Err(Error::Invalid(format!(
            "unable to find user {user}: no matching entries in passwd file"
        ))),
    }
}

fn memberships(identity: &Identity, group: &str) -> Vec<u32> {
    let Some(name) = &identity.name else { return Vec::new() };
    let mut groups = Vec::new();
    for line in group.lines() {
        let f: Vec<&str> = line.split(':').collect();
        if f.len() >= 4
            && f[3].split(',').any(|member| member == name)
            && let Ok(gid) = f[2].parse::<u32>()
            && !groups.contains(&gid)
        {
            groups.push(gid);
        }
    }
    groups
}

/// Ids are 31 bits wide, as Docker demands.
fn number(text: &str, what: &str) -> Result<u32> {
    text.parse::<u32>().ok().filter(|n| *n <= i32::MAX as u32).ok_or_else(|| {
        Error::Invalid(format!("{what} id {text} is out of range: it must be in 0-2147483647"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:\nbad\nx:x:y:z::\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:a,www\nfive:x:5:www\n";

    #[test]
    fn names_and_numbers() {
        let www = lookup("www", PASSWD, GROUP).unwrap();
        assert_eq!(
            (www.uid, www.gid, www.groups, www.home.as_str()),
            (33, 34, vec![50, 5], "/var/www")
        );
        assert_eq!(lookup("33", PASSWD, GROUP).unwrap().gid, 34);
        let other = lookup("9000", PASSWD, GROUP).unwrap();
        assert_eq!((other.uid, other.gid, other.home.as_str()), (9000, 0, "/"));
        let both = lookup("www:logs", PASSWD, GROUP).unwrap();
        assert_eq!((both.uid, both.gid, both.groups.len()), (33, 50, 0));
        assert_eq!(lookup("1:2", "", "").unwrap().gid, 2);
        assert_eq!(lookup("", "", "").unwrap().home, "/root");
    }

    #[test]
    fn unknown_names_are_errors() {
        let error = lookup("nobody", PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(error, "unable to find user nobody: no matching entries in passwd file");
        assert!(lookup("www:none", PASSWD, GROUP).is_err());
        assert!(lookup("4294967295", PASSWD, GROUP).is_err());
    }
}
