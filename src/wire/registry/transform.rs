//! Transform types, and the transform IDs of each (RFC 7296 3.3.2).

use std::borrow::Cow;

registry! {
    /// Transform Type Values (RFC 7296 3.3.2, RFC 9370).
    TransformType(u8), "transform";
    ENCR = 1, "ENCR", "Encryption Algorithm";
    PRF = 2, "PRF", "Pseudo-random Function";
    INTEG = 3, "INTEG", "Integrity Algorithm";
    KE = 4, "D-H/KE", "Key Exchange Method (before RFC 9370: Diffie-Hellman Group)";
    ESN = 5, "ESN", "Sequence Numbers (formerly Extended Sequence Numbers)";
    ADDKE1 = 6, "ADDKE1", "Additional Key Exchange 1";
    ADDKE2 = 7, "ADDKE2", "Additional Key Exchange 2";
    ADDKE3 = 8, "ADDKE3", "Additional Key Exchange 3";
    ADDKE4 = 9, "ADDKE4", "Additional Key Exchange 4";
    ADDKE5 = 10, "ADDKE5", "Additional Key Exchange 5";
    ADDKE6 = 11, "ADDKE6", "Additional Key Exchange 6";
    ADDKE7 = 12, "ADDKE7", "Additional Key Exchange 7";
    KWA = 13, "KWA", "Key Wrap Algorithm";
    GCAUTH = 14, "GCAUTH", "Group Controller Authentication Method";
}

registry! {
    /// Encryption Algorithm Transform IDs (transform type 1).
    EncrId(u16), "ENCR";
    ENCR_DES_IV64 = 1, "ENCR_DES_IV64";
    ENCR_DES = 2, "ENCR_DES";
    ENCR_3DES = 3, "ENCR_3DES";
    ENCR_RC5 = 4, "ENCR_RC5";
    ENCR_IDEA = 5, "ENCR_IDEA";
    ENCR_CAST = 6, "ENCR_CAST";
    ENCR_BLOWFISH = 7, "ENCR_BLOWFISH";
    ENCR_3IDEA = 8, "ENCR_3IDEA";
    ENCR_DES_IV32 = 9, "ENCR_DES_IV32";
    ENCR_NULL = 11, "ENCR_NULL";
    ENCR_AES_CBC = 12, "ENCR_AES_CBC";
    ENCR_AES_CTR = 13, "ENCR_AES_CTR";
    ENCR_AES_CCM_8 = 14, "ENCR_AES_CCM_8";
    ENCR_AES_CCM_12 = 15, "ENCR_AES_CCM_12";
    ENCR_AES_CCM_16 = 16, "ENCR_AES_CCM_16";
    ENCR_AES_GCM_8 = 18, "ENCR_AES_GCM_8";
    ENCR_AES_GCM_12 = 19, "ENCR_AES_GCM_12";
    ENCR_AES_GCM_16 = 20, "ENCR_AES_GCM_16";
    ENCR_NULL_AUTH_AES_GMAC = 21, "ENCR_NULL_AUTH_AES_GMAC";
    ENCR_CAMELLIA_CBC = 23, "ENCR_CAMELLIA_CBC";
    ENCR_CAMELLIA_CTR = 24, "ENCR_CAMELLIA_CTR";
    ENCR_CAMELLIA_CCM_8 = 25, "ENCR_CAMELLIA_CCM_8";
    ENCR_CAMELLIA_CCM_12 = 26, "ENCR_CAMELLIA_CCM_12";
    ENCR_CAMELLIA_CCM_16 = 27, "ENCR_CAMELLIA_CCM_16";
    ENCR_CHACHA20_POLY1305 = 28, "ENCR_CHACHA20_POLY1305";
    ENCR_AES_CCM_8_IIV = 29, "ENCR_AES_CCM_8_IIV";
    ENCR_AES_GCM_16_IIV = 30, "ENCR_AES_GCM_16_IIV";
    ENCR_CHACHA20_POLY1305_IIV = 31, "ENCR_CHACHA20_POLY1305_IIV";
    ENCR_KUZNYECHIK_MGM_KTREE = 32, "ENCR_KUZNYECHIK_MGM_KTREE";
    ENCR_MAGMA_MGM_KTREE = 33, "ENCR_MAGMA_MGM_KTREE";
    ENCR_KUZNYECHIK_MGM_MAC_KTREE = 34, "ENCR_KUZNYECHIK_MGM_MAC_KTREE";
    ENCR_MAGMA_MGM_MAC_KTREE = 35, "ENCR_MAGMA_MGM_MAC_KTREE";
}

