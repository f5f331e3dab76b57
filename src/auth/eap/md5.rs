//! MD5-Challenge (RFC 3748 5.4, RFC 1994): MD5 of identifier, secret and challenge. No key comes of it.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::EapFault;

/// Octets of a challenge of ours.
pub(super) const CHALLENGE: usize = 16;

/// The type data of a request: the challenge, and our name.
pub(super) fn challenge(value: &[u8; CHALLENGE], name: &str) -> Vec<u8> {
    sized(value, name)
}

/// The type data of the answer to `request`, which has identifier `id`.
pub(super) fn answer(id: u8, request: &[u8], name: &str, password: &[u8]) -> Result<Vec<u8>, EapFault> {
    let value = read(request)?;
    Ok(sized(&digest(id, password, value), name))
}

/// Whether `response` answers the challenge with this password.
pub(super) fn check(id: u8, value: &[u8], response: &[u8], password: &[u8]) -> Result<bool, EapFault> {
    Ok(digest(id, password, value).ct_eq(read(response)?).into())
}

fn digest(id: u8, password: &[u8], value: &[u8]) -> [u8; 16] {
    Md5::new().chain_update([id]).chain_update(password).chain_update(value).finalize().into()
}

fn sized(value: &[u8; 16], name: &str) -> Vec<u8> {
    let mut out = vec![16];
    out.extend_from_slice(value);
    out.extend_from_slice(name.as_bytes());
    out
}

/// The value in front of the name; any size that is not nothing.
fn read(data: &[u8]) -> Result<&[u8], EapFault> {
    let (size, rest) = data.split_first().ok_or(EapFault::Malformed("a value"))?;
    rest.get(..usize::from(*size)).filter(|v| !v.is_empty()).ok_or(EapFault::Malformed("a value of the size it says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MD5(0x01 "secret" 0x000102..0f), computed with coreutils' md5sum.
    #[test]
    fn the_digest_covers_identifier_secret_and_challenge_in_this_order() {
        let value: [u8; 16] = std::array::from_fn(|n| n as u8);
        let answered = answer(1, &challenge(&value, "server"), "carol", b"secret").expect("a good challenge");
        assert_eq!(hex(&answered[1..17]), EXPECTED);
        assert_eq!(&answered[17..], b"carol");
        assert_eq!(check(1, &value, &answered, b"secret"), Ok(true));
        assert_eq!(check(2, &value, &answered, b"secret"), Ok(false));
        assert_eq!(check(1, &value, &answered, b"Secret"), Ok(false));
        assert!(check(1, &value, &[200, 1, 2], b"secret").is_err());
        assert!(check(1, &value, &[], b"secret").is_err());
    }

    const EXPECTED: &str = "740e86463bda3a4d7017d6e0fba0699d";

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|b| format!("{b:02x}")).collect()
    }
}
