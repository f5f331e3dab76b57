//! How the boxes lay out their messages, as data.

use super::{ExtraData, LayoutData, PayloadData};
use crate::engine::Place;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType};

/// Cisco's vendor IDs are ASCII without a terminating zero.
pub(super) const DELETE_REASON: &[u8] = b"CISCO-DELETE-REASON";
pub(super) const COPYRIGHT: &[u8] = b"CISCO(COPYRIGHT)&Copyright (c) 2009 Cisco Systems, Inc.";
pub(super) const DYNAMIC_ROUTE: &[u8] = b"CISCO-DYNAMIC-ROUTE";
pub(super) const FLEXVPN: &[u8] = b"FLEXVPN-SUPPORTED";
/// MD5 of "FRAGMENTATION": Cisco's fragmentation from before RFC 7383.
pub(super) const FRAGMENTATION: &[u8] =
    &[0x40, 0x48, 0xb7, 0xd5, 0x6e, 0xbc, 0xe8, 0x85, 0x25, 0xe7, 0xde, 0x7f, 0x00, 0xd6, 0xc2, 0xd3];

const SA: Place = Place::Of(PayloadType::SA);
const KE: Place = Place::Of(PayloadType::KE);
const NONCE: Place = Place::Of(PayloadType::NONCE);
const IDI: Place = Place::Of(PayloadType::IDI);
const IDR: Place = Place::Of(PayloadType::IDR);
const CERT: Place = Place::Of(PayloadType::CERT);
const CERTREQ: Place = Place::Of(PayloadType::CERTREQ);
const AUTH: Place = Place::Of(PayloadType::AUTH);
const CP: Place = Place::Of(PayloadType::CP);
const TSI: Place = Place::Of(PayloadType::TSI);
const TSR: Place = Place::Of(PayloadType::TSR);
const NOTIFIES: Place = Place::Of(PayloadType::NOTIFY);
const VENDOR_IDS: Place = Place::VendorIds(u8::MAX);
const NATD_S: Place = Place::Notify(NotifyType::NAT_DETECTION_SOURCE_IP);
const NATD_D: Place = Place::Notify(NotifyType::NAT_DETECTION_DESTINATION_IP);
const FRAG: Place = Place::Notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
const HASHES: Place = Place::Notify(NotifyType::SIGNATURE_HASH_ALGORITHMS);
const CHILDLESS: Place = Place::Notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED);
const CONTACT: Place = Place::Notify(NotifyType::INITIAL_CONTACT);
const TRANSPORT: Place = Place::Notify(NotifyType::USE_TRANSPORT_MODE);
const WINDOW: Place = Place::Notify(NotifyType::SET_WINDOW_SIZE);
const NO_TFC: Place = Place::Notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED);
const ALL_FRAGMENTS: Place = Place::Notify(NotifyType::NON_FIRST_FRAGMENTS_ALSO);
const MOBIKE: Place = Place::Notify(NotifyType::MOBIKE_SUPPORTED);

const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
const IKE_AUTH: ExchangeType = ExchangeType::IKE_AUTH;

const fn layout(
    exchange: ExchangeType,
    response: bool,
    order: &'static [Place],
    extras: &'static [ExtraData],
) -> LayoutData {
    LayoutData { exchange, response, order, extras }
}

const fn notify(with: Place, kind: NotifyType, data: &'static [u8]) -> ExtraData {
    ExtraData { with, payload: PayloadData::Notify(kind, data) }
}

/// Padding for traffic flow confidentiality is not wanted; fragments other than the first one may travel.
const TFC: ExtraData = notify(SA, NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED, &[]);
const NFF: ExtraData = notify(SA, NotifyType::NON_FIRST_FRAGMENTS_ALSO, &[]);

// IOS-XE.

const IOS_INIT_ORDER: &[Place] = &[SA, KE, NONCE, Place::VendorIds(4), NATD_S, NATD_D, Place::Others, FRAG, VENDOR_IDS];
/// Only where RFC 7383 is announced, which is off by default.
const IOS_INIT_EXTRAS: &[ExtraData] = &[ExtraData { with: FRAG, payload: PayloadData::Vendor(FRAGMENTATION) }];
/// A window of 5 or 20 is what the box announces. Ours is 1, and so we say.
const IOS_WINDOW: ExtraData = notify(SA, NotifyType::SET_WINDOW_SIZE, &[0, 0, 0, 1]);
/// Application version, then what Cisco numbers split DNS, banner, configuration URL, backup gateway, default domain.
const IOS_ASKS: &[u16] = &[7, 28675, 28672, 28692, 28681, 28674];

