//! The only `unsafe` of the crypto layer: a few calls into AWS-LC with scalars as plain octets.
//!
//! The safe crate's key import validates and recomputes what we just computed, and has no finite-field
//! Diffie-Hellman. Everything allocated here is owned by a guard that frees it (and clears it), lengths are checked
//! before a pointer is made, and functions return values rather than pointers.
//!
//! Constant time: multiplications with the peer's value are. [`Modp::base_pow`] looks its table up by secret index,
//! which a process on the same core could observe through the cache. Exponents are used for one exchange with a
//! device under test, and four times the key generation rate is worth that here.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use aws_lc_sys as sys;

use super::Group;

/// Why a raw call can fail with valid arguments: nothing but memory.
const NO_MEMORY: &str = "AWS-LC fails here only when memory runs out";

/// Teeth of the comb: bits looked up at once.
const TEETH: usize = 8;
/// Tables of the comb, each for a part of every tooth.
const TABLES: usize = 4;

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $free:path) => {
        $(#[$doc])*
        struct $name(NonNull<$raw>);

        impl $name {
            /// Takes ownership of what AWS-LC allocated.
            fn own(raw: *mut $raw) -> Self {
                $name(NonNull::new(raw).expect(NO_MEMORY))
            }

            fn as_ptr(&self) -> *mut $raw {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: `own` took the only owner of an object of this type, so it is freed exactly once.
                unsafe { $free(self.0.as_ptr()) }
            }
        }
    };
}

guard!(
    /// A big number, cleared when freed.
    Bn,
    sys::BIGNUM,
    sys::BN_clear_free
);
guard!(
    /// Scratch space for big-number calls.
    Scratch,
    sys::BN_CTX,
    sys::BN_CTX_free
);
guard!(
    /// A modulus prepared for Montgomery multiplication.
    Montgomery,
    sys::BN_MONT_CTX,
    sys::BN_MONT_CTX_free
);
guard!(
    /// A point of a curve, cleared when freed.
    Point,
    sys::EC_POINT,
    sys::EC_POINT_clear_free
);

guard!(
    /// A keyed block cipher mode.
    CipherContext,
    sys::EVP_CIPHER_CTX,
    sys::EVP_CIPHER_CTX_free
);

impl Bn {
    fn new() -> Self {
        // SAFETY: no arguments; null is caught by `own`.
        Bn::own(unsafe { sys::BN_new() })
    }

    fn from_be(bytes: &[u8]) -> Self {
        // SAFETY: pointer and length are of one live slice; a null third argument asks for a new number.
        Bn::own(unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) })
    }

    /// Big-endian, left-padded with zeros to fill `out`, which must be long enough.
    fn write_be(&self, out: &mut [u8]) {
        // SAFETY: pointer and length are of one live, exclusively borrowed slice; the number is live.
        let done = unsafe { sys::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), self.as_ptr()) };
        assert_eq!(done, 1, "a residue fits the length of its modulus");
    }
}

impl Scratch {
    fn new() -> Self {
        // SAFETY: no arguments; null is caught by `own`.
        Scratch::own(unsafe { sys::BN_CTX_new() })
    }
}

/// A MODP group with what can be computed once: Montgomery constants and the comb table of generator 2.
pub(super) struct Modp {
    modulus: Bn,
    montgomery: Montgomery,
    exponent_bits: usize,
    /// `TABLES` tables of `1 << TEETH` numbers in Montgomery form, each as wide as the modulus.
    comb: Vec<Bn>,
}

// SAFETY: after `new`, neither Rust code nor the C functions called with these objects write to them: all parameters
// they are passed as are pointers to const, and AWS-LC documents const parameters as safe to use concurrently.
unsafe impl Send for Modp {}
// SAFETY: as above.
unsafe impl Sync for Modp {}

