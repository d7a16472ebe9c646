//! System call filters: profiles in the OCI/Docker JSON form, compiled to the kernel's filter
//! program before a container starts. A profile that cannot be compiled is an error, never
//! ignored.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use std::sync::{Arc, Mutex};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::spec::{Seccomp, Security};

/// The default profile: what Docker and containerd allow. Capabilities widen it.
const DEFAULT_PROFILE: &str = include_str!("default.json");
/// The kernel's longest program, in instructions of 8 bytes.
const MAX_INSTRUCTIONS: usize = 4096;
const MAX_CACHED: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    /// The older form of `names`.
    #[serde(default)]
    name: Option<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// The filter program of a container: `None` when unconfined.
pub fn program(security: &Security) -> Result<Option<Vec<u8>>> {
    if security.privileged {
        return Ok(None);
    }
    let text = match &security.seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => DEFAULT_PROFILE,
        Seccomp::Custom(text) => text,
    };
    cached(text, &security.capabilities).map(|program| Some(program.to_vec()))
}

/// Compiling takes milliseconds, and almost every container has the same profile.
fn cached(text: &str, capabilities: &[String]) -> Result<Arc<[u8]>> {
    type Cache = BTreeMap<(String, Vec<String>), Arc<[u8]>>;
    static CACHE: Mutex<Cache> = Mutex::new(Cache::new());
    let key = (text.to_string(), capabilities.to_vec());
    let cache = || CACHE.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(found) = cache().get(&key) {
        return Ok(found.clone());
    }
    let program: Arc<[u8]> = compile(text, capabilities)?.into();
    let mut cache = cache();
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
    cache.insert(key, program.clone());
    Ok(program)
}

fn compile(text: &str, capabilities: &[String]) -> Result<Vec<u8>> {
    let profile: Profile = serde_json::from_str(text)
        .map_err(|e| Error::Invalid(format!("cannot load seccomp profile: {e}")))?;
    let build = || -> std::result::Result<ScmpFilterContext, String> {
        let default = action(&profile.default_action, profile.default_errno_ret)?;
        let mut context = ScmpFilterContext::new(default).map_err(|e| e.to_string())?;
        for arch in architectures(&profile)? {
            context.add_arch(arch).map_err(|e| e.to_string())?;
        }
        // A binary tree instead of a chain of comparisons: each call costs less.
        let _ = context.set_ctl_optimize(2);
        for rule in profile.syscalls.iter().filter(|r| applies(r, capabilities)) {
            add_rule(&mut context, rule, default)?;
        }
        Ok(context)
    };
    let context =
        build().map_err(|e| Error::Invalid(format!("cannot load seccomp profile: {e}")))?;
    export(&context).map_err(|e| Error::Invalid(format!("cannot compile seccomp profile: {e}")))
}

fn export(context: &ScmpFilterContext) -> io::Result<Vec<u8>> {
    let memory = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)?;
    context.export_bpf(&memory).map_err(io::Error::other)?;
    let mut file = File::from(memory);
    file.rewind()?;
    let mut program = Vec::new();
    file.read_to_end(&mut program)?;
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS * 8 {
        return Err(io::Error::other(format!("the filter has {} bytes", program.len())));
    }
    Ok(program)
}

fn applies(rule: &Rule, capabilities: &[String]) -> bool {
    let holds = |cap: &String| capabilities.iter().any(|c| c == cap || c == "ALL");
    let here = |arch: &String| arch == native_name();
    let included = rule.includes.as_ref().is_none_or(|f| {
        f.caps.iter().all(holds) && (f.arches.is_empty() || f.arches.iter().any(here))
    });
    let excluded = rule
        .excludes
        .as_ref()
        .is_some_and(|f| f.caps.iter().any(holds) || f.arches.iter().any(here));
    included && !excluded
}

fn add_rule(
    context: &mut ScmpFilterContext,
    rule: &Rule,
    default: ScmpAction,
) -> Result<(), String> {
    let action = action(&rule.action, rule.errno_ret)?;
    if action == default {
        return Ok(());
    }
    let mut comparisons = Vec::new();
    for argument in rule.args.iter().flatten() {
        if argument.index > 5 {
            return Err(format!("argument index {} is out of range", argument.index));
        }
        let op = operator(argument)?;
        let value = if matches!(op, ScmpCompareOp::MaskedEqual(_)) {
            argument.value_two
        } else {
            argument.value
        };
        comparisons.push(ScmpArgCompare::new(argument.index, op, value));
    }
    for name in rule.names.iter().chain(&rule.name) {
        // Names that this library does not know yet cannot be allowed: the default applies.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        add_call(context, action, syscall, rule, &comparisons)
            .map_err(|e| format!("system call {name:?}: {e}"))?;
    }
    Ok(())
}

/// One rule can compare each argument once; several comparisons of the same argument are
/// alternatives, as runc takes them.
fn add_call(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    syscall: ScmpSyscall,
    rule: &Rule,
    comparisons: &[ScmpArgCompare],
) -> Result<(), libseccomp::error::SeccompError> {
    if comparisons.is_empty() {
        return context.add_rule(action, syscall).map(drop);
    }
    let mut seen = [false; 6];
    let repeated =
        rule.args.iter().flatten().any(|a| std::mem::replace(&mut seen[a.index as usize], true));
    if !repeated {
        return context.add_rule_conditional(action, syscall, comparisons).map(drop);
    }
    for comparison in comparisons.chunks(1) {
        context.add_rule_conditional(action, syscall, comparison)?;
    }
    Ok(())
}

