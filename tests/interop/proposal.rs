//! Proposals in strongSwan's spelling, which ikelab also reads, and the same in the words of the other peers and of tshark.

use std::fmt;

/// The algorithms of one proposal. `None` where the spelling leaves one out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    pub encr: Encr,
    pub integ: Option<Hash>,
    pub prf: Option<Hash>,
    pub ke: Option<Ke>,
    /// Extended sequence numbers; ESP only.
    pub esn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Encr {
    /// Key length in bits.
    Cbc(u16),
    Ctr(u16),
    /// Key length in bits, ICV length in bytes.
    Gcm(u16, u8),
    Ccm(u16, u8),
    ChaCha,
    TripleDes,
    /// ESP only.
    Null,
}

impl Encr {
    pub fn is_aead(self) -> bool {
        matches!(self, Encr::Gcm(..) | Encr::Ccm(..) | Encr::ChaCha)
    }
}

/// An integrity algorithm or a PRF: both are named after the hash or MAC below them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    AesXcbc,
    AesCmac,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ke {
    /// Size of the modulus in bits.
    Modp(u16),
    Ecp(u16),
    X25519,
}

impl Ke {
    /// The number of the group in the IANA registry.
    pub fn number(self) -> u16 {
        match self {
            Ke::Modp(768) => 1,
            Ke::Modp(1024) => 2,
            Ke::Modp(1536) => 5,
            Ke::Modp(2048) => 14,
            Ke::Modp(3072) => 15,
            Ke::Modp(4096) => 16,
            Ke::Modp(6144) => 17,
            Ke::Modp(8192) => 18,
            Ke::Ecp(256) => 19,
            Ke::Ecp(384) => 20,
            Ke::Ecp(521) => 21,
            Ke::X25519 => 31,
            other => panic!("no group {other:?}"),
        }
    }
}

impl Proposal {
    /// Reads `aes256-sha256-modp2048`, `aes128gcm16-prfsha256-x25519`, `null-sha1` and the like.
    #[track_caller]
    pub fn parse(text: &str) -> Proposal {
        let mut words = text.split('-');
        let encr = words.next().and_then(parse_encr).unwrap_or_else(|| panic!("no encryption algorithm in `{text}`"));
        let mut p = Proposal { encr, integ: None, prf: None, ke: None, esn: false };
        for word in words {
            if word == "esn" {
                p.esn = true;
            } else if let Some(prf) = word.strip_prefix("prf").and_then(parse_hash) {
                p.prf = Some(prf);
            } else if let Some(integ) = parse_hash(word) {
                p.integ = Some(integ);
            } else if let Some(ke) = parse_ke(word) {
                p.ke = Some(ke);
            } else {
                panic!("`{word}` in `{text}` is not understood");
            }
        }
        p
    }

    /// The PRF that is meant: the one named, else the integrity algorithm's.
    #[track_caller]
    pub fn effective_prf(&self) -> Hash {
        self.prf.or(self.integ).unwrap_or_else(|| panic!("{self:?} names no PRF"))
    }

    /// The same with its PRF named, so that two spellings of one suite are equal.
    #[track_caller]
    pub fn with_prf(&self) -> Proposal {
        Proposal { prf: Some(self.effective_prf()), ..self.clone() }
    }

    /// What `swanctl --list-sas --raw` says about an IKE SA with this proposal, joined with `/`.
    #[track_caller]
    pub fn strongswan_ike(&self) -> String {
        let ke = match self.ke {
            Some(Ke::Modp(n)) => format!("MODP_{n}"),
            Some(Ke::Ecp(n)) => format!("ECP_{n}"),
            Some(Ke::X25519) => "CURVE_25519".to_owned(),
            None => panic!("{self:?} names no key exchange"),
        };
        let prf = match self.effective_prf() {
            Hash::Md5 => "HMAC_MD5",
            Hash::Sha1 => "HMAC_SHA1",
            Hash::Sha256 => "HMAC_SHA2_256",
            Hash::Sha384 => "HMAC_SHA2_384",
            Hash::Sha512 => "HMAC_SHA2_512",
            Hash::AesXcbc => "AES128_XCBC",
            Hash::AesCmac => "AES128_CMAC",
        };
        format!("{}/PRF_{prf}/{ke}", self.strongswan_esp())
    }

    /// The same for a Child SA without a key exchange.
    pub fn strongswan_esp(&self) -> String {
        let encr = match self.encr {
            Encr::Cbc(n) => format!("AES_CBC/{n}"),
            Encr::Ctr(n) => format!("AES_CTR/{n}"),
            Encr::Gcm(n, icv) => format!("AES_GCM_{icv}/{n}"),
            Encr::Ccm(n, icv) => format!("AES_CCM_{icv}/{n}"),
            Encr::ChaCha => "CHACHA20_POLY1305".to_owned(),
            Encr::TripleDes => "3DES_CBC".to_owned(),
            Encr::Null => "NULL".to_owned(),
        };
        self.integ.map_or(encr.clone(), |i| format!("{encr}/{}", strongswan_integ(i)))
    }

