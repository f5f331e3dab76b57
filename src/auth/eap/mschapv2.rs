//! EAP MSCHAPv2 (draft-kamath-pppext-eap-mschapv2) over RFC 2759, and its key by RFC 3079.
//!
//! ```text
//!  authenticator                                     peer
//!  Challenge {id, challenge, name}          -->
//!                                           <--      Response {id, peer challenge, NT-Response, name}
//!  Success {id, "S=<40 hex> M=..."}         -->      checks S: the server knows the password too
//!                                           <--      Success
//!  Failure {id, "E=691 R=0 C=... V=3 M=..."} -->
//!                                           <--      Failure
//! ```

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::Md4;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::EapFault;
use super::fault::printable;
use crate::crypto::Secret;

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;

/// Octets of either challenge.
pub(super) const CHALLENGE_LEN: usize = 16;
/// Peer challenge, eight reserved octets, NT-Response, flags.
const RESPONSE_LEN: usize = 49;

/// The peer's half of one conversation.
pub(super) struct PeerState {
    peer_challenge: [u8; CHALLENGE_LEN],
    sent: Option<Sent>,
    msk: Option<Secret>,
    refused: Option<EapFault>,
}

struct Sent {
    server_response: Zeroizing<String>,
    msk: Secret,
}

impl PeerState {
    pub(super) fn new(peer_challenge: [u8; CHALLENGE_LEN]) -> Self {
        PeerState { peer_challenge, sent: None, msk: None, refused: None }
    }

    /// The type data that answers `request`.
    pub(super) fn answer(&mut self, request: &[u8], user: &str, password: &[u8]) -> Result<Vec<u8>, EapFault> {
        match request.first() {
            Some(&CHALLENGE) => self.respond(request, user, password),
            Some(&SUCCESS) => self.check_server(request),
            Some(&FAILURE) => {
                self.refused = Some(refusal(body(request)?));
                Ok(vec![FAILURE])
            }
            Some(_) => Err(EapFault::Unexpected("an MSCHAPv2 packet of a kind that a server does not send")),
            None => Err(EapFault::Malformed("an MSCHAPv2 opcode")),
        }
    }

    /// The key, once the server has proved itself.
    pub(super) fn msk(&self) -> Option<&Secret> {
        self.msk.as_ref()
    }

    /// What a Failure of the method said.
    pub(super) fn refused(&self) -> Option<&EapFault> {
        self.refused.as_ref()
    }

    fn respond(&mut self, request: &[u8], user: &str, password: &[u8]) -> Result<Vec<u8>, EapFault> {
        if self.sent.is_some() {
            return Err(EapFault::Unexpected("a second MSCHAPv2 challenge"));
        }
        let id = *request.get(1).ok_or(EapFault::Malformed("an MSCHAPv2 identifier"))?;
        let challenge = body(request)?.strip_prefix(&[CHALLENGE_LEN as u8]).and_then(|b| b.first_chunk());
        let challenge = challenge.ok_or(EapFault::Malformed("a challenge of 16 octets"))?;
        let proof = Proof::of(challenge, &self.peer_challenge, user.as_bytes(), password);
        let mut value = Vec::with_capacity(1 + RESPONSE_LEN + user.len());
        value.push(RESPONSE_LEN as u8);
        value.extend_from_slice(&self.peer_challenge);
        value.extend_from_slice(&[0; 8]);
        value.extend_from_slice(&proof.nt_response);
        value.push(0);
        value.extend_from_slice(user.as_bytes());
        self.sent = Some(Sent { server_response: proof.server_response(), msk: proof.msk() });
        Ok(packet(RESPONSE, id, &value))
    }