impl Modp {
    /// The prepared group, made at first use and kept; `None` for curves. Making the table costs about as much as
    /// 25 key generations with it (a millisecond or two for 2048 bits, some tens for 8192) and takes 1024 residues of
    /// memory (a quarter of a megabyte, and one megabyte).
    pub(super) fn of(group: Group) -> Option<&'static Modp> {
        static GROUPS: [OnceLock<Modp>; 8] = [const { OnceLock::new() }; 8];
        let prime = group.prime()?;
        let slot = Group::ALL.iter().position(|each| *each == group).and_then(|at| GROUPS.get(at))?;
        Some(slot.get_or_init(|| Modp::new(prime, group.exponent_bits())))
    }

    fn new(prime: &[u8], exponent_bits: usize) -> Self {
        assert_eq!(exponent_bits % (TEETH * TABLES), 0, "the comb divides the exponent evenly");
        let modulus = Bn::from_be(prime);
        let scratch = Scratch::new();
        // SAFETY: both objects are live, the modulus is odd and positive.
        let montgomery =
            Montgomery::own(unsafe { sys::BN_MONT_CTX_new_for_modulus(modulus.as_ptr(), scratch.as_ptr()) });
        let mut this = Modp { modulus, montgomery, exponent_bits, comb: Vec::new() };
        this.comb = this.build_comb(&scratch);
        this
    }

    /// `2^exponent mod p` into `out`, left-padded. `exponent` is big-endian, of the group's exponent length.
    ///
    /// A Lim-Lee comb: the exponent's bits stand in `TEETH` rows, each cut in `TABLES` parts. All rows' bits at one
    /// column make an index, so that one squaring and `TABLES` multiplications advance a whole column.
    pub(super) fn base_pow(&self, exponent: &[u8], out: &mut [u8]) {
        assert_eq!(exponent.len() * 8, self.exponent_bits, "exponents have the group's length");
        let row = self.exponent_bits / TEETH;
        let columns = row / TABLES;
        let bit = |at: usize| exponent[exponent.len() - 1 - at / 8] >> (at % 8) & 1;
        let scratch = Scratch::new();
        let acc = Bn::new();
        let mut started = false;
        for column in (0..columns).rev() {
            if started {
                self.mul(&acc, &acc, &acc, &scratch);
            }
            for (part, table) in self.comb.chunks_exact(1 << TEETH).enumerate() {
                let index = (0..TEETH)
                    .fold(0, |index, tooth| index | usize::from(bit(tooth * row + part * columns + column)) << tooth);
                if started {
                    self.mul(&acc, &acc, &table[index], &scratch);
                } else {
                    // SAFETY: both numbers are live and distinct.
                    let copied = unsafe { sys::BN_copy(acc.as_ptr(), table[index].as_ptr()) };
                    assert!(!copied.is_null(), "{NO_MEMORY}");
                    started = true;
                }
            }
        }
        // SAFETY: all objects are live; the result may be the operand.
        let done =
            unsafe { sys::BN_from_montgomery(acc.as_ptr(), acc.as_ptr(), self.montgomery.as_ptr(), scratch.as_ptr()) };
        assert_eq!(done, 1, "{NO_MEMORY}");
        acc.write_be(out);
    }

    /// `base^exponent mod p` into `out`, left-padded, in constant time. `base` must be below the modulus.
    pub(super) fn pow(&self, base: &[u8], exponent: &[u8], out: &mut [u8]) {
        let (base, exponent, scratch, result) = (Bn::from_be(base), Bn::from_be(exponent), Scratch::new(), Bn::new());
        // SAFETY: all objects are live and distinct, and the Montgomery context was made for this modulus.
        let done = unsafe {
            sys::BN_mod_exp_mont_consttime(
                result.as_ptr(),
                base.as_ptr(),
                exponent.as_ptr(),
                self.modulus.as_ptr(),
                scratch.as_ptr(),
                self.montgomery.as_ptr(),
            )
        };
        assert_eq!(done, 1, "the base is below the odd modulus and memory suffices");
        result.write_be(out);
    }

    fn mul(&self, out: &Bn, a: &Bn, b: &Bn, scratch: &Scratch) {
        // SAFETY: all objects are live; the result may be an operand; the operands are non-negative residues.
        let done = unsafe {
            sys::BN_mod_mul_montgomery(out.as_ptr(), a.as_ptr(), b.as_ptr(), self.montgomery.as_ptr(), scratch.as_ptr())
        };
        assert_eq!(done, 1, "{NO_MEMORY}");
    }

    fn to_montgomery(&self, word: u8, scratch: &Scratch) -> Bn {
        let (plain, out) = (Bn::from_be(&[word]), Bn::new());
        // SAFETY: all objects are live and distinct.
        let done =
            unsafe { sys::BN_to_montgomery(out.as_ptr(), plain.as_ptr(), self.montgomery.as_ptr(), scratch.as_ptr()) };
        assert_eq!(done, 1, "{NO_MEMORY}");
        out
    }

    /// Entry `u` of table `part` is the product of `2^(2^(tooth * row + part * columns))` over the bits set in `u`.
    fn build_comb(&self, scratch: &Scratch) -> Vec<Bn> {
        let row = self.exponent_bits / TEETH;
        let columns = row / TABLES;
        let mut power = self.to_montgomery(2, scratch);
        let mut bases: Vec<Bn> = Vec::with_capacity(TEETH * TABLES);
        for at in 0..TEETH * TABLES {
            if at > 0 {
                let next = Bn::new();
                self.mul(&next, &power, &power, scratch);
                for _ in 1..columns {
                    self.mul(&next, &next, &next, scratch);
                }
                power = next;
            }
            let copy = Bn::new();
            // SAFETY: both numbers are live and distinct.
            let copied = unsafe { sys::BN_copy(copy.as_ptr(), power.as_ptr()) };
            assert!(!copied.is_null(), "{NO_MEMORY}");
            bases.push(copy);
        }
        let mut comb: Vec<Bn> = Vec::with_capacity(TABLES << TEETH);
        for part in 0..TABLES {
            let start = comb.len();
            comb.push(self.to_montgomery(1, scratch));
            for index in 1usize..1 << TEETH {
                let tooth = index.ilog2() as usize;
                let product = Bn::new();
                self.mul(&product, &comb[start + index - (1 << tooth)], &bases[tooth * TABLES + part], scratch);
                comb.push(product);
            }
        }
        comb
    }
}