    /// An `ike=` value for libreswan, which names one hash for PRF and integrity.
    #[track_caller]
    pub fn libreswan_ike(&self) -> String {
        let prf = self.effective_prf();
        assert!(self.integ.is_none_or(|i| i == prf), "libreswan cannot be told {self:?}: PRF and integrity differ");
        let ke = self.ke.unwrap_or_else(|| panic!("{self:?} names no key exchange"));
        format!("{}-{}-dh{}", libreswan_encr(self.encr), libreswan_hash(prf), ke.number())
    }

    /// An `esp=` value for libreswan. A group goes to `pfs=` and is not part of it.
    #[track_caller]
    pub fn libreswan_esp(&self) -> String {
        format!("{}-{}", libreswan_encr(self.encr), self.integ.map_or("null", libreswan_hash))
    }

    /// The words after `ikesa` or `childsa` in an iked configuration.
    #[track_caller]
    pub fn iked(&self, child: bool) -> String {
        let mut s = format!("enc {}", iked_encr(self.encr));
        if !child {
            s += &format!(" prf {}", iked_hash(self.effective_prf()));
        }
        if let Some(i) = self.integ {
            s += &format!(" auth {}", iked_hash(i));
        }
        if let Some(ke) = self.ke {
            s += " group ";
            s += &match ke {
                Ke::Modp(n) => format!("modp{n}"),
                Ke::Ecp(n) => format!("ecp{n}"),
                Ke::X25519 => "curve25519".to_owned(),
            };
        }
        s
    }

    /// What tshark 4.0 calls the encryption algorithm in its key table; `None` when it has none.
    pub fn tshark_encr(&self) -> Option<String> {
        Some(match self.encr {
            Encr::Cbc(n) => format!("AES-CBC-{n} [RFC3602]"),
            Encr::Ctr(n) => format!("AES-CTR-{n} [RFC5930]"),
            Encr::Gcm(n, icv) => format!("AES-GCM-{n} with {icv} octet ICV [RFC5282]"),
            Encr::Ccm(n, icv) => format!("AES-CCM-{n} with {icv} octet ICV [RFC5282]"),
            Encr::TripleDes => "3DES [RFC2451]".to_owned(),
            Encr::ChaCha | Encr::Null => return None,
        })
    }

    /// What tshark 4.0 calls the integrity algorithm, and whether it can check its checksum. It knows the length of the
    /// AES MACs only, which is enough to decrypt.
    pub fn tshark_integ(&self) -> (&'static str, bool) {
        match self.integ {
            None => ("NONE [RFC4306]", true),
            Some(Hash::Md5) => ("HMAC_MD5_96 [RFC2403]", true),
            Some(Hash::Sha1) => ("HMAC_SHA1_96 [RFC2404]", true),
            Some(Hash::Sha256) => ("HMAC_SHA2_256_128 [RFC4868]", true),
            Some(Hash::Sha384) => ("HMAC_SHA2_384_192 [RFC4868]", true),
            Some(Hash::Sha512) => ("HMAC_SHA2_512_256 [RFC4868]", true),
            Some(Hash::AesXcbc | Hash::AesCmac) => ("ANY 96-bits of Authentication [No Checking]", false),
        }
    }

    /// Whether tshark 4.0 both decrypts and verifies this proposal.
    pub fn tshark_verifies(&self) -> bool {
        self.tshark_encr().is_some() && self.tshark_integ().1
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.encr {
            Encr::Cbc(n) => write!(f, "aes{n}")?,
            Encr::Ctr(n) => write!(f, "aes{n}ctr")?,
            Encr::Gcm(n, icv) => write!(f, "aes{n}gcm{icv}")?,
            Encr::Ccm(n, icv) => write!(f, "aes{n}ccm{icv}")?,
            Encr::ChaCha => write!(f, "chacha20poly1305")?,
            Encr::TripleDes => write!(f, "3des")?,
            Encr::Null => write!(f, "null")?,
        }
        if let Some(i) = self.integ {
            write!(f, "-{}", hash_word(i))?;
        }
        if let Some(p) = self.prf {
            write!(f, "-prf{}", hash_word(p))?;
        }
        match self.ke {
            Some(Ke::Modp(n)) => write!(f, "-modp{n}")?,
            Some(Ke::Ecp(n)) => write!(f, "-ecp{n}")?,
            Some(Ke::X25519) => write!(f, "-x25519")?,
            None => {}
        }
        if self.esn { write!(f, "-esn") } else { Ok(()) }
    }
}