    fn check_server(&mut self, request: &[u8]) -> Result<Vec<u8>, EapFault> {
        let sent = self.sent.take().ok_or(EapFault::Unexpected("an MSCHAPv2 Success before its challenge"))?;
        let says = body(request)?.get(..sent.server_response.len()).ok_or(EapFault::ServerUnproven)?;
        // Some servers write the digits in small letters.
        let says = Zeroizing::new(says.to_ascii_uppercase());
        if !bool::from(says.as_slice().ct_eq(sent.server_response.as_bytes())) {
            return Err(EapFault::ServerUnproven);
        }
        self.msk = Some(sent.msk);
        Ok(vec![SUCCESS])
    }
}

/// The authenticator's challenge, as type data.
pub(super) fn challenge(id: u8, value: &[u8; CHALLENGE_LEN], name: &str) -> Vec<u8> {
    let mut out = vec![CHALLENGE_LEN as u8];
    out.extend_from_slice(value);
    out.extend_from_slice(name.as_bytes());
    packet(CHALLENGE, id, &out)
}

/// A peer's answer to our challenge.
pub(super) struct Answer<'a> {
    id: u8,
    peer_challenge: &'a [u8; CHALLENGE_LEN],
    nt_response: &'a [u8; 24],
    name: &'a [u8],
}

impl<'a> Answer<'a> {
    pub(super) fn read(data: &'a [u8]) -> Result<Self, EapFault> {
        if data.first() != Some(&RESPONSE) {
            return Err(EapFault::Unexpected("not an MSCHAPv2 response"));
        }
        let id = *data.get(1).ok_or(EapFault::Malformed("an MSCHAPv2 identifier"))?;
        let value = body(data)?.strip_prefix(&[RESPONSE_LEN as u8]);
        let parts = value.and_then(|v| {
            let (peer_challenge, rest) = v.split_first_chunk()?;
            let (nt_response, rest) = rest.get(8..)?.split_first_chunk()?;
            Some((peer_challenge, nt_response, rest.get(1..)?))
        });
        let (peer_challenge, nt_response, name) = parts.ok_or(EapFault::Malformed("an MSCHAPv2 response value"))?;
        Ok(Answer { id, peer_challenge, nt_response, name })
    }

    /// The user name in it.
    pub(super) fn name(&self) -> &[u8] {
        self.name
    }

    /// Success, with our own proof, and the key; `None` if the password is another one.
    pub(super) fn check(&self, challenge: &[u8; CHALLENGE_LEN], password: &[u8]) -> Option<(Vec<u8>, Secret)> {
        let proof = Proof::of(challenge, self.peer_challenge, self.name, password);
        if !bool::from(proof.nt_response.ct_eq(self.nt_response)) {
            return None;
        }
        let message = Zeroizing::new(format!("{} M=Welcome", *proof.server_response()));
        Some((packet(SUCCESS, self.id, message.as_bytes()), proof.msk()))
    }

    /// Failure: wrong user or password, and no second try.
    pub(super) fn refuse(&self, next_challenge: &[u8; CHALLENGE_LEN]) -> Vec<u8> {
        let challenge: String = next_challenge.iter().map(|b| format!("{b:02X}")).collect();
        packet(FAILURE, self.id, format!("E=691 R=0 C={challenge} V=3 M=Authentication failed").as_bytes())
    }
}

/// Whether a peer's response acknowledges our Success or Failure.
pub(super) fn acknowledges(data: &[u8], success: bool) -> bool {
    data.first() == Some(if success { &SUCCESS } else { &FAILURE })
}

/// What both ends compute of both challenges, the user name and the password.
struct Proof {
    hash_hash: Zeroizing<[u8; 16]>,
    nt_response: [u8; 24],
    challenge: [u8; 8],
}

impl Proof {
    fn of(server: &[u8; CHALLENGE_LEN], peer: &[u8; CHALLENGE_LEN], user: &[u8], password: &[u8]) -> Self {
        let hash = nt_password_hash(password);
        let challenge = challenge_hash(peer, server, user);
        let hash_hash = Zeroizing::new(Md4::digest(hash.as_slice()).into());
        Proof { hash_hash, nt_response: challenge_response(&challenge, &hash), challenge }
    }

