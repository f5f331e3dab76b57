//! The numbers inside payloads other than SA and Notify.

registry! {
    /// Identification Payload ID Types (RFC 7296 3.5).
    IdType(u8), "id type";
    ID_IPV4_ADDR = 1, "ID_IPV4_ADDR";
    ID_FQDN = 2, "ID_FQDN";
    ID_RFC822_ADDR = 3, "ID_RFC822_ADDR";
    ID_IPV6_ADDR = 5, "ID_IPV6_ADDR";
    ID_DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
    ID_DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
    ID_KEY_ID = 11, "ID_KEY_ID";
    ID_FC_NAME = 12, "ID_FC_NAME";
    ID_NULL = 13, "ID_NULL";
}

registry! {
    /// IKEv2 Authentication Methods (RFC 7296 3.8, RFC 7427).
    AuthMethod(u8), "auth method";
    RSA_DIGITAL_SIGNATURE = 1, "RSA Digital Signature";
    SHARED_KEY_MIC = 2, "Shared Key Message Integrity Code";
    DSS_DIGITAL_SIGNATURE = 3, "DSS Digital Signature";
    ECDSA_SHA256_P256 = 9, "ECDSA with SHA-256 on the P-256 curve";
    ECDSA_SHA384_P384 = 10, "ECDSA with SHA-384 on the P-384 curve";
    ECDSA_SHA512_P521 = 11, "ECDSA with SHA-512 on the P-521 curve";
    GENERIC_SECURE_PASSWORD = 12, "Generic Secure Password Authentication Method";
    NULL = 13, "NULL Authentication";
    DIGITAL_SIGNATURE = 14, "Digital Signature";
}

registry! {
    /// IKEv2 Certificate Encodings (RFC 7296 3.6).
    CertEncoding(u8), "cert encoding";
    PKCS7_X509 = 1, "PKCS #7 wrapped X.509 certificate";
    PGP = 2, "PGP Certificate";
    DNS_SIGNED_KEY = 3, "DNS Signed Key";
    X509_SIGNATURE = 4, "X.509 Certificate - Signature";
    KERBEROS_TOKEN = 6, "Kerberos Token";
    CRL = 7, "Certificate Revocation List (CRL)";
    ARL = 8, "Authority Revocation List (ARL)";
    SPKI = 9, "SPKI Certificate";
    X509_ATTRIBUTE = 10, "X.509 Certificate - Attribute";
    RAW_RSA_KEY = 11, "Raw RSA Key";
    HASH_AND_URL = 12, "Hash and URL of X.509 certificate";
    HASH_AND_URL_BUNDLE = 13, "Hash and URL of X.509 bundle";
    OCSP_CONTENT = 14, "OCSP Content";
    RAW_PUBLIC_KEY = 15, "Raw Public Key";
}

registry! {
    /// Traffic Selector Types (RFC 7296 3.13.1).
    TsType(u8), "TS type";
    TS_IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
    TS_IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
    TS_FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
    TS_SECLABEL = 10, "TS_SECLABEL";
}

registry! {
    /// Configuration Payload CFG Types (RFC 7296 3.15).
    CfgType(u8), "CFG type";
    CFG_REQUEST = 1, "CFG_REQUEST";
    CFG_REPLY = 2, "CFG_REPLY";
    CFG_SET = 3, "CFG_SET";
    CFG_ACK = 4, "CFG_ACK";
}

