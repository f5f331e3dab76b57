//! Key derivation of RFC 7296: SKEYSEED, the seven SK keys, child KEYMAT, and the pre-shared key AUTH value.

use super::{EspSuite, IkeSuite, Prf, PrfOutput, Secret};
use crate::wire::IkeSpi;

/// The keys of one IKE SA, in one allocation, in the order of RFC 7296 section 2.14. Zeroized on drop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeKeys {
    bytes: Secret,
    // Octets of each kind of key; none is longer than 64, and thousands of IKE SAs keep these.
    prf_len: u8,
    integ_len: u8,
    encr_len: u8,
}

/// The keys of one pair of Child SAs. Integrity keys are empty with an AEAD.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildKeys {
    /// Encryption key (with salt or nonce) of the SA from the initiator of the exchange to its responder.
    pub i_encr: Secret,
    /// Integrity key of that SA.
    pub i_integ: Secret,
    /// Encryption key (with salt or nonce) of the SA from the responder of the exchange to its initiator.
    pub r_encr: Secret,
    /// Integrity key of that SA.
    pub r_integ: Secret,
}

impl IkeKeys {
    /// The keys of an IKE SA made by IKE_SA_INIT (section 2.14). `g_ir` is the shared secret at its full length.
    pub fn derive(suite: &IkeSuite, ni: &[u8], nr: &[u8], spi_i: IkeSpi, spi_r: IkeSpi, g_ir: &[u8]) -> IkeKeys {
        let seed = skeyseed(suite.prf, ni, nr, g_ir);
        Self::expand(suite, seed.as_ref(), ni, nr, spi_i, spi_r)
    }

    /// The keys of an IKE SA made by rekeying another (section 2.18). SKEYSEED comes from the old SA's PRF and SK_d,
    /// everything after it from the new suite's PRF. The SPIs are those of the new SA.
    #[allow(clippy::too_many_arguments)] // The RFC's formula has as many inputs.
    pub fn derive_rekey(
        suite: &IkeSuite,
        old_prf: Prf,
        old_sk_d: &[u8],
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        g_ir: &[u8],
    ) -> IkeKeys {
        let seed = skeyseed_rekey(old_prf, old_sk_d, ni, nr, g_ir);
        Self::expand(suite, seed.as_ref(), ni, nr, spi_i, spi_r)
    }

    /// SK_d, which keys Child SAs and the next IKE SA.
    pub fn d(&self) -> &[u8] {
        self.slice(0, 0, 0, self.prf_len)
    }

    /// SK_ai: integrity from the original initiator. Empty with an AEAD.
    pub fn ai(&self) -> &[u8] {
        self.slice(1, 0, 0, self.integ_len)
    }

    /// SK_ar: integrity from the original responder. Empty with an AEAD.
    pub fn ar(&self) -> &[u8] {
        self.slice(1, 1, 0, self.integ_len)
    }

    /// SK_ei: encryption from the original initiator, with the AEAD's salt.
    pub fn ei(&self) -> &[u8] {
        self.slice(1, 2, 0, self.encr_len)
    }

    /// SK_er: encryption from the original responder, with the AEAD's salt.
    pub fn er(&self) -> &[u8] {
        self.slice(1, 2, 1, self.encr_len)
    }

    /// SK_pi: for the initiator's AUTH.
    pub fn pi(&self) -> &[u8] {
        self.slice(1, 2, 2, self.prf_len)
    }

    /// SK_pr: for the responder's AUTH.
    pub fn pr(&self) -> &[u8] {
        self.slice(2, 2, 2, self.prf_len)
    }

    /// Encryption and integrity key of messages sent by the original initiator, or by the original responder.
    pub fn seal_keys(&self, initiator: bool) -> (&[u8], &[u8]) {
        if initiator { (self.ei(), self.ai()) } else { (self.er(), self.ar()) }
    }

