//! The last steps before `execve`: limits, directory, identity, capabilities, filter, lookup.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::user::{Identity, resolve};
use super::{Explain, Outcome, capabilities, check, directory, plain};
use crate::seccomp;
use crate::spec::{ContainerConfig, Rlimit, Security};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process inside a container, whether the first or a later one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessSpec {
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub security: Security,
    pub rlimits: Vec<Rlimit>,
    pub terminal: bool,
}

impl ProcessSpec {
    pub fn of_container(config: &ContainerConfig) -> Self {
        Self {
            argv: config.argv.clone(),
            env: config.env.clone(),
            cwd: config.cwd.clone(),
            security: config.security.clone(),
            rlimits: config.rlimits.clone(),
            terminal: config.tty,
        }
    }
}

/// Turns the calling process into what `spec` says; returns only on failure.
pub fn execute(spec: &ProcessSpec, filter: Option<&[u8]>) -> Outcome<Infallible> {
    let identity = resolve(&spec.security.user)?;
    for limit in &spec.rlimits {
        set_rlimit(limit)?;
    }
    // While still privileged, as runc does.
    directory::enter(&spec.cwd)?;
    give_streams_to(&identity);
    let environment = environment(spec, &identity);
    if let (Some(filter), false) = (filter, spec.security.no_new_privs) {
        // Without no_new_privs this needs CAP_SYS_ADMIN, which is about to go.
        seccomp::enter(filter).explain(|| "enter the seccomp filter".into())?;
    }
    capabilities::become_user(&identity, &spec.security)?;
    if spec.security.no_new_privs {
        // SAFETY: a plain system call.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
            .explain(|| "set no_new_privs".into())?;
    }
    let program = look_up(&spec.argv, &environment)?;
    let argv = c_strings(&spec.argv)?;
    let environment = c_strings(&environment)?;
    reset_signals();
    if let (Some(filter), true) = (filter, spec.security.no_new_privs) {
        seccomp::enter(filter).explain(|| "enter the seccomp filter".into())?;
    }
    let path = CString::new(program.as_os_str().as_bytes())
        .map_err(|_| "the program's path has a NUL byte".to_string())?;
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, environment) = (pointers(&argv), pointers(&environment));
    // SAFETY: both lists end in NULL and point to strings that live here. Of the descriptors behind
    // 2 only the one for reports is left; it is marked, so that a failure can still be reported.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr());
    }
    Err(format!("exec {}: {}", program.display(), plain(&io::Error::last_os_error())))
}

fn set_rlimit(limit: &Rlimit) -> Outcome<()> {
    const NAMES: [(&str, libc::__rlimit_resource_t); 16] = [
        ("RLIMIT_AS", libc::RLIMIT_AS),
        ("RLIMIT_CORE", libc::RLIMIT_CORE),
        ("RLIMIT_CPU", libc::RLIMIT_CPU),
        ("RLIMIT_DATA", libc::RLIMIT_DATA),
        ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", libc::RLIMIT_NICE),
        ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        ("RLIMIT_RSS", libc::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", libc::RLIMIT_STACK),
    ];
    let Some((_, resource)) = NAMES.iter().find(|(n, _)| *n == limit.name) else {
        return Err(format!("unknown resource limit {:?}", limit.name));
    };
    let value = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the kernel reads the structure during the call.
    check(unsafe { libc::setrlimit(*resource, &value) }).explain(|| format!("set {}", limit.name))
}

/// Lets a user other than root open `/dev/stdout` anew.
fn give_streams_to(identity: &Identity) {
    for fd in 0..3 {
        // SAFETY: plain system calls; not owning the streams is no failure.
        unsafe {
            let mut stat = std::mem::zeroed::<libc::stat>();
            // Not /dev/null, which everybody shares.
            if libc::fstat(fd, &mut stat) == 0 && stat.st_rdev != libc::makedev(1, 3) {
                libc::fchown(fd, identity.uid, libc::gid_t::MAX);
            }
        }
    }
}

fn environment(spec: &ProcessSpec, identity: &Identity) -> Vec<String> {
    let mut environment: Vec<String> = Vec::with_capacity(spec.env.len() + 2);
    for entry in &spec.env {
        let name = entry.split('=').next().unwrap_or_default();
        // The last one wins, at the first one's place.
        match environment.iter_mut().find(|e| e.split('=').next() == Some(name)) {
            Some(earlier) => entry.clone_into(earlier),
            None => environment.push(entry.clone()),
        }
    }
    let has = |list: &[String], name: &str| list.iter().any(|e| e.starts_with(name));
    if !has(&environment, "PATH=") {
        environment.insert(0, format!("PATH={DEFAULT_PATH}"));
    }
    if spec.terminal && !has(&environment, "TERM=") {
        environment.push("TERM=xterm".into());
    }
    if !has(&environment, "HOME=") {
        environment.push(format!("HOME={}", identity.home));
    }
    environment
}

/// Finds the program as a shell would, with the error texts of runc.
fn look_up(argv: &[String], environment: &[String]) -> Outcome<PathBuf> {
    let Some(name) = argv.first() else { return Err("no command specified".into()) };
    if name.contains('/') {
        let path = PathBuf::from(name);
        let metadata = fs::metadata(&path)
            .map_err(|e| format!("exec: {name:?}: stat {name}: {}", plain(&e)))?;
        if metadata.is_dir() {
            return Err(format!("exec: {name:?}: is a directory"));
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(format!("exec: {name:?}: permission denied"));
        }
        return Ok(path);
    }
    let path = environment.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for dir in path.split(':').filter(|d| d.starts_with('/')) {
        let candidate = Path::new(dir).join(name);
        if fs::metadata(&candidate).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0) {
            return Ok(candidate);
        }
    }
    Err(format!("exec: {name:?}: executable file not found in $PATH"))
}

fn c_strings(list: &[String]) -> Outcome<Vec<CString>> {
    list.iter()
        .map(|s| CString::new(s.as_str()).map_err(|_| format!("{s:?} has a NUL byte")))
        .collect()
}

/// The shim blocks and ignores signals; a container starts without any of that.
fn reset_signals() {
    // SAFETY: plain system calls on zeroed, valid structures.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(env: &[&str]) -> ProcessSpec {
        ProcessSpec {
            argv: vec!["sh".into()],
            env: env.iter().map(|s| s.to_string()).collect(),
            cwd: String::new(),
            security: Security::default(),
            rlimits: Vec::new(),
            terminal: true,
        }
    }

    #[test]
    fn the_environment_is_completed_and_later_entries_win() {
        let identity = Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() };
        assert_eq!(
            environment(&spec(&["A=1", "PATH=/x", "A=2"]), &identity),
            ["A=2", "PATH=/x", "TERM=xterm", "HOME=/root"]
        );
    }

    #[test]
    fn lookup_errors_read_like_runc() {
        let env = ["PATH=/nowhere".to_string()];
        let look = |name: &str| look_up(&[name.to_string()], &env).unwrap_err();
        assert_eq!(look("foo"), "exec: \"foo\": executable file not found in $PATH");
        assert_eq!(look("/foo"), "exec: \"/foo\": stat /foo: no such file or directory");
        assert_eq!(look("/etc/passwd"), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(look_up(&[], &env).unwrap_err(), "no command specified");
    }
}
