//! The host's part: forwarding, the node's own addresses, the route to Services.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::error::Context;
use crate::netlink::Socket;
use crate::route::{self, Path as RoutePath, Veth};
use crate::{NetworkConfig, Result};

/// The kernel settings that pods need.
const SETTINGS: &[(&str, &str)] = &[("net/ipv4/ip_forward", "1")];

/// Prepares the host; doing it again changes nothing.
pub fn prepare(socket: &mut Socket, config: &NetworkConfig) -> Result<()> {
    for (name, value) in SETTINGS {
        set(config, name, value).what(|| format!("set {name}"))?;
    }
    let link = interface_index(socket, config)?;
    for address in addresses(config) {
        route::add_address(socket, link, address, 32)
            .what(|| format!("give {} the address {address}", interface(config)))?;
    }
    // Without a route to it, a connection from the node to a Service fails before the packet
    // rules see it. The packets never leave: the rules change their destination, or refuse them.
    let path = RoutePath { link, gateway: None, source: Some(config.gateway()) };
    route::add_route(socket, config.service_cidr, &path)
        .what(|| format!("add the route to {}", config.service_cidr))
}

/// The interface that holds the node's own addresses and the route to Services: one end of a pair
/// whose other end leads nowhere. The loopback interface would not do, because the kernel sends
/// no ICMP errors for what is routed there, and the dummy driver is not in every kernel.
pub fn interface(config: &NetworkConfig) -> String {
    format!("{}-gw", config.interface_prefix)
}

fn interface_index(socket: &mut Socket, config: &NetworkConfig) -> Result<u32> {
    let (name, peer) = (interface(config), format!("{}-gx", config.interface_prefix));
    if let Ok(link) = route::link_named(socket, &name) {
        if link.mtu != config.mtu {
            route::set_mtu(socket, link.index, config.mtu)
                .what(|| format!("set the MTU of {name}"))?;
        }
        return Ok(link.index);
    }
    let [_, b, c, d] = config.gateway().octets();
    let veth = Veth {
        name: &name,
        mac: [0x0a, 0x58, 0, b, c, d],
        peer_name: &peer,
        peer_mac: [0x0a, 0x58, 1, b, c, d],
        peer_namespace: None,
        mtu: config.mtu,
    };
    let what = || format!("create interface {name}");
    route::add_veth(socket, &veth).what(what)?;
    let other = route::link_index(socket, &peer).what(what)?;
    route::set_up(socket, other, true).what(what)?;
    let index = route::link_index(socket, &name).what(what)?;
    route::set_up(socket, index, true).what(what)?;
    route::wait_until_running(socket, other).what(what)?;
    Ok(index)
}

/// Takes the settings back; addresses and routes go with the interface.
pub fn restore(config: &NetworkConfig) -> Result<()> {
    for (name, _) in SETTINGS {
        unset(config, name).what(|| format!("restore {name}"))?;
    }
    match fs::remove_dir(&config.shared_dir) {
        Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTEMPTY)) => {
            Err(e).what(|| format!("remove {}", config.shared_dir.display()))
        }
        _ => Ok(()),
    }
}

/// The pods' gateway, and the DNS server's address, which the node serves itself.
fn addresses(config: &NetworkConfig) -> impl Iterator<Item = Ipv4Addr> {
    [config.gateway()].into_iter().chain(config.dns_ip)
}

/// Sets a kernel setting. The value before and the clusters that need the new one are noted in a
/// directory that all clusters of the host share; the last that goes restores. Like the settings,
/// the directory does not survive a reboot.
fn set(config: &NetworkConfig, name: &str, value: &str) -> io::Result<()> {
    let directory = registry(config, name);
    fs::create_dir_all(&directory)?;
    let _lock = lock(&directory)?;
    let before = directory.join("before");
    let now = fs::read_to_string(proc(name))?;
    if now.trim() != value && !before.exists() {
        fs::write(&before, now.trim())?;
    }
    fs::write(directory.join(format!("by-{}", config.table)), "")?;
    if now.trim() != value { fs::write(proc(name), value) } else { Ok(()) }
}

fn unset(config: &NetworkConfig, name: &str) -> io::Result<()> {
    let directory = registry(config, name);
    if !directory.exists() {
        return Ok(());
    }
    let _lock = lock(&directory)?;
    match fs::remove_file(directory.join(format!("by-{}", config.table))) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let used = fs::read_dir(&directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .any(|name| name.starts_with("by-"));
    if used {
        return Ok(());
    }
    if let Ok(value) = fs::read_to_string(directory.join("before")) {
        fs::write(proc(name), value)?;
    }
    fs::remove_dir_all(&directory)
}

fn registry(config: &NetworkConfig, name: &str) -> PathBuf {
    config.shared_dir.join(name.replace('/', "."))
}

fn proc(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn lock(directory: &Path) -> io::Result<nix::fcntl::Flock<fs::File>> {
    let file = fs::File::create(directory.join("lock"))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).map_err(|(_, e)| e.into())
}
