//! Certificates for tests: a root, perhaps intermediates, leaves with one thing wrong each, revocation lists.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    DnValue, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SanType, SerialNumber, SignatureAlgorithm,
};

/// A kind of key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Key {
    pub const ALL: [Key; 5] = [Key::Rsa, Key::P256, Key::P384, Key::P521, Key::Ed25519];

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Key::Rsa => &rcgen::PKCS_RSA_SHA256,
            Key::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Key::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Key::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Key::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }

    fn generate(self) -> KeyPair {
        KeyPair::generate_for(self.algorithm()).expect("a key pair")
    }
}

/// A certification authority.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub struct Leaf {
    pub pem: String,
    pub key: String,
    serial: u64,
}

/// What is wrong with a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    None,
    Expired,
    NotYetValid,
    /// Another name than the identity.
    WrongName,
    /// Only codeSigning.
    WrongUsage,
    /// Only keyEncipherment.
    WrongKeyUsage,
}

fn name(cn: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, DnValue::PrintableString("CH".try_into().expect("two letters")));
    name.push(DnType::OrganizationName, "ikelab");
    name.push(DnType::CommonName, cn);
    name
}

fn ca_params(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Ca {
    pub fn root(cn: &str, key: Key) -> Ca {
        let issuer = CertifiedIssuer::self_signed(ca_params(cn), key.generate()).expect("a root");
        Ca { issuer }
    }

    /// An intermediate below this one.
    pub fn below(&self, cn: &str, key: Key) -> Ca {
        let mut params = ca_params(cn);
        params.use_authority_key_identifier_extension = true;
        let issuer = CertifiedIssuer::signed_by(params, key.generate(), &self.issuer).expect("an intermediate");
        Ca { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its private key, PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for the domain name `name`, which is in the subject too.
    pub fn leaf(&self, name: &str, key: Key, flaw: Flaw) -> Leaf {
        let pair = key.generate();
        let mut params = CertificateParams::default();
        let held = if flaw == Flaw::WrongName { "somebody-else.test" } else { name };
        params.distinguished_name = self::name(held);
        params.subject_alt_names = vec![SanType::DnsName(held.try_into().expect("a name"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Octets of the key itself, so that no two are the same.
        let octets = pair.public_key_raw()[16..23].iter();
        let serial = octets.fold(1, |serial, octet| serial << 8 | u64::from(*octet));
        params.serial_number = Some(SerialNumber::from(serial));
        let days = |n: i64| {
            let day = Duration::from_secs(86_400 * n.unsigned_abs());
            if n < 0 { SystemTime::now() - day } else { SystemTime::now() + day }
        };
        let (from, to) = match flaw {
            Flaw::Expired => (-60, -30),
            Flaw::NotYetValid => (30, 60),
            _ => (-1, 30),
        };
        (params.not_before, params.not_after) = (days(from).into(), days(to).into());
        if flaw == Flaw::WrongKeyUsage {
            params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        }
        if flaw == Flaw::WrongUsage {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }
        let certificate = params.signed_by(&pair, &self.issuer).expect("a leaf");
        Leaf { pem: certificate.pem(), key: pair.serialize_pem(), serial }
    }

    /// A revocation list with these leaves on it.
    pub fn crl(&self, revoked: &[&Leaf]) -> String {
        let now = SystemTime::now();
        let params = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(3600)).into(),
            next_update: (now + Duration::from_secs(86_400)).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|leaf| RevokedCertParams {
                    serial_number: SerialNumber::from(leaf.serial),
                    revocation_time: (now - Duration::from_secs(7200)).into(),
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a revocation list").pem().expect("PEM")
    }
}
