//! The system calls: sendmmsg, recvmmsg, epoll_pwait2, and one socket option. The only `unsafe` of the link.
//!
//! Addresses and control messages are read and written as octets, so that no pointer is ever cast to a C structure;
//! what remains unsafe are the calls themselves.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use nix::libc;

/// How many datagrams one system call moves at most.
pub const BATCH: usize = 64;
/// Room for any UDP payload, so that none is ever cut off.
pub const DATAGRAM_MAX: usize = 65_535;

/// A datagram for [`Arena::send`].
pub struct Piece<'a> {
    /// Octets before `bytes`; may be empty.
    pub head: &'a [u8],
    /// The rest.
    pub bytes: &'a [u8],
    /// Destination.
    pub to: SocketAddr,
    /// Source address to use on a wildcard socket.
    pub from: Option<IpAddr>,
}

/// A control message, as octets.
pub struct ControlMessage<'a> {
    /// Protocol level, like `IPPROTO_IP`.
    pub level: i32,
    /// Type within the level.
    pub kind: i32,
    /// Its data.
    pub data: &'a [u8],
}

/// Message headers, addresses and control buffers for one system call, allocated once.
pub struct Arena {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[[libc::iovec; 2]]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Name([u8; size_of::<libc::sockaddr_storage>()]);

const CONTROL_LEN: usize = 256;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

// SAFETY: the pointers in `headers` and `vectors` are written anew before each system call and never read after it;
// between calls they are inert, so the arena may move to another thread.
unsafe impl Send for Arena {}

impl Arena {
    /// Allocates it.
    pub fn new() -> Self {
        // SAFETY: mmsghdr is a C structure of integers and raw pointers, for which all zeros is a valid value; field
        // by field construction is not portable because musl's has private padding.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Arena {
            headers: vec![header; BATCH].into_boxed_slice(),
            vectors: vec![[vector; 2]; BATCH].into_boxed_slice(),
            names: vec![Name([0; size_of::<libc::sockaddr_storage>()]); BATCH].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_LEN]); BATCH].into_boxed_slice(),
        }
    }

    /// Sends up to [`BATCH`] of `count` datagrams, each described by `piece`; returns how many the kernel took.
    /// An error belongs to the first one.
    pub fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        count: usize,
        mut piece: impl FnMut(usize) -> Piece<'a>,
    ) -> io::Result<usize> {
        let count = count.min(BATCH);
        for index in 0..count {
            let Piece { head, bytes, to, from } = piece(index);
            let vector = &mut self.vectors[index];
            vector[0] = libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() };
            vector[1] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let name_len = write_name(&mut self.names[index].0, to);
            let control_len = from.map_or(0, |from| write_source(&mut self.controls[index].0, from));
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = self.names[index].0.as_mut_ptr().cast();
            header.msg_namelen = name_len as _;
            header.msg_iov = vector.as_mut_ptr();
            header.msg_iovlen = 2;
            header.msg_control =
                if control_len == 0 { ptr::null_mut() } else { self.controls[index].0.as_mut_ptr().cast() };
            header.msg_controllen = control_len as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `count` headers were just filled; each points to its own name, control buffer and vectors
        // in this arena, whose boxes do not move, with lengths within them; the vectors point to `head` and `bytes`,
        // which live for 'a, beyond this call, and which sendmmsg only reads.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as _,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Receives into up to [`BATCH`] of `buffers` without waiting and sets their lengths; returns how many were used.
    /// `flags` are further `MSG_` flags.
    pub fn receive<B: AsMut<Vec<u8>>>(
        &mut self,
        fd: BorrowedFd<'_>,
        buffers: &mut [B],
        flags: i32,
    ) -> io::Result<usize> {
        let count = buffers.len().min(BATCH);
        for (index, buffer) in buffers.iter_mut().take(count).enumerate() {
            let buffer = buffer.as_mut();
            buffer.clear();
            buffer.reserve(DATAGRAM_MAX);
            let vector = &mut self.vectors[index];
            vector[0] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.capacity() };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = self.names[index].0.as_mut_ptr().cast();
            header.msg_namelen = size_of::<Name>() as _;
            header.msg_iov = vector.as_mut_ptr();
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_LEN as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `count` headers were just filled; each points to its own name and control buffer in this
        // arena and to the spare room of its own buffer, with their true lengths, and nothing else refers to them
        // during the call. A null timeout is allowed.
        let got = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as _,
                (libc::MSG_DONTWAIT | flags) as _,
                ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for (buffer, header) in buffers.iter_mut().zip(self.headers.iter()).take(got) {
            let buffer = buffer.as_mut();
            let len = (header.msg_len as usize).min(buffer.capacity());
            // SAFETY: the kernel wrote msg_len octets from the start of this buffer, which has at least that capacity.
            unsafe { buffer.set_len(len) };
        }
        Ok(got)
    }

    /// The other end of received datagram `index`; for an error, the datagram's destination.
    pub fn name(&self, index: usize) -> Option<SocketAddr> {
        let len = (self.headers[index].msg_hdr.msg_namelen as usize).min(size_of::<Name>());
        read_name(&self.names[index].0[..len])
    }

    /// The control messages of received datagram `index`.
    #[allow(clippy::unnecessary_cast)] // the length is a socklen_t on musl
    pub fn control(&self, index: usize) -> impl Iterator<Item = ControlMessage<'_>> {
        let len = (self.headers[index].msg_hdr.msg_controllen as usize).min(CONTROL_LEN);
        ControlIter(&self.controls[index].0[..len])
    }
}

