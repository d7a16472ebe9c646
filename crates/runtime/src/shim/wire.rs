//! Packets with descriptors over a Unix socket.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    recv, recvmsg, sendmsg, socket_with, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{MAX_MESSAGE, SOCKET};

const MAX_FDS: usize = 4;

/// A non-blocking packet socket that takes the largest message.
pub fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    raise_buffer(&socket);
    Ok(socket)
}

/// Best effort: without it large command lines are refused with EMSGSIZE.
pub fn raise_buffer(socket: &OwnedFd) {
    if sockopt::set_socket_send_buffer_size_force(socket, MAX_MESSAGE * 2).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, MAX_MESSAGE * 2);
    }
}

/// The address of a pod's socket. It goes through an open directory, because a socket's path may
/// have 107 bytes only. The directory must stay open while the address is used.
pub fn address(dir: &Path) -> io::Result<(File, SocketAddrUnix)> {
    let open = File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()));
    let address = SocketAddrUnix::new(path)?;
    Ok((open, address))
}

/// Sends one message; `WouldBlock` when the other side does not read.
pub fn send(socket: BorrowedFd, message: &impl Serialize, fds: &[BorrowedFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too large"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message: `None` at the end of the stream.
pub fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // Asking for the size first keeps the buffer of an idle shim small.
    let peek = RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = recv(&socket, &mut [0u8; 1][..], peek)?;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too large"));
    }
    *buffer = vec![0; length.max(1)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|m| match m {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
    }
    let message = serde_json::from_slice(&buffer[..got.bytes]).map_err(io::Error::other)?;
    Ok(Some((message, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::socketpair;
    use std::io::{Read, Write};

    #[test]
    fn messages_of_any_size_carry_descriptors() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        raise_buffer(&ours);
        let mut buffer = Vec::new();
        for length in [0, 1, 70_000, 500_000] {
            let text = "x".repeat(length);
            let (reader, writer) = std::io::pipe().unwrap();
            send(ours.as_fd(), &text, &[writer.as_fd()]).unwrap();
            drop(writer);
            let (got, fds): (String, Vec<OwnedFd>) =
                receive(&theirs, &mut buffer).unwrap().unwrap();
            assert_eq!((got.len(), fds.len()), (length, 1));
            for fd in fds {
                File::from(fd).write_all(b"through").unwrap();
            }
            let mut text = String::new();
            { reader }.read_to_string(&mut text).unwrap();
            assert_eq!(text, "through");
        }
        assert!(send(ours.as_fd(), &"y".repeat(MAX_MESSAGE), &[]).is_err(), "too large");
        drop(ours);
        assert!(receive::<String>(&theirs, &mut buffer).unwrap().is_none());
    }
}
