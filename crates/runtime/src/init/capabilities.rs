//! Giving up privileges.

use std::io;

use timonier_meta::capabilities::ALL;

use super::user::Identity;
use super::{Explain, Outcome, check};
use crate::spec::Security;

/// Checks names before anything runs.
pub fn mask(security: &Security) -> Outcome<u64> {
    if security.privileged {
        return Ok(u64::MAX);
    }
    let mut mask = 0;
    for name in &security.capabilities {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            return Ok(u64::MAX);
        }
        match ALL.iter().position(|n| *n == short) {
            Some(bit) => mask |= 1 << bit,
            None => return Err(format!("unknown capability {name:?}")),
        }
    }
    Ok(mask)
}

/// Becomes the user with exactly the capabilities given. For a user other than root the kernel
/// takes the effective ones away at `execve`, as everywhere.
pub fn become_user(identity: &Identity, security: &Security) -> Outcome<()> {
    let supported = supported();
    let mask = mask(security)? & supported;
    for bit in 0..64 {
        if supported & !mask & (1 << bit) != 0 {
            // SAFETY: a plain system call.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, bit as libc::c_ulong, 0, 0, 0) })
                .explain(|| format!("drop capability {bit} from the bounding set"))?;
        }
    }
    // SAFETY: plain system calls in a single-threaded process; the list lives across the call.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0)).explain(|| "keep caps".into())?;
        check(libc::setgroups(identity.groups.len(), identity.groups.as_ptr()))
            .explain(|| "setgroups".into())?;
        check(libc::setresgid(identity.gid, identity.gid, identity.gid))
            .explain(|| format!("setgid {}", identity.gid))?;
        check(libc::setresuid(identity.uid, identity.uid, identity.uid))
            .explain(|| format!("setuid {}", identity.uid))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0)).explain(|| "keep caps".into())?;
    }
    set(mask).explain(|| "set capabilities".into())
}

/// The capabilities that this kernel knows.
fn supported() -> u64 {
    let mut mask = 0;
    for bit in 0..64 {
        // SAFETY: only asks; unknown numbers fail.
        if unsafe { libc::prctl(libc::PR_CAPBSET_READ, bit as libc::c_ulong, 0, 0, 0) } == 1 {
            mask |= 1 << bit;
        }
    }
    mask
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Effective and permitted; nothing is inheritable (CVE-2022-24769).
fn set(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let half =
        |value: u64| Data { effective: value as u32, permitted: value as u32, inheritable: 0 };
    let data = [half(mask), half(mask >> 32)];
    // SAFETY: both structures have the kernel's layout and live across the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &header, data.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits() {
        let mut security = Security { capabilities: vec![], ..Security::default() };
        assert_eq!(mask(&security), Ok(0));
        security.capabilities = vec!["CAP_CHOWN".into(), "net_admin".into()];
        assert_eq!(mask(&security), Ok(1 | 1 << 12));
        security.capabilities = vec!["CAP_NONSENSE".into()];
        assert_eq!(mask(&security), Err("unknown capability \"CAP_NONSENSE\"".into()));
        assert_eq!(ALL[40], "CHECKPOINT_RESTORE");
    }
}
