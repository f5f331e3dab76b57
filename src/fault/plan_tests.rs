//! Every primitive on real messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::fault::OctetEdit;
use crate::net::Path;
use crate::wire::registry::{KeMethod, NotifyType, PayloadType};
use crate::wire::{IkeSpi, KePayload, NoncePayload, encode_into};

fn sa(initiator: bool, tunnel: u64) -> SaCx {
    SaCx {
        sa: Some(SaId { slot: 1, generation: 1 }),
        tunnel: TunnelId(tunnel),
        initiator,
        spis: (IkeSpi(1), IkeSpi(2)),
        established: false,
        next_id: 2,
        now: Instant::from_millis(5),
    }
}

fn cx(exchange: ExchangeType, response: bool, message_id: u32, attempt: u8) -> MsgCx {
    MsgCx { sa: sa(!response, 0), exchange, response, message_id, attempt }
}

fn init_request() -> Message {
    let header = Header::new(IkeSpi(1), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
    let outer = vec![
        Payload::Ke(KePayload { group: KeMethod::CURVE25519, data: vec![7; 32] }),
        Payload::Nonce(NoncePayload { data: vec![9; 32] }),
        Payload::Notify(NotifyPayload::new(NotifyType::INITIAL_CONTACT)),
    ];
    Message { header, outer, sk: None }
}

fn kinds(list: &[Payload]) -> Vec<PayloadType> {
    list.iter().map(Payload::kind).collect()
}

fn path(role: SocketRole) -> Path {
    let port = if role == SocketRole::Ike { 500 } else { 4500 };
    let at = |host: u8| SocketAddr::from(([127, 0, 0, host], port));
    Path { local: at(1), remote: at(2), role }
}

fn outgoing(role: SocketRole) -> Outgoing {
    Outgoing { path: path(role), class: Class::Ike, after: Duration::ZERO, bytes: (0..64).collect() }
}

fn plan(when: When, action: Action, times: Option<u32>) -> FaultPlan {
    FaultPlan::new(vec![Rule { name: "it".into(), when, action, times }], &PlanSeed::from_text("t"))
}

/// Runs a message primitive and lets the message leave.
fn through_message(action: Action) -> (Message, FaultPlan) {
    let mut plan = plan(When::default(), action, None);
    let cx = cx(ExchangeType::IKE_SA_INIT, false, 0, 0);
    let mut message = init_request();
    plan.message(&cx, &mut message);
    (message, plan)
}

#[test]
fn omit_add_duplicate_move_reverse() {
    let (ke, nonce, notify) = (PayloadType::KE, PayloadType::NONCE, PayloadType::NOTIFY);
    let of = PayloadSel::of;
    let cases = [
        (Action::Omit(of(ke)), vec![nonce, notify]),
        (Action::Omit(PayloadSel::notify(NotifyType::INITIAL_CONTACT)), vec![ke, nonce]),
        (Action::Duplicate(of(nonce)), vec![ke, nonce, nonce, notify]),
        (Action::Move { payload: of(ke), first: false }, vec![nonce, notify, ke]),
        (Action::Move { payload: of(notify), first: true }, vec![notify, ke, nonce]),
        (Action::Reverse, vec![notify, nonce, ke]),
        (
            Action::Add { payload: Payload::Notify(NotifyPayload::new(NotifyType::COOKIE)), first: true },
            vec![notify, ke, nonce, notify],
        ),
    ];
    for (action, expected) in cases {
        let (message, plan) = through_message(action.clone());
        assert_eq!(kinds(&message.outer), expected, "{action:?}");
        assert_eq!(plan.log().all().len(), 1, "{action:?}");
    }
}

#[test]
fn a_primitive_that_changes_nothing_has_not_fired() {
    let idle = [
        Action::Omit(PayloadSel::of(PayloadType::AUTH)),
        Action::Omit(PayloadSel::notify(NotifyType::COOKIE)),
        Action::Duplicate(PayloadSel::of(PayloadType::TSI)),
        Action::Move { payload: PayloadSel::of(PayloadType::KE), first: true },
    ];
    for action in idle {
        let (message, plan) = through_message(action.clone());
        assert_eq!(message, init_request(), "{action:?}");
        assert!(plan.log().all().is_empty(), "{action:?}");
    }
}

#[test]
fn inside_sk_comes_first() {
    let mut message = init_request();
    message.sk = Some(vec![
        Payload::Notify(NotifyPayload::new(NotifyType::COOKIE)),
        Payload::Notify(NotifyPayload::new(NotifyType::INITIAL_CONTACT)),
    ]);
    assert!(message::edit(&Action::Omit(PayloadSel::notify(NotifyType::INITIAL_CONTACT)), &mut message, false));
    assert_eq!(message.sk.as_ref().map(Vec::len), Some(1));
    assert_eq!(message.outer.len(), 3);
    // What is only outside is found there.
    assert!(message::edit(&Action::Omit(PayloadSel::of(PayloadType::KE)), &mut message, false));
    assert_eq!(message.outer.len(), 2);
}

#[test]
fn a_changed_message_counts_only_once_it_has_left() {
    let (_, mut plan) = through_message(Action::Omit(PayloadSel::of(PayloadType::KE)));
    let log = plan.log();
    assert_eq!(log.effective("it"), 0);
    // Another message's datagram is no proof.
    plan.datagrams(&cx(ExchangeType::IKE_AUTH, false, 1, 0), &mut vec![outgoing(SocketRole::Ike)]);
    assert_eq!(log.effective("it"), 0);
    // Nor is a transmission from which every datagram was taken.
    plan.datagrams(&cx(ExchangeType::IKE_SA_INIT, false, 0, 0), &mut vec![]);
    assert_eq!(log.effective("it"), 0);
    plan.datagrams(&cx(ExchangeType::IKE_SA_INIT, false, 0, 0), &mut vec![outgoing(SocketRole::Ike)]);
    assert_eq!(log.effective("it"), 1);
}

#[test]
fn field_edits_reach_their_part_only() {
    let message = init_request();
    let mut map = FieldMap::default();
    let mut bytes = Vec::new();
    encode_into(&mut bytes, &message, Some(&mut map));
    let edit = FieldEdit::Add { path: "header.message_id".into(), delta: 1 };
    let path = map.iter().find(|field| field.path.contains("message")).map(|field| field.path.clone());
    let edit = match path {
        Some(path) => FieldEdit::Add { path, delta: 1 },
        None => edit,
    };
    let mut plan = plan(When::default(), Action::Field(edit.clone()), None);
    let cx = cx(ExchangeType::IKE_SA_INIT, false, 0, 0);
    let mut layout = Layout::default();
    plan.layout(&cx, LayoutPart::Outer, &FieldMap::default(), &mut layout);
    assert!(layout.edits.is_empty() && plan.log().all().is_empty());
    plan.layout(&cx, LayoutPart::Inner, &map, &mut layout);
    assert_eq!(layout.edits, vec![edit.clone()]);
    let before = bytes.clone();
    edit.apply(&map, &mut bytes).expect("the field is in the map");
    assert_ne!(bytes, before);
    assert_eq!(plan.log().all().len(), 1);
}

#[test]
fn padding_and_fragments() {
    let mut padding = plan(When::default(), Action::Padding { len: 3, value: 0xaa, pad_length: Some(200) }, None);
    let mut body = SkBody { iv: vec![], inner: vec![1; 12], padding: vec![0; 3], pad_length: 3 };
    let auth = cx(ExchangeType::IKE_AUTH, false, 1, 0);
    padding.plaintext(&auth, &mut body);
    assert_eq!((body.padding, body.pad_length), (vec![0xaa; 3], 200));

    let mut lose = plan(When::default(), Action::OmitFragment(2), None);
    let piece = |number| Fragment { number, total: 3, inner: vec![number as u8] };
    let mut fragments = vec![piece(1), piece(2), piece(3)];
    lose.fragments(&auth, &mut fragments);
    assert_eq!(fragments.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 3]);
    assert!(fragments.iter().all(|f| f.total == 3));
    let mut whole = vec![piece(1)];
    lose.fragments(&auth, &mut whole);
    assert_eq!(lose.log().all().len(), 1, "a message in one piece is left alone and not counted");
}