pub(super) const IOS: &[LayoutData] = &[
    layout(INIT, false, IOS_INIT_ORDER, IOS_INIT_EXTRAS),
    layout(INIT, true, IOS_INIT_ORDER, IOS_INIT_EXTRAS),
    layout(
        IKE_AUTH,
        false,
        &[
            VENDOR_IDS,
            IDI,
            CERT,
            CERTREQ,
            IDR,
            AUTH,
            CP,
            SA,
            TSI,
            TSR,
            CONTACT,
            TRANSPORT,
            WINDOW,
            NO_TFC,
            ALL_FRAGMENTS,
            NOTIFIES,
        ],
        &[
            ExtraData { with: IDI, payload: PayloadData::Vendor(DELETE_REASON) },
            ExtraData { with: IDI, payload: PayloadData::ConfigRequest(IOS_ASKS) },
            IOS_WINDOW,
            TFC,
            NFF,
        ],
    ),
    layout(
        IKE_AUTH,
        true,
        &[VENDOR_IDS, IDR, CERT, AUTH, CP, SA, TSI, TSR, TRANSPORT, WINDOW, NO_TFC, ALL_FRAGMENTS, NOTIFIES],
        &[ExtraData { with: IDR, payload: PayloadData::Vendor(DELETE_REASON) }, IOS_WINDOW, TFC, NFF],
    ),
];

// ASA.

/// Two authorities that nobody knows.
const ASA_AUTHORITIES: &[u8] = b"ikelab authority oneikelab authority two";

pub(super) const ASA: &[LayoutData] = &[
    layout(INIT, false, &[SA, KE, NONCE, Place::VendorIds(2), NATD_S, NATD_D, Place::Others, FRAG, VENDOR_IDS], &[]),
    layout(
        INIT,
        true,
        &[SA, KE, NONCE, Place::VendorIds(2), NATD_S, NATD_D, CERTREQ, Place::Others, FRAG, VENDOR_IDS],
        &[ExtraData { with: SA, payload: PayloadData::CertificateRequest(ASA_AUTHORITIES) }],
    ),
    layout(
        IKE_AUTH,
        false,
        &[
            VENDOR_IDS,
            IDI,
            CERT,
            CERTREQ,
            IDR,
            AUTH,
            CP,
            SA,
            TSI,
            TSR,
            CONTACT,
            TRANSPORT,
            NO_TFC,
            ALL_FRAGMENTS,
            NOTIFIES,
        ],
        &[ExtraData { with: IDI, payload: PayloadData::Vendor(DELETE_REASON) }, TFC, NFF],
    ),
    layout(
        IKE_AUTH,
        true,
        &[VENDOR_IDS, IDR, CERT, AUTH, CP, SA, TSI, TSR, TRANSPORT, NO_TFC, ALL_FRAGMENTS, Place::Others, MOBIKE],
        &[ExtraData { with: IDR, payload: PayloadData::Vendor(DELETE_REASON) }, TFC, NFF],
    ),
];

// strongSwan.

/// SHA2-256, SHA2-384, SHA2-512 and identity: what we take as well.
const SWAN_HASHES: &[u8] = &[0, 2, 0, 3, 0, 4, 0, 5];

pub(super) const STRONGSWAN: &[LayoutData] = &[
    layout(
        INIT,
        false,
        &[SA, KE, NONCE, NATD_S, NATD_D, FRAG, HASHES, Place::Others],
        &[notify(SA, NotifyType::SIGNATURE_HASH_ALGORITHMS, SWAN_HASHES)],
    ),
    layout(INIT, true, &[SA, KE, NONCE, NATD_S, NATD_D, CERTREQ, FRAG, HASHES, CHILDLESS, Place::Others], &[]),
    layout(IKE_AUTH, false, &[IDI, CERT, CONTACT, CERTREQ, IDR, AUTH, CP, TRANSPORT, SA, TSI, TSR, Place::Others], &[]),
    layout(IKE_AUTH, true, &[IDR, CERT, AUTH, CP, TRANSPORT, SA, TSI, TSR, Place::Others], &[]),
];
