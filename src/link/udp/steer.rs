//! Which thread's socket receives a datagram, when several threads share an address and a port.
//!
//! The kernel would deal datagrams out by a hash of both addresses: all of one peer's to one thread. Here the first octet
//! of our own SPI says which thread owns the SA. A classic BPF program on the SO_REUSEPORT group reads it: of an IKE
//! message the receiver's SPI, which is SPIr if the sender's Initiator flag is set (RFC 7296 3.1) and SPIi otherwise; of
//! an ESP packet the first octet of its SPI. An IKE_SA_INIT request has no SPIr yet: the last octet of its SPIi decides,
//! so that a repeat comes to the thread that has the first one.

use nix::libc::sock_filter;

use crate::net::SocketRole;

const LD_B_ABS: u16 = 0x30;
const LD_W_ABS: u16 = 0x20;
const LD_W_LEN: u16 = 0x80;
const JEQ_K: u16 = 0x15;
const JGE_K: u16 = 0x35;
const JSET_K: u16 = 0x45;
const MOD_K: u16 = 0x94;
const RET_A: u16 = 0x16;
const RET_K: u16 = 0x06;

/// Initiator flag of the IKE header.
const INITIATOR: u32 = 0x08;

/// The program for sockets of `role`, shared by `shards` threads.
pub(super) fn program(role: SocketRole, shards: u8) -> Vec<sock_filter> {
    let shards = u32::from(shards.max(1));
    let op = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let jump = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let mut out = Vec::new();
    let ike = match role {
        SocketRole::Ike => 0,
        // Raw sockets have no port to share; whoever opens one gets everything.
        SocketRole::Esp => return vec![op(RET_K, 0)],
        SocketRole::NatT => {
            // Fewer octets than an SPI: a keepalive, which is nobody's.
            out.push(op(LD_W_LEN, 0));
            out.push(jump(JGE_K, 4, 1, 0));
            out.push(op(RET_K, 0));
            // The non-ESP marker, or an ESP SPI.
            out.push(op(LD_W_ABS, 0));
            out.push(jump(JEQ_K, 0, 3, 0));
            out.push(op(LD_B_ABS, 0));
            out.push(op(MOD_K, shards));
            out.push(op(RET_A, 0));
            4
        }
    };
    // Shorter than an IKE header: nobody's.
    out.push(op(LD_W_LEN, 0));
    out.push(jump(JGE_K, ike + 28, 1, 0));
    out.push(op(RET_K, 0));
    out.push(op(LD_B_ABS, ike + 19));
    out.push(jump(JSET_K, INITIATOR, 0, 6));
    // From an initiator: to our SPIr, all zeros as long as there is none.
    out.push(op(LD_W_ABS, ike + 8));
    out.push(jump(JEQ_K, 0, 0, 2));
    out.push(op(LD_W_ABS, ike + 12));
    out.push(jump(JEQ_K, 0, 5, 0));
    out.push(op(LD_B_ABS, ike + 8));
    out.push(jump(JGE_K, 0, 1, 1));
    // From a responder: to our SPIi.
    out.push(op(LD_B_ABS, ike));
    out.push(op(MOD_K, shards));
    out.push(op(RET_A, 0));
    // IKE_SA_INIT.
    out.push(op(LD_B_ABS, ike + 7));
    out.push(op(MOD_K, shards));
    out.push(op(RET_A, 0));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program over a payload as the kernel does; a load beyond the end gives 0.
    fn run(program: &[sock_filter], data: &[u8]) -> u32 {
        let (mut pc, mut a) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[pc];
            pc += 1;
            let at = k as usize;
            let branch = |yes| usize::from(if yes { jt } else { jf });
            match code {
                LD_B_ABS => match data.get(at) {
                    Some(octet) => a = u32::from(*octet),
                    None => return 0,
                },
                LD_W_ABS => match data.get(at..).and_then(|d| d.first_chunk::<4>()) {
                    Some(octets) => a = u32::from_be_bytes(*octets),
                    None => return 0,
                },
                LD_W_LEN => a = data.len() as u32,
                JEQ_K => pc += branch(a == k),
                JGE_K => pc += branch(a >= k),
                JSET_K => pc += branch(a & k != 0),
                MOD_K => a %= k,
                RET_A => return a,
                RET_K => return k,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn message(spi_i: [u8; 8], spi_r: [u8; 8], flags: u8) -> Vec<u8> {
        let mut out = [spi_i, spi_r].concat();
        out.extend_from_slice(&[33, 0x20, 34, flags, 0, 0, 0, 0, 0, 0, 0, 28]);
        out
    }

    #[test]
    fn a_datagram_goes_to_the_owner_of_its_sa() {
        let with_marker = |bytes: &[u8]| [&[0; 4], bytes].concat();
        let cases = [
            ("a request of the initiator's: SPIr", message([9; 8], [2, 0, 0, 0, 0, 0, 0, 0], 0x08), 2),
            ("SPIr with zeros in front of its end", message([9; 8], [0, 0, 0, 0, 0, 0, 0, 1], 0x08), 0),
            ("a response to us as initiator: SPIi", message([1, 0, 0, 0, 0, 0, 0, 9], [7; 8], 0x20), 1),
            ("a request of the responder's: SPIi", message([2, 5, 5, 5, 5, 5, 5, 5], [7; 8], 0), 2),
            ("an answer of the initiator's: SPIr", message([9; 8], [1, 1, 1, 1, 1, 1, 1, 1], 0x28), 1),
            ("IKE_SA_INIT: the last octet of SPIi", message([0, 0, 0, 0, 0, 0, 0, 5], [0; 8], 0x08), 2),
        ];
        for (what, bytes, shard) in cases {
            assert_eq!(run(&program(SocketRole::Ike, 3), &bytes), shard, "{what}");
            assert_eq!(run(&program(SocketRole::NatT, 3), &with_marker(&bytes)), shard, "{what}, port 4500");
        }
        assert_eq!(run(&program(SocketRole::NatT, 3), &[2, 0, 0, 9, 0, 0, 0, 1]), 2, "ESP");
        for short in [&[][..], &[0xff], &[0; 27]] {
            assert_eq!(run(&program(SocketRole::Ike, 3), short), 0);
            assert_eq!(run(&program(SocketRole::NatT, 3), short), 0);
        }
    }
}
