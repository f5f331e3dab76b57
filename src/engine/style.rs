//! How our messages are laid out: the order of their payloads, and payloads that an implementation is known by and that
//! change nothing.
//!
//! RFC 7296 2.5 lets payloads stand in any order, so this is a choice of honest peers. It is made before the seams of
//! [`super::Tamper`] and before encoding, so that it is signed, fragmented and traced like everything else.

use super::sa::IkeSa;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType};
use crate::wire::{Message, Payload};

/// The layout of one kind of message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageStyle {
    /// In this exchange.
    pub exchange: ExchangeType,
    /// Its response, or its request.
    pub response: bool,
    /// Where the payloads stand. What no place names comes at [`Place::Others`], or else last, in the order of the RFC.
    /// COOKIE comes first whatever this says (RFC 7296 2.6).
    pub order: Vec<Place>,
    /// Payloads that are sent besides those that the exchange needs.
    pub extras: Vec<Extra>,
}

/// A place in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// All payloads of a type, in the order in which they were made. Of notifies, those that have no place of their own.
    Of(PayloadType),
    /// A notify.
    Notify(NotifyType),
    /// So many of the vendor IDs that have not been placed yet.
    VendorIds(u8),
    /// Whatever else there is.
    Others,
}

/// A payload that changes nothing for us, but by which an implementation is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extra {
    /// It is sent only in a message that has one of these already.
    pub with: Place,
    /// What is sent, unless the message has a payload of its kind: a notify of the same type, a vendor ID of the same octets,
    /// or any other payload of the same type.
    pub payload: Payload,
}

impl MessageStyle {
    /// Adds the extras and puts everything into its place.
    pub(super) fn arrange(&self, payloads: &mut Vec<Payload>) {
        for extra in &self.extras {
            let anchored = payloads.iter().any(|p| extra.with.takes(p));
            if anchored && !payloads.iter().any(|p| same_kind(p, &extra.payload)) {
                payloads.push(extra.payload.clone());
            }
        }
        let named: Vec<NotifyType> = self.order.iter().filter_map(|place| place.notify()).collect();
        let mut left: Vec<Option<Payload>> = payloads.drain(..).map(Some).collect();
        let mut take = |wanted: &dyn Fn(&Payload) -> bool, most: usize| -> Vec<Payload> {
            let found = left.iter_mut().filter(|slot| slot.as_ref().is_some_and(wanted)).take(most);
            found.filter_map(Option::take).collect()
        };
        payloads.extend(take(&|p| Place::Notify(NotifyType::COOKIE).takes(p), usize::MAX));
        let (mut before, mut after, mut middle) = (Vec::new(), Vec::new(), false);
        for place in &self.order {
            let found = match place {
                Place::Others => {
                    middle = true;
                    continue;
                }
                Place::VendorIds(many) => take(&|p| place.takes(p), usize::from(*many)),
                Place::Of(PayloadType::NOTIFY) => {
                    take(&|p| p.as_notify().is_some_and(|n| !named.contains(&n.kind)), usize::MAX)
                }
                _ => take(&|p| place.takes(p), usize::MAX),
            };
            if middle { after.extend(found) } else { before.extend(found) }
        }
        payloads.append(&mut before);
        payloads.extend(take(&|_| true, usize::MAX));
        payloads.append(&mut after);
    }
}

impl Place {
    fn takes(self, payload: &Payload) -> bool {
        match self {
            Place::Of(kind) => payload.kind() == kind,
            Place::Notify(kind) => payload.as_notify().is_some_and(|n| n.kind == kind),
            Place::VendorIds(_) => payload.kind() == PayloadType::VENDOR,
            Place::Others => true,
        }
    }

    fn notify(self) -> Option<NotifyType> {
        match self {
            Place::Notify(kind) => Some(kind),
            _ => None,
        }
    }
}

fn same_kind(there: &Payload, extra: &Payload) -> bool {
    match (there, extra) {
        (Payload::Notify(a), Payload::Notify(b)) => a.kind == b.kind,
        (Payload::Vendor(a), Payload::Vendor(b)) => a.data == b.data,
        _ => there.kind() == extra.kind(),
    }
}

impl IkeSa {
    /// Lays out a message of ours as the connection wants it.
    pub(super) fn arrange(&self, message: &mut Message) {
        let (exchange, response) = (message.header.exchange, message.header.flags.is_response());
        let styles = &self.spec.behaviour.style;
        if let Some(style) = styles.iter().find(|s| s.exchange == exchange && s.response == response) {
            style.arrange(message.sk.as_mut().unwrap_or(&mut message.outer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{NoncePayload, NotifyPayload, VendorIdPayload};

    fn nonce() -> Payload {
        Payload::Nonce(NoncePayload { data: vec![1; 16] })
    }

    fn notify(kind: NotifyType) -> Payload {
        Payload::Notify(NotifyPayload::new(kind))
    }

    fn vendor(octet: u8) -> Payload {
        Payload::Vendor(VendorIdPayload { data: vec![octet] })
    }

    fn style(order: &[Place], extras: Vec<Extra>) -> MessageStyle {
        MessageStyle { exchange: ExchangeType::IKE_SA_INIT, response: false, order: order.to_vec(), extras }
    }

    fn arranged(style: &MessageStyle, payloads: Vec<Payload>) -> Vec<Payload> {
        let mut payloads = payloads;
        style.arrange(&mut payloads);
        payloads
    }

    #[test]
    fn what_has_no_place_keeps_its_order_and_nothing_is_lost() {
        let all = vec![notify(NotifyType::COOKIE), nonce(), vendor(1), notify(NotifyType::INITIAL_CONTACT), vendor(2)];
        assert_eq!(arranged(&style(&[], vec![]), all.clone()), all);
        let order = [Place::Of(PayloadType::NOTIFY), Place::Of(PayloadType::VENDOR)];
        let got = arranged(&style(&order, vec![]), all.clone());
        let wanted = [notify(NotifyType::COOKIE), notify(NotifyType::INITIAL_CONTACT), vendor(1), vendor(2), nonce()];
        assert_eq!(got, wanted);
    }

    #[test]
    fn others_stand_between_and_vendor_ids_can_be_parted() {
        let all = vec![vendor(1), notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED), vendor(2), vendor(3), nonce()];
        let order = [
            Place::VendorIds(2),
            Place::Others,
            Place::Notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED),
            Place::VendorIds(u8::MAX),
        ];
        let got = arranged(&style(&order, vec![]), all);
        let wanted = [vendor(1), vendor(2), nonce(), notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED), vendor(3)];
        assert_eq!(got, wanted);
    }

    #[test]
    fn an_extra_comes_with_its_anchor_only_and_once() {
        let extra =
            Extra { with: Place::Of(PayloadType::NONCE), payload: notify(NotifyType::NON_FIRST_FRAGMENTS_ALSO) };
        let style = style(&[], vec![extra.clone()]);
        assert_eq!(arranged(&style, vec![vendor(1)]), [vendor(1)]);
        assert_eq!(arranged(&style, vec![nonce()]), [nonce(), extra.payload.clone()]);
        assert_eq!(arranged(&style, vec![nonce(), extra.payload.clone()]), [nonce(), extra.payload.clone()]);
    }
}
