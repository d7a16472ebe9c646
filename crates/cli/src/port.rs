//! Who listens on a TCP port.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, anyhow};

/// Fails with the reason if the port cannot be listened on.
pub fn check(port: u16) -> Result<()> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .map(drop)
        .map_err(|error| refused("port", port, &error))
}

/// Why listening failed: the port, what it is for, and the process that has it, where the kernel
/// shows it.
pub fn refused(what: &str, port: u16, error: &std::io::Error) -> anyhow::Error {
    match holder(port).filter(|_| error.kind() == ErrorKind::AddrInUse) {
        Some(holder) => anyhow!("{what} {port} cannot be used: {holder} listens on it"),
        None => anyhow!("{what} {port} cannot be used: {error}"),
    }
}

/// The process that listens on the port, such as `process 17 (nginx)`.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .find_map(|path| listener(&fs::read_to_string(path).ok()?, port))?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .find(|p| {
            let descriptors = fs::read_dir(p.path().join("fd")).into_iter().flatten().flatten();
            descriptors
                .into_iter()
                .any(|d| fs::read_link(d.path()).is_ok_and(|to| to.as_os_str() == &*socket))
        })
        .map(|p| {
            let name = fs::read_to_string(p.path().join("comm")).unwrap_or_default();
            format!("process {} ({})", p.file_name().to_string_lossy(), name.trim())
        })
}

/// The inode of the socket in a kernel's table that listens on the port.
fn listener(table: &str, port: u16) -> Option<u64> {
    /// The state `LISTEN` in the kernel's tables.
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = fields.get(1)?.rsplit_once(':')?;
        let listens = fields.get(3) == Some(&LISTEN) && u16::from_str_radix(hex, 16) == Ok(port);
        listens.then(|| fields.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let text = check(port).unwrap_err().to_string();
        let process = format!("port {port} cannot be used: process {} (", std::process::id());
        assert!(text.starts_with(&process), "{text}");
        assert!(text.ends_with("listens on it"), "{text}");
        drop(taken);
        assert_eq!(holder(port), None);
    }
}