/// A NIST curve. AWS-LC keeps one static description of each.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// Longest encoding of a point, P-521's: 0x04, x, y.
const MAX_POINT: usize = 1 + 2 * 66;

impl Curve {
    /// Octets of a coordinate and of a scalar.
    fn len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    fn group(self) -> *const sys::EC_GROUP {
        // SAFETY: these take no arguments and return a pointer to a static.
        unsafe {
            match self {
                Curve::P256 => sys::EC_group_p256(),
                Curve::P384 => sys::EC_group_p384(),
                Curve::P521 => sys::EC_group_p521(),
            }
        }
    }

    fn point(self) -> Point {
        // SAFETY: the group is static; null is caught by `own`.
        Point::own(unsafe { sys::EC_POINT_new(self.group()) })
    }

    /// Writes `0x04 | x | y`.
    fn encode(self, point: &Point, scratch: &Scratch, out: &mut [u8; MAX_POINT]) {
        let len = 1 + 2 * self.len();
        // SAFETY: group, point and scratch are live; `len` is at most the length of `out`.
        let written = unsafe {
            sys::EC_POINT_point2oct(
                self.group(),
                point.as_ptr(),
                sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                out.as_mut_ptr(),
                len,
                scratch.as_ptr(),
            )
        };
        assert_eq!(written, len, "a scalar in [1, n-1] times a point of prime order is not the point at infinity");
    }

    /// `x | y` of scalar times the base point, into `out` of twice the coordinate length. The scalar is big-endian
    /// and in [1, n-1].
    pub(super) fn public(self, scalar: &[u8], out: &mut [u8]) {
        let (scalar, scratch, point) = (Bn::from_be(scalar), Scratch::new(), self.point());
        // SAFETY: all objects are live; null point and null second scalar mean "the base point only".
        let done = unsafe {
            sys::EC_POINT_mul(self.group(), point.as_ptr(), scalar.as_ptr(), ptr::null(), ptr::null(), scratch.as_ptr())
        };
        assert_eq!(done, 1, "{NO_MEMORY}");
        let mut encoded = [0; MAX_POINT];
        self.encode(&point, &scratch, &mut encoded);
        out.copy_from_slice(&encoded[1..1 + 2 * self.len()]);
    }