#[test]
fn datagrams_drop_delay_repeat_corrupt_truncate() {
    let auth = cx(ExchangeType::IKE_AUTH, false, 1, 0);
    let run = |action: Action| {
        let mut plan = plan(When::default(), action, None);
        let mut list = vec![outgoing(SocketRole::NatT)];
        plan.datagrams(&auth, &mut list);
        (list, plan.log().all())
    };
    let (list, log) = run(Action::DropSent);
    assert!(list.is_empty());
    let dropped = log[0].dropped.as_ref().expect("a dropped datagram is reported");
    assert!(!dropped.inbound && dropped.bytes.len() == 64 && dropped.path.role == SocketRole::NatT);
    assert!(log[0].effective && log[0].message_id == Some(1));

    let (list, _) = run(Action::Delay(Duration::from_millis(30)));
    assert_eq!(list[0].after, Duration::from_millis(30));

    let (list, _) = run(Action::Repeat { copies: 2, after: Duration::from_millis(10) });
    assert_eq!(list.iter().map(|d| d.after.as_millis()).collect::<Vec<_>>(), [0, 10, 20]);

    let (list, _) = run(Action::Corrupt { offset: -1, mask: 0x80 });
    assert_eq!(list[0].bytes[63], 63 ^ 0x80);
    let (list, log) = run(Action::Corrupt { offset: 64, mask: 0x80 });
    assert_eq!(list[0].bytes, outgoing(SocketRole::Ike).bytes);
    assert!(log.is_empty(), "outside the datagram nothing was changed");

    let (list, _) = run(Action::Truncate(10));
    assert_eq!(list[0].bytes.len(), 10);
    let (_, log) = run(Action::Truncate(64));
    assert!(log.is_empty());
}