/// Sets an integer socket option that `nix` does not know.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option value is a C int that outlives the call, and its true size is given.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), size_of::<i32>() as _) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an integer socket option that `nix` does not know.
pub fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to an integer of that size, and the length it wrote to `len`.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, ptr::from_mut(&mut value).cast(), ptr::from_mut(&mut len))
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Makes the sockets of a group that shares its port (SO_REUSEPORT) receive by what stands in a datagram: `program`, in
/// classic BPF, looks at the UDP payload and returns the index of a socket, in the order in which they were bound.
pub fn steer(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the option value is a sock_fprog with the true length of a program that outlives the call, in which the
    // kernel copies and checks it; it writes to neither.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>() as _,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Octets of kernel memory that wait in a socket's receive buffer.
pub fn receive_queue(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut values = [0_u32; 9];
    let mut len = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to an array of that size, and the length it wrote to `len`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            ptr::from_mut(&mut len),
        )
    };
    // The first value is SK_MEMINFO_RMEM_ALLOC.
    if result == 0 { Ok(values[0] as usize) } else { Err(io::Error::last_os_error()) }
}

/// Memory use of a socket; `libc` has no name for it.
const SO_MEMINFO: i32 = 55;

/// Waits on an epoll instance; `None` waits without limit. Nanosecond resolution where the kernel has epoll_pwait2
/// (5.11), else rounded up to milliseconds. Returns the number of `events` filled.
pub fn epoll_wait(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    let spec = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos() as _,
    });
    // SAFETY: `events` has `room` entries for the kernel to write; the timeout is null or a timespec that outlives the
    // call; no signal mask is passed.
    let got = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            room,
            spec.as_ref().map_or(ptr::null(), ptr::from_ref),
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    if let Ok(got) = usize::try_from(got) {
        return Ok(got);
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        return Err(error);
    }
    let millis = timeout.map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX));
    // SAFETY: `events` has `room` entries for the kernel to write.
    let got = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, millis) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

fn write_name(out: &mut [u8], address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => {
            out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[2..4].copy_from_slice(&v4.port().to_be_bytes());
            out[4..8].copy_from_slice(&v4.ip().octets());
            out[8..16].fill(0);
            16
        }
        SocketAddr::V6(v6) => {
            out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out[2..4].copy_from_slice(&v6.port().to_be_bytes());
            out[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            out[8..24].copy_from_slice(&v6.ip().octets());
            out[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            28
        }
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
pub fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    if family == libc::AF_INET {
        let octets: [u8; 4] = *name.get(4..)?.first_chunk()?;
        return Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into());
    }
    if family == libc::AF_INET6 {
        let octets: [u8; 16] = *name.get(8..)?.first_chunk()?;
        let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
        return Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into());
    }
    None
}

/// `struct cmsghdr`: a length of pointer size, level, type.
const CONTROL_HEADER: usize = size_of::<usize>() + 8;

fn write_source(out: &mut [u8], source: IpAddr) -> usize {
    let mut data = [0; 20];
    let (level, kind, data) = match source {
        // struct in_pktinfo: interface index, address to send from, header destination.
        IpAddr::V4(v4) => {
            data[4..8].copy_from_slice(&v4.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, &data[..12])
        }
        // struct in6_pktinfo: address, interface index.
        IpAddr::V6(v6) => {
            data[..16].copy_from_slice(&v6.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data[..20])
        }
    };
    let len = CONTROL_HEADER + data.len();
    let word = size_of::<usize>();
    out[..word].copy_from_slice(&len.to_ne_bytes());
    out[word..word + 4].copy_from_slice(&level.to_ne_bytes());
    out[word + 4..word + 8].copy_from_slice(&kind.to_ne_bytes());
    out[CONTROL_HEADER..len].copy_from_slice(data);
    let space = control_align(len);
    out[len..space].fill(0);
    space
}

const fn control_align(len: usize) -> usize {
    len.div_ceil(size_of::<usize>()) * size_of::<usize>()
}

struct ControlIter<'a>(&'a [u8]);

impl<'a> Iterator for ControlIter<'a> {
    type Item = ControlMessage<'a>;

    fn next(&mut self) -> Option<ControlMessage<'a>> {
        let word = size_of::<usize>();
        let len = usize::from_ne_bytes(*self.0.first_chunk()?);
        let level = i32::from_ne_bytes(*self.0.get(word..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*self.0.get(word + 4..)?.first_chunk()?);
        let data = self.0.get(CONTROL_HEADER..len)?;
        self.0 = self.0.get(control_align(len)..).unwrap_or(&[]);
        Some(ControlMessage { level, kind, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        for text in ["192.0.2.1:500", "[2001:db8::1]:4500", "[fe80::1%7]:500"] {
            let address: SocketAddr = text.parse().expect("an address");
            let mut out = [0; 128];
            let len = write_name(&mut out, address);
            assert_eq!(read_name(&out[..len]), Some(address));
            assert_eq!(
                read_name(&out[..len - 1]).is_some(),
                address.is_ipv4(),
                "a cut name is read only if padding is cut"
            );
        }
        assert_eq!(read_name(&[]), None);
        assert_eq!(read_name(&[0xff; 28]), None);
    }

    #[test]
    fn control_messages_are_walked_and_a_bad_length_ends_the_walk() {
        let mut out = [0_u8; 256];
        let first = write_source(&mut out, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)));
        let second = write_source(&mut out[first..], IpAddr::V6(Ipv6Addr::LOCALHOST));
        let kinds: Vec<_> = ControlIter(&out[..first + second]).map(|m| (m.level, m.kind, m.data.len())).collect();
        assert_eq!(kinds, [(libc::IPPROTO_IP, libc::IP_PKTINFO, 12), (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)]);
        out[first..first + size_of::<usize>()].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(ControlIter(&out[..first + second]).count(), 1);
        out[..size_of::<usize>()].copy_from_slice(&0_usize.to_ne_bytes());
        assert_eq!(ControlIter(&out).count(), 0);
    }
}
