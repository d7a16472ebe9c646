//! Which devices a group may use: the `devices` controller of v1, a small BPF program on v2.
//!
//! This matters because containers hold `CAP_MKNOD`: without it they could make a node of the
//! host's disk and read it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Cgroups, Version, named};

/// Allows access to some devices; everything else is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// `c` character, `b` block, `a` both.
    pub kind: char,
    /// `None` is any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

impl DeviceRule {
    pub fn new(kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        Self { kind, major, minor, access: access.into() }
    }

    /// What every container gets: making nodes (not using them), the harmless devices, terminals.
    pub fn defaults() -> Vec<Self> {
        let mut rules = vec![Self::new('c', None, None, "m"), Self::new('b', None, None, "m")];
        // null, zero, full, random, urandom, tty, console, ptmx
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
            rules.push(Self::new('c', Some(major), Some(minor), "rwm"));
        }
        rules.push(Self::new('c', Some(136), None, "rwm"));
        rules
    }

    fn allows_everything(&self) -> bool {
        let any = self.kind == 'a' && self.major.is_none() && self.minor.is_none();
        any && ['r', 'w', 'm'].iter().all(|c| self.access.contains(*c))
    }

    fn line(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".into(), |n| n.to_string());
        format!("{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

impl Cgroups {
    /// Restricts the group to the rules. An error means that the container must not start.
    pub fn restrict_devices(&self, path: &str, rules: &[DeviceRule]) -> io::Result<()> {
        let below = path.trim_start_matches('/');
        if let (Version::V1 { .. }, Some(root)) = (&self.version, self.controller("devices")) {
            let dir = root.join(below);
            let deny = dir.join("devices.deny");
            fs::write(&deny, "a").map_err(|e| named(&dir, "devices.deny", e))?;
            for rule in rules {
                fs::write(dir.join("devices.allow"), rule.line())
                    .map_err(|e| named(&dir, "devices.allow", e))?;
            }
            return Ok(());
        }
        if rules.iter().any(DeviceRule::allows_everything) {
            // A group without a filter allows everything; the kernel takes no filter with
            // instructions that are never reached.
            return Ok(());
        }
        let Some(root) = self.unified() else {
            let text = "neither the devices controller nor cgroup v2 is available";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        let program = load(&assemble(rules))?;
        attach(&fs::File::open(root.join(below))?, &program)
    }
}

/// One BPF instruction as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn {
    code: u8,
    /// Destination register in the low half, source in the high half.
    regs: u8,
    off: i16,
    imm: i32,
}

const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: dst | src << 4, off, imm }
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REG: u8 = 0xbc;
const MOVE_IMM: u8 = 0xb7;
const AND_IMM: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REG: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// r1 points to { access_type, major, minor } with the kind in the low and the access in the high
/// 16 bits of access_type. Result 1 allows.
fn assemble(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut program = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(AND_IMM, 2, 0, 0, 0xffff),
        insn(LOAD_WORD, 3, 1, 0, 0),
        insn(SHIFT_RIGHT, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        program.extend(block(rule));
    }
    program.extend([insn(MOVE_IMM, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    program
}

/// Tests of one rule, each jumping behind the block when it does not hold.
fn block(rule: &DeviceRule) -> Vec<Insn> {
    let mut tests = Vec::new();
    match rule.kind {
        'b' => tests.push(insn(JUMP_NOT_EQUAL, 2, 0, 0, 1)),
        'c' => tests.push(insn(JUMP_NOT_EQUAL, 2, 0, 0, 2)),
        _ => {}
    }
    let bits = [('m', 1), ('r', 2), ('w', 4)];
    let access: i32 =
        bits.iter().filter(|(c, _)| rule.access.contains(*c)).map(|(_, bit)| bit).sum();
    if access != 7 {
        // Everything asked for must be among what is allowed.
        tests.extend([
            insn(MOVE_REG, 1, 3, 0, 0),
            insn(AND_IMM, 1, 0, 0, access),
            insn(JUMP_NOT_EQUAL_REG, 1, 3, 0, 0),
        ]);
    }
    if let Some(major) = rule.major {
        tests.push(insn(JUMP_NOT_EQUAL, 4, 0, 0, major as i32));
    }
    if let Some(minor) = rule.minor {
        tests.push(insn(JUMP_NOT_EQUAL, 5, 0, 0, minor as i32));
    }
    tests.extend([insn(MOVE_IMM, 0, 0, 0, 1), insn(EXIT, 0, 0, 0, 0)]);
    let end = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REG) {
            test.off = (end - at - 1) as i16;
        }
    }
    tests
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Every program up the tree must allow; parents with their own do not forbid ours.
const BPF_F_ALLOW_MULTI: u32 = 2;

#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    /// Log level and size, its buffer, kernel version, flags.
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

fn load(program: &[Insn]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the attribute block and what it points to live across the call; the kernel only
    // reads them. A positive result is a new descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &attr, size_of::<LoadAttr>());
        if fd < 0 {
            let e = io::Error::last_os_error();
            return Err(io::Error::new(e.kind(), format!("load the device filter: {e}")));
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

fn attach(cgroup: &fs::File, program: &OwnedFd) -> io::Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: as above; the group keeps its own reference to the program.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &attr, size_of::<AttachAttr>()) };
    if result < 0 {
        let e = io::Error::last_os_error();
        return Err(io::Error::new(e.kind(), format!("attach the device filter: {e}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions that [`assemble`] uses.
    fn run(program: &[Insn], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [kind | access << 16, major, minor];
        let mut r = [0u64; 11];
        let mut pc = 0usize;
        loop {
            let i = program[pc];
            let (dst, src) = ((i.regs & 15) as usize, (i.regs >> 4) as usize);
            pc += 1;
            match i.code {
                LOAD_WORD => r[dst] = u64::from(context[i.off as usize / 4]),
                MOVE_REG => r[dst] = r[src],
                MOVE_IMM => r[dst] = i.imm as u64,
                AND_IMM => r[dst] &= i.imm as u64,
                SHIFT_RIGHT => r[dst] >>= i.imm,
                JUMP_NOT_EQUAL if r[dst] != i.imm as u64 => pc += i.off as usize,
                JUMP_NOT_EQUAL_REG if r[dst] != r[src] => pc += i.off as usize,
                JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REG => {}
                EXIT => return r[0],
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_decides_like_the_rules() {
        let program = assemble(&DeviceRule::defaults());
        let (block, char) = (1, 2);
        let (make, read, write) = (1, 2, 4);
        assert_eq!(run(&program, char, read | write, 1, 3), 1, "/dev/null");
        assert_eq!(run(&program, char, read | write, 136, 7), 1, "a terminal");
        assert_eq!(run(&program, block, make, 254, 0), 1, "making a node");
        assert_eq!(run(&program, block, read, 254, 0), 0, "reading the disk");
        assert_eq!(run(&program, block, make | read, 254, 0), 0);
        assert_eq!(run(&program, char, read, 1, 1), 0, "/dev/mem");
        let one = assemble(&[DeviceRule::new('b', Some(8), None, "r")]);
        assert_eq!((run(&one, block, read, 8, 1), run(&one, block, write, 8, 1)), (1, 0));
    }

    #[test]
    fn v1_lines() {
        let lines: Vec<String> = DeviceRule::defaults().iter().map(DeviceRule::line).collect();
        assert_eq!(lines[0], "c *:* m");
        assert_eq!(lines[2], "c 1:3 rwm");
        assert_eq!(lines.last().unwrap(), "c 136:* rwm");
    }

    /// The kernel's verifier must accept the program; needs root.
    #[test]
    fn the_kernel_accepts_the_filter() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        match load(&assemble(&DeviceRule::defaults())) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => eprintln!("skipped: {e}"),
            Err(e) => panic!("{e}"),
        }
    }
}