#[test]
fn conditions() {
    let full = When {
        initiator: Some(true),
        exchange: Some(ExchangeType::IKE_AUTH),
        response: Some(false),
        message_id: Some(1),
        attempt: Some(0),
        port: Some(SocketRole::NatT),
        tunnels: Some(0..1),
        ..When::default()
    };
    let dropped = |when: When, cx: &MsgCx, role| {
        let mut plan = plan(when, Action::DropSent, None);
        let mut list = vec![outgoing(role)];
        plan.datagrams(cx, &mut list);
        list.is_empty()
    };
    let auth = cx(ExchangeType::IKE_AUTH, false, 1, 0);
    assert!(dropped(full.clone(), &auth, SocketRole::NatT));
    assert!(!dropped(full.clone(), &auth, SocketRole::Ike));
    assert!(!dropped(full.clone(), &cx(ExchangeType::IKE_AUTH, false, 2, 0), SocketRole::NatT));
    assert!(!dropped(full.clone(), &cx(ExchangeType::IKE_AUTH, false, 1, 1), SocketRole::NatT));
    assert!(!dropped(full.clone(), &cx(ExchangeType::IKE_AUTH, true, 1, 0), SocketRole::NatT));
    assert!(!dropped(full.clone(), &cx(ExchangeType::INFORMATIONAL, false, 1, 0), SocketRole::NatT));
    let mut other_tunnel = auth.clone();
    other_tunnel.sa.tunnel = TunnelId(7);
    assert!(!dropped(full.clone(), &other_tunnel, SocketRole::NatT));

    let mut plan = plan(When { tunnels: Some(5..6), initiator: Some(true), ..When::default() }, Action::DropSent, None);
    assert!(plan.concerns(&sa(true, 5)));
    assert!(!plan.concerns(&sa(true, 6)) && !plan.concerns(&sa(false, 5)));
}

#[test]
fn payload_condition_looks_into_the_message() {
    let when = When { payload: Some(PayloadSel::notify(NotifyType::COOKIE)), ..When::default() };
    let mut plan = plan(when, Action::Reverse, None);
    let cx = cx(ExchangeType::IKE_SA_INIT, false, 0, 0);
    let mut message = init_request();
    plan.message(&cx, &mut message);
    assert_eq!(message, init_request());
    message.outer.insert(0, Payload::Notify(NotifyPayload::new(NotifyType::COOKIE)));
    plan.message(&cx, &mut message);
    assert_eq!(message.outer[0].kind(), PayloadType::NOTIFY);
    assert_eq!(message.outer[3].kind(), PayloadType::NOTIFY);
    assert_eq!(plan.log().all().len(), 1);
}