    /// `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)`
    fn expand(suite: &IkeSuite, skeyseed: &[u8], ni: &[u8], nr: &[u8], spi_i: IkeSpi, spi_r: IkeSpi) -> IkeKeys {
        let prf_len = suite.prf.key_len();
        let integ_len = suite.integ.map_or(0, |integ| integ.key_len());
        let encr_len = suite.encr.key_len();
        let mut bytes = Secret::zeroed(3 * prf_len + 2 * (integ_len + encr_len));
        let parts = [ni, nr, &spi_i.0.to_be_bytes(), &spi_r.0.to_be_bytes()];
        suite.prf.prf_plus(skeyseed, &parts, bytes.as_mut());
        let short = |len: usize| u8::try_from(len).expect("no key is longer than 64 octets");
        IkeKeys { bytes, prf_len: short(prf_len), integ_len: short(integ_len), encr_len: short(encr_len) }
    }

    /// The key of `len` octets behind so many keys of each kind.
    fn slice(&self, prf: usize, integ: usize, encr: usize, len: u8) -> &[u8] {
        let start =
            prf * usize::from(self.prf_len) + integ * usize::from(self.integ_len) + encr * usize::from(self.encr_len);
        &self.bytes.as_ref()[start..start + usize::from(len)]
    }
}

/// `SKEYSEED = prf(Ni | Nr, g^ir)` (section 2.14). A fixed-key PRF is keyed with the first 64 bits of each nonce.
pub fn skeyseed(prf: Prf, ni: &[u8], nr: &[u8], g_ir: &[u8]) -> PrfOutput {
    let cut = if prf.fixed_key() { 8 } else { usize::MAX };
    let mut key = Secret::zeroed(0);
    key.extend(&ni[..ni.len().min(cut)]);
    key.extend(&nr[..nr.len().min(cut)]);
    prf.prf(key.as_ref(), &[g_ir])
}

/// `SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)` (section 2.18), with the old SA's PRF.
pub fn skeyseed_rekey(old_prf: Prf, old_sk_d: &[u8], ni: &[u8], nr: &[u8], g_ir: &[u8]) -> PrfOutput {
    old_prf.prf(old_sk_d, &[g_ir, ni, nr])
}

/// The keys of a pair of Child SAs (section 2.17): `prf+(SK_d, [g^ir (new) |] Ni | Nr)`, for each direction the
/// encryption key before the integrity key. The nonces are those of the exchange that made the Child SA; *initiator*
/// is who sent its request.
pub fn child_keymat(prf: Prf, sk_d: &[u8], g_ir: Option<&[u8]>, ni: &[u8], nr: &[u8], suite: &EspSuite) -> ChildKeys {
    let encr_len = suite.encr.key_len();
    let integ_len = suite.integ.map_or(0, |integ| integ.key_len());
    let mut keymat = Secret::zeroed(2 * (encr_len + integ_len));
    prf.prf_plus(sk_d, &[g_ir.unwrap_or_default(), ni, nr], keymat.as_mut());
    let mut rest = keymat.as_ref();
    let mut take = |len| {
        let (key, after) = rest.split_at(len);
        rest = after;
        Secret::from(key)
    };
    ChildKeys { i_encr: take(encr_len), i_integ: take(integ_len), r_encr: take(encr_len), r_integ: take(integ_len) }
}

/// What a signature in AUTH covers (section 2.15): `message | nonce | prf(SK_p, id)`. Arguments as in [`psk_auth`].
pub fn signed_octets(prf: Prf, message: &[u8], nonce: &[u8], sk_p: &[u8], id_body: &[u8]) -> Vec<u8> {
    let maced_id = prf.prf(sk_p, &[id_body]);
    [message, nonce, maced_id.as_ref()].concat()
}

/// The AUTH value of a pre-shared key (section 2.15):
/// `prf(prf(secret, "Key Pad for IKEv2"), message | nonce | prf(SK_p, id))`.
///
/// `message` is the signer's first message, `nonce` the other side's, `sk_p` and `id_body` the signer's. An EAP
/// method's MSK takes the place of the secret in the same way (section 2.16).
pub fn psk_auth(prf: Prf, psk: &[u8], message: &[u8], nonce: &[u8], sk_p: &[u8], id_body: &[u8]) -> PrfOutput {
    let key = prf.prf(psk, &[b"Key Pad for IKEv2"]);
    let maced_id = prf.prf(sk_p, &[id_body]);
    prf.prf(key.as_ref(), &[message, nonce, maced_id.as_ref()])
}
