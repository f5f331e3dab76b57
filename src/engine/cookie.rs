//! Stateless cookies (RFC 7296 2.6): a keyed hash of what identifies the initiator, under a secret that rotates.

use std::net::IpAddr;
use std::time::Duration;

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::seed::{Purpose, Scope, Seeds};
use crate::time::Instant;
use crate::wire::IkeSpi;

/// How long a secret makes cookies; its cookies are believed for as long again.
const ROTATE: Duration = Duration::from_secs(60);

/// Makes and checks cookies: version octet, then 16 octets of HMAC-SHA-256 over (SPIi, source address, Ni).
#[derive(Debug)]
pub(super) struct CookieJar {
    salt: u64,
}

impl CookieJar {
    pub(super) fn new(salt: u64) -> Self {
        CookieJar { salt }
    }

    /// The cookie for an initiator, now.
    pub(super) fn make(&self, seeds: &Seeds, now: Instant, spi: IkeSpi, source: IpAddr, nonce: &[u8]) -> Vec<u8> {
        self.bake(seeds, generation(now), spi, source, nonce).to_vec()
    }

    /// True if `cookie` was made for this initiator under the current or the previous secret.
    pub(super) fn check(
        &self,
        seeds: &Seeds,
        now: Instant,
        spi: IkeSpi,
        source: IpAddr,
        nonce: &[u8],
        cookie: &[u8],
    ) -> bool {
        let current = generation(now);
        [Some(current), current.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|generation| self.bake(seeds, generation, spi, source, nonce).as_slice().ct_eq(cookie).into())
    }

    fn bake(&self, seeds: &Seeds, generation: u64, spi: IkeSpi, source: IpAddr, nonce: &[u8]) -> [u8; 17] {
        let mut secret = [0; 32];
        let scope = Scope([0xff; 16]);
        seeds.fill(scope, Purpose::CookieSecret, self.salt.wrapping_mul(1 << 32).wrapping_add(generation), &mut secret);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&secret).expect("HMAC takes any key length");
        mac.update(&spi.0.to_be_bytes());
        match source.to_canonical() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(nonce);
        let tag = mac.finalize_fixed();
        let mut cookie = [0; 17];
        cookie[0] = generation as u8;
        cookie[1..].copy_from_slice(&tag[..16]);
        cookie
    }
}

fn generation(now: Instant) -> u64 {
    now.elapsed().as_secs() / ROTATE.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_initiator_and_its_time_only() {
        let seeds = Seeds::simulated("cookies");
        let jar = CookieJar::new(0);
        let (spi, source, nonce) = (IkeSpi(7), "192.0.2.1".parse().expect("an address"), [1u8; 32]);
        let now = Instant::from_millis(59_000);
        let cookie = jar.make(&seeds, now, spi, source, &nonce);
        assert!((1..=64).contains(&cookie.len()), "RFC 7296 2.6");
        let check = |at, spi, source, nonce: &[u8], cookie: &[u8]| jar.check(&seeds, at, spi, source, nonce, cookie);
        assert!(check(now, spi, source, &nonce, &cookie));
        assert!(check(Instant::from_millis(61_000), spi, source, &nonce, &cookie), "across one rotation");
        assert!(!check(Instant::from_millis(121_000), spi, source, &nonce, &cookie), "too old");
        assert!(!check(now, IkeSpi(8), source, &nonce, &cookie));
        assert!(!check(now, spi, "192.0.2.2".parse().expect("an address"), &nonce, &cookie));
        assert!(!check(now, spi, source, &[2; 32], &cookie));
        assert!(!check(now, spi, source, &nonce, &cookie[..16]));
        assert!(!CookieJar::new(1).check(&seeds, now, spi, source, &nonce, &cookie), "another endpoint's");
    }
}