registry! {
    /// Pseudo-random Function Transform IDs (transform type 2).
    PrfId(u16), "PRF";
    PRF_HMAC_MD5 = 1, "PRF_HMAC_MD5";
    PRF_HMAC_SHA1 = 2, "PRF_HMAC_SHA1";
    PRF_HMAC_TIGER = 3, "PRF_HMAC_TIGER";
    PRF_AES128_XCBC = 4, "PRF_AES128_XCBC";
    PRF_HMAC_SHA2_256 = 5, "PRF_HMAC_SHA2_256";
    PRF_HMAC_SHA2_384 = 6, "PRF_HMAC_SHA2_384";
    PRF_HMAC_SHA2_512 = 7, "PRF_HMAC_SHA2_512";
    PRF_AES128_CMAC = 8, "PRF_AES128_CMAC";
    PRF_HMAC_STREEBOG_512 = 9, "PRF_HMAC_STREEBOG_512";
}

registry! {
    /// Integrity Algorithm Transform IDs (transform type 3).
    IntegId(u16), "INTEG";
    NONE = 0, "NONE";
    AUTH_HMAC_MD5_96 = 1, "AUTH_HMAC_MD5_96";
    AUTH_HMAC_SHA1_96 = 2, "AUTH_HMAC_SHA1_96";
    AUTH_DES_MAC = 3, "AUTH_DES_MAC";
    AUTH_KPDK_MD5 = 4, "AUTH_KPDK_MD5";
    AUTH_AES_XCBC_96 = 5, "AUTH_AES_XCBC_96";
    AUTH_HMAC_MD5_128 = 6, "AUTH_HMAC_MD5_128";
    AUTH_HMAC_SHA1_160 = 7, "AUTH_HMAC_SHA1_160";
    AUTH_AES_CMAC_96 = 8, "AUTH_AES_CMAC_96";
    AUTH_AES_128_GMAC = 9, "AUTH_AES_128_GMAC";
    AUTH_AES_192_GMAC = 10, "AUTH_AES_192_GMAC";
    AUTH_AES_256_GMAC = 11, "AUTH_AES_256_GMAC";
    AUTH_HMAC_SHA2_256_128 = 12, "AUTH_HMAC_SHA2_256_128";
    AUTH_HMAC_SHA2_384_192 = 13, "AUTH_HMAC_SHA2_384_192";
    AUTH_HMAC_SHA2_512_256 = 14, "AUTH_HMAC_SHA2_512_256";
}

registry! {
    /// Key Exchange Method Transform IDs (transform types 4 and 6 to 12; formerly Diffie-Hellman groups).
    KeMethod(u16), "KE";
    NONE = 0, "NONE", "NONE";
    MODP_768 = 1, "MODP_768", "768-bit MODP Group";
    MODP_1024 = 2, "MODP_1024", "1024-bit MODP Group";
    MODP_1536 = 5, "MODP_1536", "1536-bit MODP Group";
    MODP_2048 = 14, "MODP_2048", "2048-bit MODP Group";
    MODP_3072 = 15, "MODP_3072", "3072-bit MODP Group";
    MODP_4096 = 16, "MODP_4096", "4096-bit MODP Group";
    MODP_6144 = 17, "MODP_6144", "6144-bit MODP Group";
    MODP_8192 = 18, "MODP_8192", "8192-bit MODP Group";
    ECP_256 = 19, "ECP_256", "256-bit random ECP group";
    ECP_384 = 20, "ECP_384", "384-bit random ECP group";
    ECP_521 = 21, "ECP_521", "521-bit random ECP group";
    MODP_1024_160 = 22, "MODP_1024_160", "1024-bit MODP Group with 160-bit Prime Order Subgroup";
    MODP_2048_224 = 23, "MODP_2048_224", "2048-bit MODP Group with 224-bit Prime Order Subgroup";
    MODP_2048_256 = 24, "MODP_2048_256", "2048-bit MODP Group with 256-bit Prime Order Subgroup";
    ECP_192 = 25, "ECP_192", "192-bit Random ECP Group";
    ECP_224 = 26, "ECP_224", "224-bit Random ECP Group";
    BRAINPOOL_224 = 27, "BRAINPOOL_224", "brainpoolP224r1";
    BRAINPOOL_256 = 28, "BRAINPOOL_256", "brainpoolP256r1";
    BRAINPOOL_384 = 29, "BRAINPOOL_384", "brainpoolP384r1";
    BRAINPOOL_512 = 30, "BRAINPOOL_512", "brainpoolP512r1";
    CURVE25519 = 31, "CURVE25519", "Curve25519";
    CURVE448 = 32, "CURVE448", "Curve448";
    GOST3410_2012_256 = 33, "GOST3410_2012_256", "GOST3410_2012_256";
    GOST3410_2012_512 = 34, "GOST3410_2012_512", "GOST3410_2012_512";
    ML_KEM_512 = 35, "ML_KEM_512", "ml-kem-512";
    ML_KEM_768 = 36, "ML_KEM_768", "ml-kem-768";
    ML_KEM_1024 = 37, "ML_KEM_1024", "ml-kem-1024";
}

