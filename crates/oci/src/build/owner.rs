//! Names of users and groups in the image that is being built.

use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;

use crate::error::{Error, IoContext, Result};
use crate::unpack::path;
use crate::users::{self, Identity};

/// uid and gid.
pub type FoundOwner = (u32, u32);

/// A file of users may have this many bytes.
const LIMIT: u64 = 8 << 20;

/// `--chown=user[:group]`. A number without a group is also the group's; a name brings its own.
pub fn find_owner(root: BorrowedFd<'_>, spec: &str) -> Result<FoundOwner> {
    let (passwd, group) = files(root)?;
    let (user, own_group) = spec.split_once(':').map_or((spec, None), |(u, g)| (u, Some(g)));
    let fail = |e: Error| Error::Invalid(format!("--chown={spec}: {e}"));
    let identity = users::lookup(user, &passwd, "").map_err(fail)?;
    let gid = match own_group.filter(|g| !g.is_empty()) {
        Some(name) => users::group_id(name, &group).map_err(fail)?,
        None if user.bytes().all(|b| b.is_ascii_digit()) => identity.uid,
        None => identity.gid,
    };
    Ok((identity.uid, gid))
}

/// The `USER` that a command runs as.
pub fn find_user(root: BorrowedFd<'_>, spec: &str) -> Result<Identity> {
    let (passwd, group) = files(root)?;
    users::lookup(spec, &passwd, &group)
}

fn files(root: BorrowedFd<'_>) -> Result<(String, String)> {
    Ok((read(root, "passwd")?, read(root, "group")?))
}

fn read(root: BorrowedFd<'_>, name: &str) -> Result<String> {
    let parts = [b"etc".to_vec(), name.as_bytes().to_vec()];
    let Ok(fd) = path::open_in(root, &parts, OFlags::RDONLY | OFlags::NONBLOCK) else {
        return Ok(String::new());
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::from(fd);
    file.take(LIMIT).read_to_end(&mut bytes).during(|| format!("read /etc/{name} of the image"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
