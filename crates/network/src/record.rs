//! What is known of a pod, as a small file. It is written under a temporary name before anything
//! is made and gets its final name when everything is, so that a crash leaves either a whole pod
//! or a trace of what to clean up.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use timonier_traffic::Protocol;

use crate::{HostPort, PodNet};

const UNFINISHED: &str = ".part";

/// The directory of the records.
pub fn directory(state: &Path) -> PathBuf {
    state.join("pods")
}

/// The bind mount of a pod's namespace.
pub fn namespace(state: &Path, uid: &str) -> PathBuf {
    state.join("netns").join(uid)
}

/// Writes that a pod is in the making.
pub fn begin(state: &Path, pod: &PodNet) -> io::Result<()> {
    fs::write(directory(state).join(format!("{}{UNFINISHED}", pod.uid)), encode(pod))
}

/// Writes that the pod is complete.
pub fn finish(state: &Path, uid: &str) -> io::Result<()> {
    let directory = directory(state);
    fs::rename(directory.join(format!("{uid}{UNFINISHED}")), directory.join(uid))
}

/// Forgets a pod; no error where there is none.
pub fn remove(state: &Path, uid: &str) -> io::Result<()> {
    for name in [uid.to_owned(), format!("{uid}{UNFINISHED}")] {
        match fs::remove_file(directory(state).join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// All records, with whether they are complete. A file that is none is passed over.
pub fn read_all(state: &Path) -> io::Result<Vec<(PodNet, bool)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory(state))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (uid, complete) = match name.strip_suffix(UNFINISHED) {
            Some(uid) => (uid, false),
            None => (name.as_str(), true),
        };
        let text = fs::read_to_string(entry.path())?;
        match decode(state, uid, &text) {
            Some(pod) => all.push((pod, complete)),
            None => tracing::warn!(file = %entry.path().display(), "not a pod's address record"),
        }
    }
    Ok(all)
}

fn encode(pod: &PodNet) -> String {
    let mut text = format!("ip {}\ninterface {}\n", pod.ip, pod.interface);
    for p in &pod.host_ports {
        let protocol = p.protocol.lower().to_ascii_uppercase();
        text += &format!("port {} {protocol} {} {}\n", p.host_ip, p.host_port, p.container_port);
    }
    text
}

fn decode(state: &Path, uid: &str, text: &str) -> Option<PodNet> {
    let mut pod = PodNet {
        uid: uid.to_owned(),
        netns_path: namespace(state, uid),
        ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        interface: String::new(),
        host_ports: Vec::new(),
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ip", ip] => pod.ip = ip.parse().ok()?,
            ["interface", name] => pod.interface = name.to_owned(),
            ["port", ip, protocol, host, container] => pod.host_ports.push(HostPort {
                host_ip: ip.parse().ok()?,
                protocol: Protocol::parse(protocol)?,
                host_port: host.parse().ok()?,
                container_port: container.parse().ok()?,
            }),
            _ => return None,
        }
    }
    (!pod.ip.is_unspecified() && !pod.interface.is_empty()).then_some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_show_what_is_unfinished() {
        let dir = std::env::temp_dir().join(format!("timonier-record-{}", std::process::id()));
        fs::create_dir_all(directory(&dir)).unwrap();
        let pod = PodNet {
            uid: "u-1".into(),
            netns_path: namespace(&dir, "u-1"),
            ip: "10.244.0.7".parse().unwrap(),
            interface: "tm0007".into(),
            host_ports: vec![HostPort {
                host_ip: Ipv4Addr::UNSPECIFIED,
                protocol: Protocol::Udp,
                host_port: 5353,
                container_port: 53,
            }],
        };
        begin(&dir, &pod).unwrap();
        assert_eq!(read_all(&dir).unwrap(), [(pod.clone(), false)]);
        finish(&dir, "u-1").unwrap();
        fs::write(directory(&dir).join("junk"), "x y z").unwrap();
        assert_eq!(read_all(&dir).unwrap(), [(pod, true)]);
        remove(&dir, "u-1").unwrap();
        remove(&dir, "u-1").unwrap();
        assert_eq!(read_all(&dir).unwrap(), []);
        fs::remove_dir_all(&dir).unwrap();
    }
}