#[test]
fn times_nth_and_probability() {
    let auth = cx(ExchangeType::IKE_AUTH, false, 1, 0);
    let survivors = |mut plan: FaultPlan| {
        (0..100)
            .filter(|_| {
                let mut list = vec![outgoing(SocketRole::Ike)];
                plan.datagrams(&auth, &mut list);
                !list.is_empty()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(survivors(plan(When::default(), Action::DropSent, Some(3))), (3..100).collect::<Vec<_>>());
    let third = survivors(plan(When { nth: Some(3), ..When::default() }, Action::DropSent, None));
    assert_eq!(third, (0..100).filter(|n| *n != 2).collect::<Vec<_>>());
    let chance = || plan(When { per_million: Some(300_000), ..When::default() }, Action::DropSent, None);
    let one = survivors(chance());
    assert_eq!(one, survivors(chance()), "the same plan seed drops the same datagrams");
    assert!((50..90).contains(&one.len()), "{}", one.len());
}

#[test]
fn decisions_count_only_when_turned() {
    let mut plan = plan(When::default(), Action::Decide(Choice::FollowInvalidKe(false)), None);
    let log = plan.log();
    let mut follow = false;
    plan.decide(&sa(true, 0), Decision::FollowInvalidKe(KeMethod::CURVE25519, &mut follow));
    assert!(log.all().is_empty());
    follow = true;
    plan.decide(&sa(true, 0), Decision::FollowInvalidKe(KeMethod::CURVE25519, &mut follow));
    assert!(!follow);
    assert_eq!(log.effective("it"), 1);
    // A decision of another kind is left alone.
    let mut cookie = true;
    plan.decide(&sa(true, 0), Decision::ReturnCookie(&mut cookie));
    assert!(cookie);
}

#[test]
fn every_decision_can_be_turned() {
    let group = KeMethod::CURVE25519;
    let notify = NotifyType::TS_UNACCEPTABLE;
    let decide = |choice: Choice, decision: Decision<'_>| {
        let mut plan = plan(When::default(), Action::Decide(choice), None);
        plan.decide(&sa(false, 0), decision);
        plan.log().effective("it") == 1
    };
    let (mut flag, mut none_group, mut none) = (false, None, None);
    assert!(decide(Choice::AcceptAuth(true), Decision::AcceptAuth(&mut flag)) && flag);
    assert!(decide(Choice::AcceptAuth(false), Decision::AcceptAuth(&mut flag)) && !flag);
    assert!(decide(Choice::DemandGroup(group), Decision::DemandGroup(&mut none_group)));
    assert_eq!(none_group.take(), Some(group));
    assert!(decide(Choice::RefuseInit(notify), Decision::RefuseInit(&mut none)) && none.take() == Some(notify));
    assert!(decide(Choice::RefuseAuth(notify), Decision::RefuseAuth(&mut none)) && none.take() == Some(notify));
    assert!(decide(Choice::RefuseChild(notify), Decision::RefuseChild(&mut none)) && none.take() == Some(notify));
    assert!(decide(Choice::DemandCookie(true), Decision::DemandCookie(&mut flag)) && flag);
    assert!(decide(Choice::ReturnCookie(false), Decision::ReturnCookie(&mut flag)) && !flag);
    assert!(decide(Choice::Float(true), Decision::Float(&mut flag)) && flag);
    let answer = Choice::Answer(ExchangeType::INFORMATIONAL, false);
    assert!(!decide(answer, Decision::Answer(ExchangeType::IKE_AUTH, &mut flag)) && flag);
    assert!(decide(answer, Decision::Answer(ExchangeType::INFORMATIONAL, &mut flag)) && !flag);
}

#[test]
fn demanded_groups_take_turns() {
    let (one, other) = (KeMethod::CURVE25519, KeMethod(19));
    let mut plan = plan(When::default(), Action::Decide(Choice::DemandGroups(one, other)), None);
    let demanded: Vec<_> = (0..4)
        .map(|_| {
            let mut demand = None;
            plan.decide(&sa(false, 0), Decision::DemandGroup(&mut demand));
            demand.expect("demanded every time")
        })
        .collect();
    assert_eq!(demanded, [other, one, other, one]);
}

#[test]
fn secrets() {
    let edits = [
        (OctetEdit::Set(vec![1, 2]), vec![1, 2]),
        (OctetEdit::Fill(0), vec![0; 4]),
        (OctetEdit::Xor(-1, 1), vec![5, 5, 5, 4]),
        (OctetEdit::Resize(6), vec![5, 5, 5, 5, 0, 0]),
    ];
    for (edit, expected) in edits {
        let mut plan = plan(When::default(), Action::Secret { kind: SecretKind::Nonce, edit }, None);
        let mut octets = vec![5; 4];
        plan.secret(&sa(true, 0), SecretKind::Auth, &mut octets);
        assert_eq!(octets, [5; 4]);
        plan.secret(&sa(true, 0), SecretKind::Nonce, &mut octets);
        assert_eq!(octets, expected);
        let log = plan.log();
        assert_eq!(log.effective("it"), 0, "not before a datagram has left");
        plan.datagrams(&cx(ExchangeType::IKE_SA_INIT, false, 0, 0), &mut vec![outgoing(SocketRole::Ike)]);
        assert_eq!(log.effective("it"), 1);
    }
}

#[test]
fn inject_timer_inbound() {
    let inject = Action::InjectNotify { notify: NotifyType::INVALID_IKE_SPI, sealed: false, message_id: 9 };
    let mut injecting = plan(When::default(), inject, None);
    let mut out = Vec::new();
    injecting.inject(&sa(true, 0), &Trigger::Sent(cx(ExchangeType::IKE_AUTH, false, 1, 0)), &mut out);
    assert!(out.is_empty());
    injecting.inject(&sa(true, 0), &Trigger::Up(sa(true, 0)), &mut out);
    let [Injected::Message { message, sealed: false, .. }] = &out[..] else { panic!("{out:?}") };
    assert_eq!((message.header.message_id, message.header.exchange), (9, ExchangeType::INFORMATIONAL));
    assert!(message.sk.is_none() && message.header.flags.is_initiator());

    let mut keepalive = plan(When::default(), Action::Timer { timer: Timer::Keepalive, percent: 0 }, None);
    assert_eq!(keepalive.timer(&sa(true, 0), Timer::Keepalive, Duration::from_secs(20)), None);
    let other = keepalive.timer(&sa(true, 0), Timer::Retransmit, Duration::from_secs(1));
    assert_eq!(other, Some(Duration::from_secs(1)));

    let header = Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IKE_AUTH, Flags::INITIATOR, 1);
    let recv = RecvCx { sa: None, header: Some(header), path: path(SocketRole::NatT), now: Instant::from_millis(3) };
    let when = When { exchange: Some(ExchangeType::IKE_AUTH), initiator: Some(false), ..When::default() };
    let mut mute = plan(when, Action::DropReceived, None);
    assert_eq!(mute.inbound(&recv, &mut vec![1, 2, 3]), Deliver::Drop);
    let log = mute.log().all();
    assert!(log[0].dropped.as_ref().is_some_and(|d| d.inbound && d.bytes == [1, 2, 3]));
    assert_eq!((log[0].message_id, log[0].response), (Some(1), Some(false)));
    let hold = plan(When::default(), Action::HoldReceived(Duration::from_millis(7)), None).inbound(&recv, &mut vec![]);
    assert_eq!(hold, Deliver::HoldUntil(Instant::from_millis(10)));
    let twice = plan(When::default(), Action::ReceiveTwice(Duration::from_millis(7)), None).inbound(&recv, &mut vec![]);
    assert_eq!(twice, Deliver::Twice(Duration::from_millis(7)));
}

#[test]
fn a_named_fault_becomes_a_rule() {
    let row = crate::fault::table::find("omit-payload").expect("it is in the table");
    let args = BTreeMap::from([("payload".to_owned(), "N(INITIAL_CONTACT)".to_owned())]);
    let rule = row.rule(&args, Some(1)).expect("the arguments are right");
    let mut plan = FaultPlan::new(vec![rule], &PlanSeed::from_text("t"));
    let mut message = init_request();
    let cx = cx(ExchangeType::IKE_SA_INIT, false, 0, 0);
    plan.message(&cx, &mut message);
    assert_eq!(message.outer.len(), 2);
    plan.message(&cx, &mut message);
    assert_eq!(plan.log().all().len(), 1);
}