    /// The x coordinate of scalar times the peer's point, into `out` of the coordinate length. False if `peer`,
    /// `x | y`, is not a point of the curve.
    pub(super) fn agree(self, scalar: &[u8], peer: &[u8], out: &mut [u8]) -> bool {
        let len = self.len();
        if peer.len() != 2 * len || out.len() != len {
            return false;
        }
        let mut encoded = [0; MAX_POINT];
        encoded[0] = 4;
        encoded[1..1 + 2 * len].copy_from_slice(peer);
        let (scratch, peer) = (Scratch::new(), self.point());
        // SAFETY: all objects are live; the length is that of the initialised part of `encoded`.
        let on_curve = unsafe {
            sys::EC_POINT_oct2point(self.group(), peer.as_ptr(), encoded.as_ptr(), 1 + 2 * len, scratch.as_ptr())
        };
        if on_curve != 1 {
            clear_errors();
            return false;
        }
        let (scalar, shared) = (Bn::from_be(scalar), self.point());
        // SAFETY: all objects are live and distinct; a null first scalar means "the given point only".
        let done = unsafe {
            sys::EC_POINT_mul(
                self.group(),
                shared.as_ptr(),
                ptr::null(),
                peer.as_ptr(),
                scalar.as_ptr(),
                scratch.as_ptr(),
            )
        };
        assert_eq!(done, 1, "{NO_MEMORY}");
        self.encode(&shared, &scratch, &mut encoded);
        out.copy_from_slice(&encoded[1..1 + len]);
        zeroize::Zeroize::zeroize(&mut encoded);
        true
    }
}

/// The public value of an X25519 secret, which is clamped on use (RFC 7748 section 5).
pub(super) fn x25519_public(secret: &[u8; 32], out: &mut [u8; 32]) {
    // SAFETY: both arrays have the 32 octets the function reads and writes.
    unsafe { sys::X25519_public_from_private(out.as_mut_ptr(), secret.as_ptr()) }
}

/// The X25519 shared secret; false if it is all zero.
pub(super) fn x25519_agree(secret: &[u8; 32], peer: &[u8; 32], out: &mut [u8; 32]) -> bool {
    // SAFETY: all arrays have the 32 octets the function reads and writes.
    let good = unsafe { sys::X25519(out.as_mut_ptr(), secret.as_ptr(), peer.as_ptr()) } == 1;
    if !good {
        clear_errors();
    }
    good
}

/// An AEAD cipher of AWS-LC.
#[derive(Clone, Copy)]
pub(super) enum Aead {
    Aes128Gcm,
    Aes192Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// A keyed AEAD on the stack.
struct AeadContext(sys::EVP_AEAD_CTX);

impl AeadContext {
    /// A context without a key, which may be moved.
    fn empty() -> Self {
        // SAFETY: the struct is plain data for which all zero is what EVP_AEAD_CTX_zero sets.
        AeadContext(unsafe { std::mem::zeroed() })
    }

    /// Keys it where it stands, so that no copy of the key schedule is left behind by a move.
    fn key(&mut self, aead: Aead, key: &[u8], tag_len: usize) {
        // SAFETY: these take no arguments and return a pointer to a static.
        let method = unsafe {
            match aead {
                Aead::Aes128Gcm => sys::EVP_aead_aes_128_gcm(),
                Aead::Aes192Gcm => sys::EVP_aead_aes_192_gcm(),
                Aead::Aes256Gcm => sys::EVP_aead_aes_256_gcm(),
                Aead::ChaCha20Poly1305 => sys::EVP_aead_chacha20_poly1305(),
            }
        };
        // SAFETY: the context is zeroed, key pointer and length are of one live slice, null means no engine.
        let done =
            unsafe { sys::EVP_AEAD_CTX_init(&mut self.0, method, key.as_ptr(), key.len(), tag_len, ptr::null_mut()) };
        assert_eq!(done, 1, "callers check the key length, and tags are at most 16 octets");
    }

