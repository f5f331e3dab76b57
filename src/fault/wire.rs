//! Primitives that change the inside of SK, fragments, and datagrams.

use super::action::{Action, FragmentEdit, Redirect};
use super::octets::resolve;
use crate::engine::{Fragment, Outgoing, SkBody};
use crate::net::{Class, NON_ESP_MARKER, SocketRole};
use crate::wire::{Header, decode};

/// Blocks of every cipher fit into this many octets.
const BLOCK: usize = 16;

/// Changes the inside of SK; true if anything changed.
pub(super) fn edit_body(action: &Action, body: &mut SkBody) -> bool {
    let before = body.clone();
    match action {
        Action::Padding { len, value, pad_length } => {
            body.padding = vec![*value; *len];
            body.pad_length = pad_length.unwrap_or_else(|| u8::try_from(*len).unwrap_or(u8::MAX));
        }
        Action::MorePadding { octets, value } => {
            // Whole blocks more, as far as the pad length octet can count them.
            let room = (usize::from(u8::MAX) - body.padding.len().min(255)) / BLOCK * BLOCK;
            let len = body.padding.len() + octets.next_multiple_of(BLOCK).min(room);
            body.padding = vec![*value; len];
            body.pad_length = u8::try_from(len).unwrap_or(u8::MAX);
        }
        Action::Iv(edit) => {
            let len = body.iv.len();
            edit.apply(&mut body.iv);
            // The cipher reads as many octets as it needs.
            body.iv.resize(len, 0);
        }
        Action::Inner(edit) if edit.apply(&mut body.inner) => pad(body),
        _ => {}
    }
    *body != before
}

/// Padding that fits whatever the cipher's block is.
fn pad(body: &mut SkBody) {
    let len = (body.inner.len() + 1).next_multiple_of(BLOCK) - body.inner.len() - 1;
    body.padding = vec![0; len];
    body.pad_length = len as u8;
}

/// Changes fragments; true if anything changed.
pub(super) fn edit_fragments(edit: &FragmentEdit, fragments: &mut Vec<Fragment>) -> bool {
    let before = fragments.clone();
    let several = fragments.len() > 1;
    let find = |fragments: &[Fragment], number: u16| fragments.iter().position(|f| f.number == number);
    match edit {
        FragmentEdit::Tiny(size) => *fragments = pieces(fragments, (*size).max(1)),
        // Everything else is about a message in several pieces.
        _ if !several => {}
        FragmentEdit::Repeat(number) | FragmentEdit::Overlap(number) => {
            if let Some(at) = find(fragments, *number) {
                let mut copy = fragments[at].clone();
                if matches!(edit, FragmentEdit::Overlap(_)) {
                    copy.inner.iter_mut().for_each(|octet| *octet ^= 0xff);
                }
                fragments.insert(at + 1, copy);
            }
        }
        FragmentEdit::Reverse => fragments.reverse(),
        FragmentEdit::Endless => fragments.iter_mut().for_each(|fragment| fragment.total = u16::MAX),
        FragmentEdit::Renumber(from, to) => with(fragments, *from, |fragment| fragment.number = *to),
        FragmentEdit::Total(number, total) => with(fragments, *number, |fragment| fragment.total = *total),
        FragmentEdit::Garble(number) => with(fragments, *number, |fragment| fragment.inner.fill(0)),
        FragmentEdit::Empty(number) => with(fragments, *number, |fragment| fragment.inner.clear()),
        FragmentEdit::Surplus => {
            if let Some(last) = fragments.last().cloned() {
                fragments.push(Fragment { number: last.total.saturating_add(1), ..last });
            }
        }
    }
    *fragments != before
}

fn with(fragments: &mut [Fragment], number: u16, change: impl Fn(&mut Fragment)) {
    fragments.iter_mut().filter(|fragment| fragment.number == number).for_each(change);
}

fn pieces(fragments: &[Fragment], size: usize) -> Vec<Fragment> {
    let whole: Vec<u8> = fragments.iter().flat_map(|fragment| fragment.inner.iter().copied()).collect();
    let pieces = whole.chunks(size);
    let total = u16::try_from(pieces.len()).unwrap_or(u16::MAX);
    pieces.zip(1..=u16::MAX).map(|(inner, number)| Fragment { number, total, inner: inner.to_vec() }).collect()
}