registry! {
    /// Configuration Payload Attribute Types, without the reserved bit (RFC 7296 3.15.1).
    CfgAttr(u16), "CFG attribute";
    INTERNAL_IP4_ADDRESS = 1, "INTERNAL_IP4_ADDRESS";
    INTERNAL_IP4_NETMASK = 2, "INTERNAL_IP4_NETMASK";
    INTERNAL_IP4_DNS = 3, "INTERNAL_IP4_DNS";
    INTERNAL_IP4_NBNS = 4, "INTERNAL_IP4_NBNS";
    INTERNAL_IP4_DHCP = 6, "INTERNAL_IP4_DHCP";
    APPLICATION_VERSION = 7, "APPLICATION_VERSION";
    INTERNAL_IP6_ADDRESS = 8, "INTERNAL_IP6_ADDRESS";
    INTERNAL_IP6_DNS = 10, "INTERNAL_IP6_DNS";
    INTERNAL_IP6_DHCP = 12, "INTERNAL_IP6_DHCP";
    INTERNAL_IP4_SUBNET = 13, "INTERNAL_IP4_SUBNET";
    SUPPORTED_ATTRIBUTES = 14, "SUPPORTED_ATTRIBUTES";
    INTERNAL_IP6_SUBNET = 15, "INTERNAL_IP6_SUBNET";
    MIP6_HOME_PREFIX = 16, "MIP6_HOME_PREFIX";
    INTERNAL_IP6_LINK = 17, "INTERNAL_IP6_LINK";
    INTERNAL_IP6_PREFIX = 18, "INTERNAL_IP6_PREFIX";
    HOME_AGENT_ADDRESS = 19, "HOME_AGENT_ADDRESS";
    P_CSCF_IP4_ADDRESS = 20, "P_CSCF_IP4_ADDRESS";
    P_CSCF_IP6_ADDRESS = 21, "P_CSCF_IP6_ADDRESS";
    FTT_KAT = 22, "FTT_KAT";
    EXTERNAL_SOURCE_IP4_NAT_INFO = 23, "EXTERNAL_SOURCE_IP4_NAT_INFO";
    TIMEOUT_PERIOD_FOR_LIVENESS_CHECK = 24, "TIMEOUT_PERIOD_FOR_LIVENESS_CHECK";
    INTERNAL_DNS_DOMAIN = 25, "INTERNAL_DNS_DOMAIN";
    INTERNAL_DNSSEC_TA = 26, "INTERNAL_DNSSEC_TA";
    ENCDNS_IP4 = 27, "ENCDNS_IP4";
    ENCDNS_IP6 = 28, "ENCDNS_IP6";
    ENCDNS_DIGEST_INFO = 29, "ENCDNS_DIGEST_INFO";
}

registry! {
    /// IKEv2 Hash Algorithms, in SIGNATURE_HASH_ALGORITHMS (RFC 7427 4).
    HashAlgorithm(u16), "hash";
    SHA1 = 1, "SHA1";
    SHA2_256 = 2, "SHA2_256";
    SHA2_384 = 3, "SHA2_384";
    SHA2_512 = 4, "SHA2_512";
    IDENTITY = 5, "Identity";
    STREEBOG_256 = 6, "STREEBOG_256";
    STREEBOG_512 = 7, "STREEBOG_512";
}

registry! {
    /// IPCOMP Transform IDs, in IPCOMP_SUPPORTED (RFC 7296 3.10.1).
    IpcompId(u8), "IPCOMP";
    IPCOMP_OUI = 1, "IPCOMP_OUI";
    IPCOMP_DEFLATE = 2, "IPCOMP_DEFLATE";
    IPCOMP_LZS = 3, "IPCOMP_LZS";
    IPCOMP_LZJH = 4, "IPCOMP_LZJH";
}

registry! {
    /// Gateway Identity Types, in REDIRECT (RFC 5685 9.2).
    GatewayIdType(u8), "gateway identity";
    IPV4 = 1, "IPv4 address of the VPN gateway";
    IPV6 = 2, "IPv6 address of the VPN gateway";
    FQDN = 3, "FQDN of the VPN gateway";
}

registry! {
    /// ROHC Attribute Types, in ROHC_SUPPORTED (RFC 5857 3.1.1).
    RohcAttribute(u16), "ROHC attribute";
    MAXIMUM_CONTEXT_IDENTIFIER = 1, "Maximum Context Identifier";
    ROHC_PROFILE = 2, "ROHC Profile";
    ROHC_INTEGRITY_ALGORITHM = 3, "ROHC Integrity Algorithm";
    ROHC_ICV_LENGTH_IN_BYTES = 4, "ROHC ICV Length in bytes";
    MAXIMUM_RECONSTRUCTED_RECEPTION_UNIT = 5, "Maximum Reconstructed Reception Unit";
}

registry! {
    /// Secure Password Methods, in SECURE_PASSWORD_METHODS (RFC 6467 5).
    SecurePasswordMethod(u16), "secure password method";
    PACE = 1, "PACE";
    AUGPAKE = 2, "AugPAKE";
    SECURE_PSK_AUTHENTICATION = 3, "Secure PSK Authentication";
}

registry! {
    /// Post-quantum Preshared Key ID Types, in PPK_IDENTITY (RFC 8784 5.1).
    PpkIdType(u8), "PPK id type";
    PPK_ID_OPAQUE = 1, "PPK_ID_OPAQUE";
    PPK_ID_FIXED = 2, "PPK_ID_FIXED";
}
