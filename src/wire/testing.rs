//! Sample messages and generators for the tests of this module, and the fuzz target's seed corpus.

use proptest::collection::vec;
use proptest::prelude::*;

use super::registry::*;
use super::*;

/// Octets from hex; white space and what follows `;` on a line are left out.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split(';').next().unwrap_or("").chars())
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hex digit") as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "odd number of hex digits");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn header(exchange: ExchangeType, response: bool, message_id: u32) -> Header {
    let spi_r = if exchange == ExchangeType::IKE_SA_INIT && !response { 0 } else { 0x1122_3344_5566_7788 };
    Header::new(IkeSpi(0x0102_0304_0506_0708), IkeSpi(spi_r), exchange, Flags::of(!response, response), message_id)
}

fn octets(len: usize, first: u8) -> Vec<u8> {
    (0..len).map(|at| first.wrapping_add(at as u8)).collect()
}

/// IKE_SA_INIT request as an ordinary peer sends it: one classic proposal, one AEAD proposal.
pub(super) fn sa_init() -> Message {
    let classic = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: vec![
            Transform::encr(EncrId::ENCR_AES_CBC, Some(256)),
            Transform::integ(IntegId::AUTH_HMAC_SHA2_256_128),
            Transform::prf(PrfId::PRF_HMAC_SHA2_256),
            Transform::ke(KeMethod::MODP_2048),
        ],
    };
    let aead = Proposal {
        number: 2,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: vec![
            Transform::encr(EncrId::ENCR_AES_GCM_16, Some(128)),
            Transform::encr(EncrId::ENCR_AES_GCM_16, Some(256)),
            Transform::prf(PrfId::PRF_HMAC_SHA2_384),
            Transform::ke(KeMethod::ECP_384),
            Transform::ke(KeMethod::CURVE25519),
        ],
    };
    Message::clear(
        header(ExchangeType::IKE_SA_INIT, false, 0),
        vec![
            SaPayload { proposals: vec![classic, aead] }.into(),
            KePayload { group: KeMethod::ECP_384, data: octets(96, 1) }.into(),
            NoncePayload { data: octets(32, 0x40) }.into(),
            NotifyPayload::with_data(NotifyType::NAT_DETECTION_SOURCE_IP, octets(20, 0x60)).into(),
            NotifyPayload::with_data(NotifyType::NAT_DETECTION_DESTINATION_IP, octets(20, 0x80)).into(),
            NotifyPayload::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).into(),
            NotifyPayload::with_data(NotifyType::SIGNATURE_HASH_ALGORITHMS, [0, 2, 0, 3, 0, 5]).into(),
            VendorIdPayload { data: b"ikelab test".to_vec() }.into(),
        ],
    )
}