    /// `S=` and 40 hexadecimal digits (RFC 2759 8.7).
    fn server_response(&self) -> Zeroizing<String> {
        let inner = Sha1::new()
            .chain_update(self.hash_hash.as_slice())
            .chain_update(self.nt_response)
            .chain_update(b"Magic server to client signing constant")
            .finalize();
        let digest = Sha1::new()
            .chain_update(inner)
            .chain_update(self.challenge)
            .chain_update(b"Pad to make it do more than one iteration")
            .finalize();
        let hex: String = digest.iter().map(|b| format!("{b:02X}")).collect();
        Zeroizing::new(format!("S={hex}"))
    }

    /// 64 octets: the server's receive key, its send key (RFC 3079 3.3, 3.4), and zeros.
    fn msk(&self) -> Secret {
        let mut master = Zeroizing::new([0; 20]);
        Sha1::new()
            .chain_update(self.hash_hash.as_slice())
            .chain_update(self.nt_response)
            .chain_update(b"This is the MPPE Master Key")
            .finalize_into((&mut *master).into());
        let start = |magic: &[u8]| {
            let digest = Sha1::new()
                .chain_update(&master[..16])
                .chain_update([0; 40])
                .chain_update(magic)
                .chain_update([0xf2; 40])
                .finalize();
            Zeroizing::new(<[u8; 20]>::from(digest))
        };
        let receive = start(b"On the client side, this is the send key; on the server side, it is the receive key.");
        let send = start(b"On the client side, this is the receive key; on the server side, it is the send key.");
        let mut msk = vec![0; 64];
        msk[..16].copy_from_slice(&receive[..16]);
        msk[16..32].copy_from_slice(&send[..16]);
        Secret::new(msk)
    }
}

/// MD4 of the password in UTF-16, little endian (RFC 2759 8.3).
fn nt_password_hash(password: &[u8]) -> Zeroizing<[u8; 16]> {
    let text = Zeroizing::new(String::from_utf8_lossy(password).into_owned());
    let mut hash = Md4::new();
    text.encode_utf16().for_each(|unit| hash.update(unit.to_le_bytes()));
    Zeroizing::new(hash.finalize().into())
}

/// RFC 2759 8.2. A Windows domain in front of the user name does not count.
fn challenge_hash(peer: &[u8; 16], server: &[u8; 16], user: &[u8]) -> [u8; 8] {
    let bare = user.rsplit(|b| *b == b'\\').next().unwrap_or(user);
    let digest = Sha1::new().chain_update(peer).chain_update(server).chain_update(bare).finalize();
    *digest.first_chunk().expect("twenty octets")
}

/// RFC 2759 8.5: the challenge under three DES keys cut from the hash.
fn challenge_response(challenge: &[u8; 8], hash: &[u8; 16]) -> [u8; 24] {
    let mut padded = Zeroizing::new([0; 21]);
    padded[..16].copy_from_slice(hash);
    let mut out = [0; 24];
    for (key, block) in padded.as_chunks::<7>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        block.copy_from_slice(challenge);
        let key = des_key(key);
        Des::new((&*key).into()).encrypt_block(block.into());
    }
    out
}

/// Seven octets spread over eight, with odd parity (RFC 2759 9.3; DES itself ignores the parity bits).
fn des_key(raw: &[u8; 7]) -> Zeroizing<[u8; 8]> {
    let bits = raw.iter().fold(0_u64, |all, octet| all << 8 | u64::from(*octet));
    Zeroizing::new(std::array::from_fn(|n| {
        let seven = (bits >> (49 - 7 * n) & 0x7f) as u8;
        seven << 1 | u8::from(seven.count_ones().is_multiple_of(2))
    }))
}