    fn seal(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &mut [u8]) {
        let (data, len) = (text.as_mut_ptr(), text.len());
        let mut written = 0;
        // SAFETY: every pointer comes with the length of its own live slice; input and output are the same buffer,
        // which the function permits; there is no extra input.
        let done = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                &self.0,
                data,
                tag.as_mut_ptr(),
                &mut written,
                tag.len(),
                nonce.as_ptr(),
                nonce.len(),
                data,
                len,
                ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        assert!(done == 1 && written == tag.len(), "messages are far below the cipher's length limit");
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
        let (data, len) = (text.as_mut_ptr(), text.len());
        // SAFETY: every pointer comes with the length of its own live slice; input and output are the same buffer,
        // which the function permits.
        let good = unsafe {
            sys::EVP_AEAD_CTX_open_gather(
                &self.0,
                data,
                nonce.as_ptr(),
                nonce.len(),
                data,
                len,
                tag.as_ptr(),
                tag.len(),
                aad.as_ptr(),
                aad.len(),
            )
        } == 1;
        if !good {
            clear_errors();
        }
        good
    }
}

impl Drop for AeadContext {
    fn drop(&mut self) {
        // SAFETY: the context was initialised, or zeroed, which cleanup accepts; it is cleaned exactly once.
        unsafe { sys::EVP_AEAD_CTX_cleanup(&mut self.0) }
        // SAFETY: cleanup leaves the key schedule in place; this overwrites the plain-data struct within its bounds.
        unsafe { sys::OPENSSL_cleanse((&raw mut self.0).cast(), size_of::<sys::EVP_AEAD_CTX>()) }
    }
}

/// Encrypts `text` in place and writes the tag, whose length selects the variant (8 to 16 octets). The key must have
/// the cipher's length.
pub(super) fn aead_seal(aead: Aead, key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &mut [u8]) {
    let mut context = AeadContext::empty();
    context.key(aead, key, tag.len());
    context.seal(nonce, aad, text, tag);
}

/// Decrypts `text` in place if the tag matches; otherwise returns false and `text` is overwritten.
pub(super) fn aead_open(aead: Aead, key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
    let mut context = AeadContext::empty();
    context.key(aead, key, tag.len());
    context.open(nonce, aad, text, tag)
}

/// An AEAD that stays keyed.
pub(super) struct KeyedAead(Box<AeadContext>);

// SAFETY: the context belongs to no thread; sealing and opening only read it.
unsafe impl Send for KeyedAead {}

impl KeyedAead {
    /// Keys it. The key must have the cipher's length; a tag has 8 to 16 octets.
    pub(super) fn new(aead: Aead, key: &[u8], tag_len: usize) -> Self {
        let mut context = Box::new(AeadContext::empty());
        context.key(aead, key, tag_len);
        KeyedAead(context)
    }

    /// As [`aead_seal`], with the tag length it was made for.
    pub(super) fn seal(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &mut [u8]) {
        self.0.seal(nonce, aad, text, tag);
    }

    /// As [`aead_open`].
    pub(super) fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
        self.0.open(nonce, aad, text, tag)
    }
}

/// Triple DES in CBC mode, in place, over whole blocks; AWS-LC is several times faster at it than RustCrypto.
pub(super) fn triple_des_cbc(key: &[u8; 24], iv: &[u8; 8], encrypt: bool, text: &mut [u8]) {
    KeyedTripleDes::new(key).run(iv, encrypt, text);
}

/// Triple DES in CBC mode that stays keyed.
pub(super) struct KeyedTripleDes(CipherContext);

// SAFETY: the context belongs to no thread, and is used through `&mut` only.
unsafe impl Send for KeyedTripleDes {}

impl KeyedTripleDes {
    /// Keys it.
    pub(super) fn new(key: &[u8; 24]) -> Self {
        // SAFETY: no arguments; null is caught by `own`.
        let context = CipherContext::own(unsafe { sys::EVP_CIPHER_CTX_new() });
        // SAFETY: the context is live, the cipher is a static, the key has the octets it reads; null means no engine,
        // and that the IV comes later.
        let ready = unsafe {
            let cipher = sys::EVP_des_ede3_cbc();
            sys::EVP_CipherInit_ex(context.as_ptr(), cipher, ptr::null_mut(), key.as_ptr(), ptr::null(), 1)
        };
        assert_eq!(ready, 1, "{NO_MEMORY}");
        KeyedTripleDes(context)
    }