fn action(name: &str, errno: Option<u32>) -> Result<ScmpAction, String> {
    let errno = errno.map_or(libc::EPERM, |e| e as i32);
    Ok(match name {
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        "SCMP_ACT_ERRNO" => ScmpAction::Errno(errno),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => ScmpAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => ScmpAction::KillProcess,
        "SCMP_ACT_TRAP" => ScmpAction::Trap,
        "SCMP_ACT_LOG" => ScmpAction::Log,
        "SCMP_ACT_TRACE" => ScmpAction::Trace(errno as u16),
        other => return Err(format!("action {other:?} is not supported")),
    })
}

fn operator(argument: &Argument) -> Result<ScmpCompareOp, String> {
    Ok(match argument.op.as_str() {
        "SCMP_CMP_NE" => ScmpCompareOp::NotEqual,
        "SCMP_CMP_LT" => ScmpCompareOp::Less,
        "SCMP_CMP_LE" => ScmpCompareOp::LessOrEqual,
        "SCMP_CMP_EQ" => ScmpCompareOp::Equal,
        "SCMP_CMP_GE" => ScmpCompareOp::GreaterEqual,
        "SCMP_CMP_GT" => ScmpCompareOp::Greater,
        "SCMP_CMP_MASKED_EQ" => ScmpCompareOp::MaskedEqual(argument.value),
        other => return Err(format!("operator {other:?} is not supported")),
    })
}

/// The architectures besides the native one, which is always part of a filter.
fn architectures(profile: &Profile) -> Result<Vec<ScmpArch>, String> {
    let mapped = profile.arch_map.iter().filter(|m| m.architecture == native_arch());
    let names = mapped.flat_map(|m| &m.sub_architectures).chain(&profile.architectures);
    let mut found = Vec::new();
    for name in names {
        let arch = arch(name).ok_or_else(|| format!("architecture {name:?} is not supported"))?;
        if name != native_arch() && !found.contains(&arch) {
            found.push(arch);
        }
    }
    Ok(found)
}

fn arch(name: &str) -> Option<ScmpArch> {
    Some(match name {
        "SCMP_ARCH_X86_64" => ScmpArch::X8664,
        "SCMP_ARCH_X86" => ScmpArch::X86,
        "SCMP_ARCH_X32" => ScmpArch::X32,
        "SCMP_ARCH_AARCH64" => ScmpArch::Aarch64,
        "SCMP_ARCH_ARM" => ScmpArch::Arm,
        "SCMP_ARCH_RISCV64" => ScmpArch::Riscv64,
        "SCMP_ARCH_PPC64LE" => ScmpArch::Ppc64Le,
        "SCMP_ARCH_S390X" => ScmpArch::S390X,
        "SCMP_ARCH_S390" => ScmpArch::S390,
        "SCMP_ARCH_MIPS" => ScmpArch::Mips,
        "SCMP_ARCH_MIPS64" => ScmpArch::Mips64,
        "SCMP_ARCH_MIPS64N32" => ScmpArch::Mips64N32,
        "SCMP_ARCH_MIPSEL" => ScmpArch::Mipsel,
        "SCMP_ARCH_MIPSEL64" => ScmpArch::Mipsel64,
        "SCMP_ARCH_MIPSEL64N32" => ScmpArch::Mipsel64N32,
        _ => return None,
    })
}

fn native_arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        _ => "SCMP_ARCH_X86_64",
    }
}

/// As profiles name it in `includes` and `excludes`.
fn native_name() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        _ => "amd64",
    }
}

/// Puts the calling process under the filter; needs `no_new_privs` or `CAP_SYS_ADMIN`.
pub fn enter(program: &[u8]) -> io::Result<()> {
    if program.is_empty() || !program.len().is_multiple_of(8) {
        return Err(io::Error::other("the seccomp filter is damaged"));
    }
    // The bytes may not be aligned as the kernel wants instructions.
    let mut aligned = vec![0u64; program.len() / 8];
    for (to, from) in aligned.iter_mut().zip(program.chunks_exact(8)) {
        *to = u64::from_ne_bytes(from.try_into().unwrap_or_default());
    }
    let filter = libc::sock_fprog {
        len: aligned.len() as u16,
        filter: aligned.as_mut_ptr().cast::<libc::sock_filter>(),
    };
    // SAFETY: the program lives across the call, and the kernel copies it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::default_capabilities;

    #[test]
    fn the_default_profile_compiles_and_capabilities_widen_it() {
        let plain = compile(DEFAULT_PROFILE, &default_capabilities()).unwrap();
        let wide = compile(DEFAULT_PROFILE, &["CAP_SYS_ADMIN".into()]).unwrap();
        assert!(plain.len() > 800 && plain.len().is_multiple_of(8));
        assert_ne!(plain, wide);
    }

    #[test]
    fn a_bad_profile_is_refused() {
        for (text, why) in [
            ("{", "cannot load seccomp profile: EOF"),
            (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["PDP11"]}"#, "PDP11"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],
                "action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
                "index 9",
            ),
        ] {
            let error = compile(text, &[]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn unconfined_and_privileged_have_no_filter() {
        let mut security = Security { seccomp: Seccomp::Unconfined, ..Security::default() };
        assert!(program(&security).unwrap().is_none());
        security.seccomp = Seccomp::Default;
        assert!(program(&security).unwrap().is_some());
        security.privileged = true;
        assert!(program(&security).unwrap().is_none());
    }
}
