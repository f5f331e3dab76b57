//! EAP framing (RFC 3748 4): code, identifier, length, and for requests and responses a type with its data.

use super::EapFault;
use super::method::MethodType;

/// What an EAP packet is (RFC 3748 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// From the authenticator; wants a response.
    Request,
    /// From the peer.
    Response,
    /// The method succeeded.
    Success,
    /// It did not.
    Failure,
}

/// One EAP packet, borrowed from the octets it was read from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub code: Code,
    /// Pairs a response with its request.
    pub id: u8,
    /// Of requests and responses.
    pub kind: MethodType,
    /// What follows the type.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet. Octets beyond its length field are padding of a lower layer and ignored (RFC 3748 4).
    ///
    /// # Errors
    /// [`EapFault::Malformed`]: shorter than its header or than it says, an unknown code, or a request without a type.
    pub fn parse(octets: &'a [u8]) -> Result<Self, EapFault> {
        let (&[code, id, l0, l1], _) = octets.split_first_chunk::<4>().ok_or(EapFault::Malformed("a header"))?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let body = octets.get(4..len).ok_or(EapFault::Malformed("a length that fits"))?;
        let code = match code {
            1 => Code::Request,
            2 => Code::Response,
            3 => Code::Success,
            4 => Code::Failure,
            _ => return Err(EapFault::Malformed("a known code")),
        };
        let (kind, data) = match (code, body.split_first()) {
            (Code::Request | Code::Response, Some((kind, data))) => (MethodType(*kind), data),
            (Code::Request | Code::Response, None) => return Err(EapFault::Malformed("a type")),
            (Code::Success | Code::Failure, _) => (MethodType(0), &[][..]),
        };
        Ok(Packet { code, id, kind, data })
    }
}

/// A request of `kind`.
pub(super) fn request(id: u8, kind: MethodType, data: &[u8]) -> Vec<u8> {
    typed(1, id, kind, data)
}

/// The response to request `id`.
pub(super) fn response(id: u8, kind: MethodType, data: &[u8]) -> Vec<u8> {
    typed(2, id, kind, data)
}

/// Success or Failure: a header and nothing else (RFC 3748 4.2).
pub(super) fn verdict(success: bool, id: u8) -> Vec<u8> {
    vec![if success { 3 } else { 4 }, id, 0, 4]
}

fn typed(code: u8, id: u8, kind: MethodType, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len() + 5).expect("methods bound their packets far below 64 KiB");
    let mut out = Vec::with_capacity(data.len() + 5);
    out.extend([code, id]);
    out.extend(len.to_be_bytes());
    out.push(kind.0);
    out.extend_from_slice(data);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_ignores_padding() {
        let mut octets = request(7, MethodType::IDENTITY, b"who?");
        octets.extend([0, 0, 0]);
        let packet = Packet::parse(&octets).expect("a good packet");
        assert_eq!((packet.code, packet.id, packet.kind), (Code::Request, 7, MethodType::IDENTITY));
        assert_eq!(packet.data, b"who?");
        let failure = verdict(false, 9);
        assert_eq!(Packet::parse(&failure).map(|p| (p.code, p.id)), Ok((Code::Failure, 9)));
    }

    #[test]
    fn refuses_what_is_cut_short() {
        for bad in [&[][..], &[1, 2, 0], &[1, 2, 0, 3], &[1, 2, 0, 9, 1], &[1, 2, 0, 4], &[9, 2, 0, 5, 1]] {
            assert!(matches!(Packet::parse(bad), Err(EapFault::Malformed(_))), "{bad:?}");
        }
    }
}