    /// Encrypts or decrypts whole blocks in place.
    pub(super) fn run(&mut self, iv: &[u8; 8], encrypt: bool, text: &mut [u8]) {
        assert!(text.len().is_multiple_of(8), "callers check for whole blocks");
        // SAFETY: the context is keyed, and null for cipher and key keeps both; the IV has the octets it reads.
        let ready = unsafe {
            let (context, none) = (self.0.as_ptr(), ptr::null());
            sys::EVP_CipherInit_ex(context, ptr::null(), ptr::null_mut(), none, iv.as_ptr(), i32::from(encrypt))
        };
        assert_eq!(ready, 1, "{NO_MEMORY}");
        let (data, len) = (text.as_mut_ptr(), text.len());
        // SAFETY: the context is keyed; pointer and length are of one live slice of whole blocks, and this function
        // works in place without padding.
        let done = unsafe { sys::EVP_Cipher(self.0.as_ptr(), data, data, len) };
        assert_eq!(done, 1, "CBC over whole blocks cannot fail");
    }
}

guard!(
    /// A signature under way.
    DigestContext,
    sys::EVP_MD_CTX,
    sys::EVP_MD_CTX_free
);

/// A signature key of any kind that AWS-LC reads, private or public.
pub(super) struct SignatureKey(NonNull<sys::EVP_PKEY>);