/// The payloads of an IKE_AUTH request, in clear.
pub(super) fn ike_auth() -> Vec<Payload> {
    let esp = |number, spi: u32, transforms| Proposal {
        number,
        protocol: ProtocolId::ESP,
        spi: spi.to_be_bytes().to_vec(),
        transforms,
    };
    vec![
        Payload::IdI(IdPayload::new(IdType::ID_IPV4_ADDR, vec![203, 0, 113, 10])),
        CertPayload { encoding: CertEncoding::X509_SIGNATURE, data: octets(40, 0x30) }.into(),
        NotifyPayload::new(NotifyType::INITIAL_CONTACT).into(),
        CertReqPayload { encoding: CertEncoding::X509_SIGNATURE, data: octets(40, 0) }.into(),
        Payload::IdR(IdPayload::new(IdType::ID_FQDN, b"gw.example".to_vec())),
        AuthPayload { method: AuthMethod::SHARED_KEY_MIC, data: octets(32, 0) }.into(),
        CpPayload {
            kind: CfgType::CFG_REQUEST,
            attributes: vec![
                CfgAttribute { kind: CfgAttr::INTERNAL_IP4_ADDRESS, value: Vec::new() },
                CfgAttribute { kind: CfgAttr::INTERNAL_IP4_SUBNET, value: vec![10, 0, 0, 0, 255, 0, 0, 0] },
            ],
        }
        .into(),
        SaPayload {
            proposals: vec![esp(
                1,
                0xc0ff_ee01,
                vec![
                    Transform::encr(EncrId::ENCR_AES_CBC, Some(256)),
                    Transform::integ(IntegId::AUTH_HMAC_SHA2_256_128),
                    Transform::esn(EsnId::NO_ESN),
                ],
            )],
        }
        .into(),
        Payload::TsI(TsPayload {
            selectors: vec![
                TrafficSelector {
                    protocol: 6,
                    start_port: 80,
                    end_port: 80,
                    range: TsRange::V4 { start: [10, 10, 10, 7].into(), end: [10, 10, 10, 7].into() },
                },
                TrafficSelector::from_net([10, 10, 10, 0].into(), 24),
            ],
        }),
        Payload::TsR(TsPayload {
            selectors: vec![
                TrafficSelector::any_v6(),
                TrafficSelector {
                    protocol: 0,
                    start_port: 0,
                    end_port: 0,
                    range: TsRange::Unknown { kind: TsType::TS_SECLABEL, body: b"label".to_vec() },
                },
            ],
        }),
    ]
}

/// The payloads of an INFORMATIONAL request with everything that the others lack.
pub(super) fn informational() -> Vec<Payload> {
    let rsa = Attribute { kind: 99, value: AttributeValue::Long(vec![1, 2, 3]) };
    vec![
        DeletePayload::esp(&[0xc0ff_ee01, 0xc0ff_ee02]).into(),
        DeletePayload::ike().into(),
        NotifyPayload::for_child(NotifyType::REKEY_SA, ProtocolId::ESP, 0xc0ff_ee01).into(),
        EapPayload { data: vec![1, 7, 0, 6, 26, 0] }.into(),
        RawPayload { kind: PayloadType(200), critical: true, body: vec![0xde, 0xad] }.into(),
        RawPayload { kind: PayloadType::GSPM, critical: false, body: Vec::new() }.into(),
        SaPayload {
            proposals: vec![Proposal {
                number: 1,
                protocol: ProtocolId(9),
                spi: vec![1, 2, 3, 4, 5, 6, 7, 8],
                transforms: vec![Transform { kind: TransformType(77), id: 65000, attributes: vec![rsa] }],
            }],
        }
        .into(),
    ]
}

/// An encoded message without SK.
pub(super) fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, message, None);
    out
}