/// Changes one datagram; true if anything changed. `beside` is sent with it.
pub(super) fn edit_datagram(action: &Action, datagram: &mut Outgoing) -> bool {
    let before = datagram.clone();
    let bytes = &mut datagram.bytes;
    match action {
        Action::Delay(by) => datagram.after += *by,
        Action::Corrupt { offset, mask } => {
            if let Some(at) = resolve(*offset, bytes.len()) {
                bytes[at] ^= mask;
            }
        }
        Action::CorruptIv(mask) => {
            let iv = decode(bytes).ok().and_then(|decoded| decoded.sk).map(|sk| sk.body.start);
            if let Some(first) = iv.and_then(|at| bytes.get_mut(at)) {
                *first ^= mask;
            }
        }
        Action::Truncate(len) => bytes.truncate(*len),
        Action::Extend(more) => bytes.resize(bytes.len() + more, 0),
        Action::ShortIcv(by) => shorten_icv(bytes, *by),
        Action::Redirect(redirect) => redirected(datagram, *redirect),
        Action::WrongMarker => match datagram.path.role {
            SocketRole::NatT => datagram.class = Class::Verbatim,
            _ => {
                datagram.class = Class::Verbatim;
                bytes.splice(0..0, NON_ESP_MARKER);
            }
        },
        Action::MainMode => {
            if let Some(header) = Header::read(bytes) {
                *bytes = main_mode(header.spi_i.to_be_bytes());
            }
        }
        _ => {}
    }
    *datagram != before
}

/// Cuts an SK payload's end and says so in the lengths: the integrity check is then of the wrong length, not the message.
fn shorten_icv(bytes: &mut Vec<u8>, by: usize) {
    let Some(sk) = decode(bytes).ok().and_then(|decoded| decoded.sk) else { return };
    if by >= sk.body.len() || sk.body.end != bytes.len() {
        return;
    }
    bytes.truncate(bytes.len() - by);
    let (whole, payload) = (bytes.len() as u32, (bytes.len() - sk.payload) as u16);
    bytes[24..28].copy_from_slice(&whole.to_be_bytes());
    bytes[sk.payload + 2..sk.payload + 4].copy_from_slice(&payload.to_be_bytes());
}

fn redirected(datagram: &mut Outgoing, redirect: Redirect) {
    let path = &mut datagram.path;
    match redirect {
        Redirect::FromPort(port) => path.local.set_port(port),
        Redirect::FromAddress(address) => path.local.set_ip(address),
        Redirect::ToPort(port) => path.remote.set_port(port),
        Redirect::OtherSocket => {
            let (role, port) = match path.role {
                SocketRole::Ike => (SocketRole::NatT, 4500),
                _ => (SocketRole::Ike, 500),
            };
            path.role = role;
            path.local.set_port(port);
            path.remote.set_port(port);
        }
    }
}

/// An IKEv1 Main Mode proposal (RFC 2408, RFC 2409): AES-256, SHA-1, pre-shared key, group 14.
fn main_mode(cookie: [u8; 8]) -> Vec<u8> {
    // Attributes in the short format: encryption, key length, hash, group, authentication, life type and seconds.
    let attributes: [(u16, u16); 7] = [(1, 7), (14, 256), (2, 2), (4, 14), (3, 1), (11, 1), (12, 28_800)];
    let mut transform = vec![0, 0, 0, 0, 1, 1, 0, 0];
    for (kind, value) in attributes {
        transform.extend_from_slice(&(0x8000 | kind).to_be_bytes());
        transform.extend_from_slice(&value.to_be_bytes());
    }
    let len = (transform.len() as u16).to_be_bytes();
    transform[2..4].copy_from_slice(&len);
    let mut proposal = vec![0, 0, 0, 0, 1, 1, 0, 1];
    proposal.extend(transform);
    let len = (proposal.len() as u16).to_be_bytes();
    proposal[2..4].copy_from_slice(&len);
    // DOI IPsec, situation SIT_IDENTITY_ONLY.
    let mut sa = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    sa.extend(proposal);
    let len = (sa.len() as u16).to_be_bytes();
    sa[2..4].copy_from_slice(&len);
    let mut message = cookie.to_vec();
    // No responder's cookie; next payload SA; version 1.0; Identity Protection; no flags; message id 0.
    message.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 2, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&(Header::LEN as u32 + sa.len() as u32).to_be_bytes());
    message.extend(sa);
    message
}