registry! {
    /// Sequence Numbers Properties (transform type 5; formerly Extended Sequence Numbers).
    EsnId(u16), "SN";
    NO_ESN = 0, "NO_ESN", "32-bit Sequential Numbers (formerly No Extended Sequence Numbers)";
    ESN = 1, "ESN", "Partially Transmitted 64-bit Sequential Numbers (formerly Extended Sequence Numbers)";
    UNSPECIFIED = 2, "UNSPECIFIED", "32-bit Unspecified Numbers";
}

registry! {
    /// Key Wrap Algorithm Transform IDs (transform type 13, G-IKEv2).
    KeyWrapId(u16), "KWA";
    KW_5649_128 = 1, "KW_5649_128";
    KW_5649_192 = 2, "KW_5649_192";
    KW_5649_256 = 3, "KW_5649_256";
    KW_ARX = 4, "KW_ARX";
}

registry! {
    /// Group Controller Authentication Method Transform IDs (transform type 14, G-IKEv2).
    GcAuthId(u16), "GCAUTH";
    IMPLICIT = 1, "Implicit";
    DIGITAL_SIGNATURE = 2, "Digital Signature";
}

registry! {
    /// IKEv2 Transform Attribute Types, without the AF bit (RFC 7296 3.3.5).
    TransformAttribute(u16), "attribute";
    KEY_LENGTH = 14, "Key Length";
    SIGNATURE_ALGORITHM_IDENTIFIER = 18, "Signature Algorithm Identifier";
}

impl KeMethod {
    /// The lower-case name that strongSwan's proposals use: `modp2048`, `ecp256`, `x25519`, `mlkem768`.
    /// `None` for an unassigned value.
    pub const fn short_name(self) -> Option<&'static str> {
        Some(match self {
            Self::NONE => "none",
            Self::MODP_768 => "modp768",
            Self::MODP_1024 => "modp1024",
            Self::MODP_1536 => "modp1536",
            Self::MODP_2048 => "modp2048",
            Self::MODP_3072 => "modp3072",
            Self::MODP_4096 => "modp4096",
            Self::MODP_6144 => "modp6144",
            Self::MODP_8192 => "modp8192",
            Self::ECP_256 => "ecp256",
            Self::ECP_384 => "ecp384",
            Self::ECP_521 => "ecp521",
            Self::MODP_1024_160 => "modp1024s160",
            Self::MODP_2048_224 => "modp2048s224",
            Self::MODP_2048_256 => "modp2048s256",
            Self::ECP_192 => "ecp192",
            Self::ECP_224 => "ecp224",
            Self::BRAINPOOL_224 => "ecp224bp",
            Self::BRAINPOOL_256 => "ecp256bp",
            Self::BRAINPOOL_384 => "ecp384bp",
            Self::BRAINPOOL_512 => "ecp512bp",
            Self::CURVE25519 => "x25519",
            Self::CURVE448 => "x448",
            Self::GOST3410_2012_256 => "gost256",
            Self::GOST3410_2012_512 => "gost512",
            Self::ML_KEM_512 => "mlkem512",
            Self::ML_KEM_768 => "mlkem768",
            Self::ML_KEM_1024 => "mlkem1024",
            _ => return None,
        })
    }

    /// [`short_name`](Self::short_name), or "group 99" for an unassigned value.
    pub fn short(self) -> Cow<'static, str> {
        match self.short_name() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("group {}", self.0)),
        }
    }
}