/// A datagram with an encrypted payload of this kind whose protected octets are given.
pub(super) fn with_encrypted(kind: PayloadType, first_inner: PayloadType, body: &[u8]) -> Vec<u8> {
    let mut header = header(ExchangeType::IKE_AUTH, false, 1);
    header.next = kind;
    header.length = (Header::LEN + 4 + body.len()) as u32;
    let mut out = Vec::new();
    header.write(&mut out);
    out.extend_from_slice(&[first_inner.0, 0]);
    out.extend_from_slice(&((4 + body.len()) as u16).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// The seed corpus: file name and contents.
pub(super) fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let notify = |kind, data: &[u8]| {
        encoded(&Message::clear(
            header(ExchangeType::IKE_SA_INIT, true, 0),
            vec![NotifyPayload::with_data(kind, data).into()],
        ))
    };
    let in_clear = |exchange, payloads: Vec<Payload>| encoded(&Message::clear(header(exchange, false, 1), payloads));
    // As the target reads it besides: the first octet is the first payload's type, a chain follows.
    let chain = |payloads: &[Payload]| {
        let mut out = vec![0];
        let first = encode_chain(&mut out, payloads, PayloadType::NONE, None, "");
        out[0] = first.0;
        out
    };
    let init = encoded(&sa_init());
    let edited = |path: &str, value: &[u8]| {
        let (mut map, mut out) = (FieldMap::new(), Vec::new());
        encode_into(&mut out, &sa_init(), Some(&mut map));
        FieldEdit::Set { path: path.to_owned(), value: value.to_vec() }.apply(&map, &mut out).expect("a field of it");
        out
    };
    let skf = hex("0001 0003 00112233445566778899aabbccddeeff 0011223344556677");
    vec![
        ("sa-init-request", init.clone()),
        ("sa-init-cookie", notify(NotifyType::COOKIE, &octets(20, 9))),
        ("sa-init-invalid-ke", notify(NotifyType::INVALID_KE_PAYLOAD, &[0, 19])),
        ("sa-init-no-proposal", notify(NotifyType::NO_PROPOSAL_CHOSEN, &[])),
        ("auth-in-clear", in_clear(ExchangeType::IKE_AUTH, ike_auth())),
        ("auth-chain", chain(&ike_auth())),
        ("informational-in-clear", in_clear(ExchangeType::INFORMATIONAL, informational())),
        ("informational-chain", chain(&informational())),
        ("informational-empty", in_clear(ExchangeType::INFORMATIONAL, Vec::new())),
        ("auth-sk", with_encrypted(PayloadType::SK, PayloadType::IDI, &octets(64, 3))),
        ("auth-skf", with_encrypted(PayloadType::SKF, PayloadType::IDI, &skf)),
        ("bad-skf-short", with_encrypted(PayloadType::SKF, PayloadType::IDI, &[0, 1])),
        ("bad-truncated", init[..100].to_vec()),
        ("bad-header-only-half", init[..14].to_vec()),
        ("bad-header-length", edited("header.length", &[0xff; 4])),
        ("bad-payload-length", edited("ke.length", &[0xff, 0xff])),
        ("bad-payload-length-zero", edited("ke.length", &[0, 0])),
        ("bad-next-payload", edited("sa.next", &[0])),
        ("bad-proposal-length", edited("sa.proposal[0].length", &[0, 60])),
        ("bad-transform-count", edited("sa.proposal[0].transforms", &[255])),
        ("bad-transform-last", edited("sa.proposal[0].transform[1].last", &[0])),
        ("bad-spi-size", edited("sa.proposal[1].spi_size", &[200])),
        ("reserved-bits-set", edited("sa.critical", &[0xff])),
    ]
}

/// Any message that can be encoded and decoded without loss.
pub(super) fn any_message() -> impl Strategy<Value = Message> {
    let header = (any::<[u64; 2]>(), any::<[u8; 3]>(), any::<u32>()).prop_map(|([i, r], [v, x, flags], id)| Header {
        version: v,
        ..Header::new(IkeSpi(i), IkeSpi(r), ExchangeType(x), Flags(flags), id)
    });
    (header, any_payloads()).prop_map(|(header, outer)| Message::clear(header, outer))
}

pub(super) fn any_payloads() -> impl Strategy<Value = Vec<Payload>> {
    vec(any_payload(), 0..6)
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let byte_and_data = || (any::<u8>(), data());
    let structured = [PayloadType::NONE, PayloadType::SK, PayloadType::SKF];
    let raw_kind = any::<u8>().prop_map(PayloadType).prop_filter("has no structure", move |kind| {
        !structured.contains(kind) && !(PayloadType::SA..=PayloadType::EAP).contains(kind)
    });
    prop_oneof![
        3 => vec(any_proposal(), 0..4).prop_map(|proposals| SaPayload { proposals }.into()),
        1 => (any::<u16>(), data()).prop_map(|(group, data)| KePayload { group: KeMethod(group), data }.into()),
        1 => byte_and_data().prop_map(|(kind, data)| Payload::IdI(IdPayload::new(IdType(kind), data))),
        1 => byte_and_data().prop_map(|(kind, data)| Payload::IdR(IdPayload::new(IdType(kind), data))),
        1 => byte_and_data().prop_map(|(kind, data)| CertPayload { encoding: CertEncoding(kind), data }.into()),
        1 => byte_and_data().prop_map(|(kind, data)| CertReqPayload { encoding: CertEncoding(kind), data }.into()),
        1 => byte_and_data().prop_map(|(kind, data)| AuthPayload { method: AuthMethod(kind), data }.into()),
        1 => data().prop_map(|data| NoncePayload { data }.into()),
        1 => (any::<u8>(), data(), any::<u16>(), data()).prop_map(|(protocol, spi, kind, data)| {
            NotifyPayload { protocol: ProtocolId(protocol), spi, kind: NotifyType(kind), data }.into()
        }),
        1 => any_delete().prop_map(Payload::from),
        1 => data().prop_map(|data| VendorIdPayload { data }.into()),
        1 => any_selectors().prop_map(|selectors| Payload::TsI(TsPayload { selectors })),
        1 => any_selectors().prop_map(|selectors| Payload::TsR(TsPayload { selectors })),
        1 => (any::<u8>(), vec((0u16..0x8000, data()), 0..4)).prop_map(|(kind, attributes)| {
            let attributes =
                attributes.into_iter().map(|(kind, value)| CfgAttribute { kind: CfgAttr(kind), value }).collect();
            CpPayload { kind: CfgType(kind), attributes }.into()
        }),
        1 => data().prop_map(|data| EapPayload { data }.into()),
        1 => (raw_kind, any::<bool>(), data()).prop_map(|(kind, critical, body)| RawPayload { kind, critical, body }.into()),
    ]
}

fn any_proposal() -> impl Strategy<Value = Proposal> {
    let value = prop_oneof![any::<u16>().prop_map(AttributeValue::Short), data().prop_map(AttributeValue::Long)];
    let attribute = (0u16..0x8000, value).prop_map(|(kind, value)| Attribute { kind, value });
    let transform = (any::<u8>(), any::<u16>(), vec(attribute, 0..3)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType(kind),
        id,
        attributes,
    });
    (any::<u8>(), any::<u8>(), data(), vec(transform, 0..6)).prop_map(|(number, protocol, spi, transforms)| Proposal {
        number,
        protocol: ProtocolId(protocol),
        spi,
        transforms,
    })
}