/// Opcode, MSCHAPv2 identifier, length, value.
fn packet(opcode: u8, id: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).expect("names and messages are short");
    let mut out = Vec::with_capacity(value.len() + 4);
    out.extend([opcode, id]);
    out.extend(len.to_be_bytes());
    out.extend_from_slice(value);
    out
}

/// What follows the four octets of [`packet`]. The length in it is not looked at: it repeats that of EAP.
fn body(data: &[u8]) -> Result<&[u8], EapFault> {
    data.get(4..).ok_or(EapFault::Malformed("an MSCHAPv2 header"))
}

/// What `E=691 R=0 C=... V=3 M=text` says.
fn refusal(message: &[u8]) -> EapFault {
    let message = printable(message);
    let code = message.split(' ').find_map(|word| word.strip_prefix("E=")).and_then(|n| n.parse().ok());
    let text = message.split_once("M=").map(|(_, text)| text.trim().to_owned()).unwrap_or_default();
    EapFault::Refused { method: Some(super::Method::MsChapV2), code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: [u8; 16] = *b"[]|}{?/><,`!2&&(";
    const PEER: [u8; 16] = *b"!@#$%^&*()_+:3|~";

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|b| format!("{b:02X}")).collect()
    }

    /// RFC 2759 9.2.
    #[test]
    fn the_hash_example_of_rfc_2759() {
        assert_eq!(hex(&SERVER), "5B5D7C7D7B3F2F3E3C2C602132262628");
        assert_eq!(hex(&PEER), "21402324255E262A28295F2B3A337C7E");
        assert_eq!(hex(&*nt_password_hash(b"clientPass")), "44EBBA8D5312B8D611474411F56989AE");
        let proof = Proof::of(&SERVER, &PEER, b"User", b"clientPass");
        assert_eq!(hex(&proof.challenge), "D02E4386BCE91226");
        assert_eq!(hex(&proof.nt_response), "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF");
        assert_eq!(hex(&*proof.hash_hash), "41C00C584BD2D91C4017A2A12FA59F3F");
        assert_eq!(*proof.server_response(), "S=407A5589115FD0D6209F510FE9C04566932CDA56");
        let domain = Proof::of(&SERVER, &PEER, b"CORP\\User", b"clientPass");
        assert_eq!(domain.nt_response, proof.nt_response);
    }

    /// RFC 2759 9.3.
    #[test]
    fn the_key_example_of_rfc_2759() {
        let hash = nt_password_hash(b"MyPw");
        assert_eq!(hex(&*hash), "FC156AF7EDCD6C0EDDE3337D427F4EAC");
        assert_eq!(hex(&*des_key(hash[..7].try_into().expect("seven"))), "FD0B5B5E7F6E34D9");
        assert_eq!(hex(&*des_key(hash[7..14].try_into().expect("seven"))), "0E6E796737EA08FE");
    }

    /// RFC 3079 3.5.3: the server's 128-bit send key; draft-kamath puts it after the receive key.
    #[test]
    fn the_key_derivation_example_of_rfc_3079() {
        let msk = Proof::of(&SERVER, &PEER, b"User", b"clientPass").msk();
        assert_eq!(msk.len(), 64);
        assert_eq!(hex(&msk.as_ref()[16..32]), "8B7CDC149B993A1BA118CB153F56DCCB");
        assert_eq!(msk.as_ref()[32..], [0; 32]);
        assert_ne!(msk.as_ref()[..16], msk.as_ref()[16..32]);
    }

    #[test]
    fn a_refusal_is_read_word_by_word() {
        let read = refusal(b"E=691 R=1 C=0123 V=3 M=No such luck\x07");
        assert_eq!(
            read,
            EapFault::Refused {
                method: Some(super::super::Method::MsChapV2),
                code: Some(691),
                text: "No such luck.".into()
            }
        );
        assert!(matches!(refusal(b"\xff\xfe"), EapFault::Refused { code: None, .. }));
    }
}