fn parse_encr(word: &str) -> Option<Encr> {
    match word {
        "3des" => return Some(Encr::TripleDes),
        "null" => return Some(Encr::Null),
        "chacha20poly1305" => return Some(Encr::ChaCha),
        _ => {}
    }
    let rest = word.strip_prefix("aes")?;
    let (bits, mode) = rest.split_at_checked(3)?;
    let bits = bits.parse().ok().filter(|b| [128, 192, 256].contains(b))?;
    let icv = |text: &str| text.parse().ok().filter(|i| [8, 12, 16].contains(i));
    if mode.is_empty() {
        Some(Encr::Cbc(bits))
    } else if mode == "ctr" {
        Some(Encr::Ctr(bits))
    } else if let Some(n) = mode.strip_prefix("gcm") {
        Some(Encr::Gcm(bits, icv(n)?))
    } else {
        Some(Encr::Ccm(bits, icv(mode.strip_prefix("ccm")?)?))
    }
}

const HASHES: [(Hash, &str); 7] = [
    (Hash::Md5, "md5"),
    (Hash::Sha1, "sha1"),
    (Hash::Sha256, "sha256"),
    (Hash::Sha384, "sha384"),
    (Hash::Sha512, "sha512"),
    (Hash::AesXcbc, "aesxcbc"),
    (Hash::AesCmac, "aescmac"),
];

fn parse_hash(word: &str) -> Option<Hash> {
    HASHES.iter().find(|(_, w)| *w == word).map(|(h, _)| *h)
}

fn hash_word(hash: Hash) -> &'static str {
    HASHES.iter().find(|(h, _)| *h == hash).map(|(_, w)| *w).expect("the table has every hash")
}

fn parse_ke(word: &str) -> Option<Ke> {
    if word == "x25519" {
        Some(Ke::X25519)
    } else if let Some(n) = word.strip_prefix("modp") {
        n.parse().ok().map(Ke::Modp)
    } else {
        word.strip_prefix("ecp")?.parse().ok().map(Ke::Ecp)
    }
}

fn strongswan_integ(hash: Hash) -> &'static str {
    match hash {
        Hash::Md5 => "HMAC_MD5_96",
        Hash::Sha1 => "HMAC_SHA1_96",
        Hash::Sha256 => "HMAC_SHA2_256_128",
        Hash::Sha384 => "HMAC_SHA2_384_192",
        Hash::Sha512 => "HMAC_SHA2_512_256",
        Hash::AesXcbc => "AES_XCBC_96",
        Hash::AesCmac => "AES_CMAC_96",
    }
}

fn libreswan_encr(encr: Encr) -> String {
    match encr {
        Encr::Cbc(n) => format!("aes{n}"),
        Encr::Ctr(n) => format!("aes_ctr{n}"),
        // The letter is libreswan's word for the length of the ICV.
        Encr::Gcm(n, icv) => format!("aes_gcm_{}{n}", icv_letter(icv)),
        Encr::Ccm(n, icv) => format!("aes_ccm_{}{n}", icv_letter(icv)),
        Encr::ChaCha => "chacha20_poly1305".to_owned(),
        Encr::TripleDes => "3des".to_owned(),
        Encr::Null => "null".to_owned(),
    }
}

fn icv_letter(icv: u8) -> char {
    match icv {
        8 => 'a',
        12 => 'b',
        _ => 'c',
    }
}

fn libreswan_hash(hash: Hash) -> &'static str {
    match hash {
        Hash::Md5 => "md5",
        Hash::Sha1 => "sha1",
        Hash::Sha256 => "sha2_256",
        Hash::Sha384 => "sha2_384",
        Hash::Sha512 => "sha2_512",
        Hash::AesXcbc => "aes_xcbc",
        Hash::AesCmac => "aes_cmac",
    }
}

fn iked_encr(encr: Encr) -> String {
    match encr {
        Encr::Cbc(n) => format!("aes-{n}"),
        Encr::Ctr(n) => format!("aes-{n}-ctr"),
        Encr::Gcm(n, 16) => format!("aes-{n}-gcm"),
        Encr::Gcm(n, 12) => format!("aes-{n}-gcm-12"),
        Encr::ChaCha => "chacha20-poly1305".to_owned(),
        Encr::TripleDes => "3des".to_owned(),
        Encr::Null => "null".to_owned(),
        other => panic!("OpenIKED has no {other:?}"),
    }
}

fn iked_hash(hash: Hash) -> &'static str {
    match hash {
        Hash::Md5 => "hmac-md5",
        Hash::Sha1 => "hmac-sha1",
        Hash::Sha256 => "hmac-sha2-256",
        Hash::Sha384 => "hmac-sha2-384",
        Hash::Sha512 => "hmac-sha2-512",
        other => panic!("OpenIKED has no {other:?}"),
    }
}