fn any_delete() -> impl Strategy<Value = DeletePayload> {
    (any::<u8>(), 0u8..9)
        .prop_flat_map(|(protocol, size)| {
            let most = if size == 0 { 1 } else { 6 };
            (Just(protocol), Just(size), vec(vec(any::<u8>(), usize::from(size)), 0..most))
        })
        .prop_map(|(protocol, spi_size, spis)| DeletePayload { protocol: ProtocolId(protocol), spi_size, spis })
}

fn any_selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
    vec(any_selector(), 0..5)
}

pub(super) fn any_selector() -> impl Strategy<Value = TrafficSelector> {
    let v4 = any::<[u32; 2]>().prop_map(|[start, end]| TsRange::V4 { start: start.into(), end: end.into() });
    let v6 = any::<[u128; 2]>().prop_map(|[start, end]| TsRange::V6 { start: start.into(), end: end.into() });
    let known =
        (any::<u8>(), any::<[u16; 2]>(), prop_oneof![v4, v6]).prop_map(|(protocol, [start_port, end_port], range)| {
            TrafficSelector { protocol, start_port, end_port, range }
        });
    let kind = any::<u8>().prop_filter("unknown type", |kind| !matches!(kind, 7 | 8));
    let unknown = (any::<u8>(), kind, data()).prop_map(|(protocol, kind, body)| TrafficSelector {
        protocol,
        start_port: 0,
        end_port: 0,
        range: TsRange::Unknown { kind: TsType(kind), body },
    });
    prop_oneof![3 => known, 1 => unknown]
}