impl Drop for SignatureKey {
    fn drop(&mut self) {
        // SAFETY: the constructors took the only owner of the key; the free clears it.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

// SAFETY: the key is never changed after it is made; AWS-LC documents use of one key by several threads as safe then.
unsafe impl Send for SignatureKey {}
// SAFETY: as above.
unsafe impl Sync for SignatureKey {}

/// What a [`SignatureKey`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SignatureKeyKind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// How a signature is made, beside its key.
#[derive(Clone, Copy)]
pub(super) enum SignatureMode {
    /// PKCS #1 v1.5 for RSA, an ASN.1 sequence of r and s for a curve.
    Digest(SignatureDigest),
    /// RSASSA-PSS with that hash in MGF1 too, and a salt of so many octets.
    Pss(SignatureDigest, u16),
    /// The message itself: Ed25519.
    Pure,
}

/// The hash below a signature.
#[derive(Clone, Copy)]
pub(super) enum SignatureDigest {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl SignatureKey {
    /// A private key as PKCS #8, PKCS #1 or SEC 1 DER; the form is recognised.
    pub(super) fn private(der: &[u8]) -> Option<Self> {
        let mut at = der.as_ptr();
        let len = std::ffi::c_long::try_from(der.len()).ok()?;
        // SAFETY: pointer and length are of one live slice; a null first argument asks for a new key.
        let raw = unsafe { sys::d2i_AutoPrivateKey(ptr::null_mut(), &mut at, len) };
        clear_errors();
        NonNull::new(raw).map(SignatureKey)
    }

    /// A public key as SubjectPublicKeyInfo DER.
    pub(super) fn public(spki: &[u8]) -> Option<Self> {
        let mut at = spki.as_ptr();
        let len = std::ffi::c_long::try_from(spki.len()).ok()?;
        // SAFETY: as in `private`.
        let raw = unsafe { sys::d2i_PUBKEY(ptr::null_mut(), &mut at, len) };
        clear_errors();
        NonNull::new(raw).map(SignatureKey)
    }

    /// What it is; `None` for a kind or curve that is not for IKE.
    pub(super) fn kind(&self) -> Option<SignatureKeyKind> {
        // SAFETY: the key is live.
        match unsafe { sys::EVP_PKEY_id(self.0.as_ptr()) } {
            sys::EVP_PKEY_RSA => Some(SignatureKeyKind::Rsa),
            sys::EVP_PKEY_ED25519 => Some(SignatureKeyKind::Ed25519),
            sys::EVP_PKEY_EC => {
                // SAFETY: the key is live and a curve's, so that it has a curve key, and that a group; both are borrowed.
                let curve = unsafe {
                    let group = sys::EC_KEY_get0_group(sys::EVP_PKEY_get0_EC_KEY(self.0.as_ptr()));
                    sys::EC_GROUP_get_curve_name(group)
                };
                match curve {
                    sys::NID_X9_62_prime256v1 => Some(SignatureKeyKind::P256),
                    sys::NID_secp384r1 => Some(SignatureKeyKind::P384),
                    sys::NID_secp521r1 => Some(SignatureKeyKind::P521),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Bits of the modulus or the curve.
    pub(super) fn bits(&self) -> u32 {
        // SAFETY: the key is live.
        u32::try_from(unsafe { sys::EVP_PKEY_bits(self.0.as_ptr()) }).unwrap_or(0)
    }

    /// True if both have the same public part.
    pub(super) fn same_public(&self, other: &SignatureKey) -> bool {
        // SAFETY: both keys are live.
        let same = unsafe { sys::EVP_PKEY_cmp(self.0.as_ptr(), other.0.as_ptr()) } == 1;
        clear_errors();
        same
    }

    /// Signs; `None` if the key is public only, too small for the hash, or of another kind than the mode.
    pub(super) fn sign(&self, mode: SignatureMode, message: &[u8]) -> Option<Vec<u8>> {
        let context = self.context(mode, true)?;
        // SAFETY: the key is live.
        let most = usize::try_from(unsafe { sys::EVP_PKEY_size(self.0.as_ptr()) }).ok()?;
        let mut signature = vec![0; most];
        let mut len = most;
        let (out, data) = (signature.as_mut_ptr(), message.as_ptr());
        // SAFETY: the context is set up for signing; `len` says how much `out` holds, and `data` is a live slice.
        let done = unsafe { sys::EVP_DigestSign(context.as_ptr(), out, &mut len, data, message.len()) };
        clear_errors();
        (done == 1).then(|| {
            signature.truncate(len);
            signature
        })
    }

    /// Whether `signature` is this key's.
    pub(super) fn verify(&self, mode: SignatureMode, message: &[u8], signature: &[u8]) -> bool {
        let Some(context) = self.context(mode, false) else { return false };
        // SAFETY: the context is set up for verification; both pointers come with the length of their own live slice.
        let good = unsafe {
            sys::EVP_DigestVerify(
                context.as_ptr(),
                signature.as_ptr(),
                signature.len(),
                message.as_ptr(),
                message.len(),
            )
        } == 1;
        clear_errors();
        good
    }

    fn context(&self, mode: SignatureMode, sign: bool) -> Option<DigestContext> {
        // SAFETY: no arguments; null is caught by `own`. The digests are statics.
        let (context, digest) = unsafe {
            let digest = match mode {
                SignatureMode::Pure => ptr::null(),
                SignatureMode::Digest(d) | SignatureMode::Pss(d, _) => match d {
                    SignatureDigest::Sha1 => sys::EVP_sha1(),
                    SignatureDigest::Sha256 => sys::EVP_sha256(),
                    SignatureDigest::Sha384 => sys::EVP_sha384(),
                    SignatureDigest::Sha512 => sys::EVP_sha512(),
                },
            };
            (DigestContext::own(sys::EVP_MD_CTX_new()), digest)
        };
        let mut settings = ptr::null_mut();
        let engine = ptr::null_mut();
        // SAFETY: context and key are live; the settings it hands out belong to the context and live as long. The key is
        // not changed: its count of references is, which AWS-LC does atomically.
        let ready = unsafe {
            if sign {
                sys::EVP_DigestSignInit(context.as_ptr(), &mut settings, digest, engine, self.0.as_ptr())
            } else {
                sys::EVP_DigestVerifyInit(context.as_ptr(), &mut settings, digest, engine, self.0.as_ptr())
            }
        } == 1;
        let mut good = ready;
        if let (SignatureMode::Pss(_, salt), true) = (mode, ready) {
            // SAFETY: the settings are live, and the digest is a static.
            good = unsafe {
                sys::EVP_PKEY_CTX_set_rsa_padding(settings, sys::RSA_PKCS1_PSS_PADDING) == 1
                    && sys::EVP_PKEY_CTX_set_rsa_mgf1_md(settings, digest) == 1
                    && sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, i32::from(salt)) == 1
            };
        }
        if !good {
            clear_errors();
        }
        good.then_some(context)
    }
}

/// Empties this thread's error queue, which refused peer values would otherwise fill for the next user of AWS-LC.
fn clear_errors() {
    // SAFETY: no arguments; touches thread-local state only.
    unsafe { sys::ERR_clear_error() }
}
