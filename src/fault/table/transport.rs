//! Datagrams on their way: lost, late, twice, broken, from elsewhere.

use super::row::{FaultRow, always, arg, fault, init_request};
use crate::fault::action::{Action, Junk, Redirect};

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "drop-sent",
        "Does not send the datagram: a firewall on the way to the peer.",
        "Waits; if the request is its own, it sends it again and finally gives up.",
        "RFC 7296 2.1, 2.4",
        |_| Ok(Action::DropSent),
    )
    .used("{use: drop-sent, when: {exchange: IKE_AUTH}}"),
    fault(
        "drop-received",
        "Throws the datagram away unread: a firewall on the way back, or a box that listens to nothing.",
        "Sends its request again and finally gives up.",
        "RFC 7296 2.1, 2.4",
        |_| Ok(Action::DropReceived),
    )
    .used("{use: drop-received, when: {exchange: IKE_SA_INIT}}"),
    fault(
        "delay-sent",
        "Sends the datagram later.",
        "Sends its request again meanwhile, and takes the answer when it comes.",
        "RFC 7296 2.1",
        |args| Ok(Action::Delay(args.millis("by")?)),
    )
    .args(&[arg("by", "duration", "500ms", "how long")])
    .used("{use: delay-sent, with: {by: 3s}}"),
    fault(
        "delay-received",
        "Reads the datagram later.",
        "Sends its request again meanwhile, and takes the answer when it comes.",
        "RFC 7296 2.1",
        |args| Ok(Action::HoldReceived(args.millis("by")?)),
    )
    .args(&[arg("by", "duration", "500ms", "how long")])
    .used("{use: delay-received, with: {by: 3s}}"),
    fault(
        "repeat-sent",
        "Sends the datagram several times.",
        "Recognises the repeats, and answers each repeated request with the same octets.",
        "RFC 7296 2.1",
        |args| Ok(Action::Repeat { copies: args.int("copies")?, after: args.millis("after")? }),
    )
    .args(&[arg("copies", "number", "1", "how many more"), arg("after", "duration", "10ms", "time between them")])
    .used("{use: repeat-sent, with: {copies: 3}}"),
    fault(
        "receive-twice",
        "Reads each datagram twice, as from a path that duplicates.",
        "Sees no more than a repeated answer to a request of its own.",
        "RFC 7296 2.1",
        |args| Ok(Action::ReceiveTwice(args.millis("after")?)),
    )
    .args(&[arg("after", "duration", "10ms", "time between them")]),
    fault(
        "hold-sent",
        "Keeps the datagram back until others of its IKE SA have left, and sends it behind them.",
        "Takes each message in the order of message ids, whatever the order of arrival.",
        "RFC 7296 2.1, 2.3",
        |args| Ok(Action::Hold { others: args.int("others")?, now: false }),
    )
    .args(&[arg("others", "number", "1", "how many others leave first")])
    .used("{use: hold-sent, with: {others: 2}, times: 1}"),
    fault(
        "replay-sent",
        "Sends the datagram, and sends it again after others of its IKE SA have left.",
        "Answers the old message with the old answer if it has it still, and otherwise ignores it.",
        "RFC 7296 2.1, 2.2",
        |args| Ok(Action::Hold { others: args.int("others")?, now: true }),
    )
    .args(&[arg("others", "number", "1", "how many others leave between")])
    .used("{use: replay-sent, with: {others: 2}, times: 1}"),
    fault(
        "fall-silent",
        "From the first datagram that matches on, sends nothing more in this tunnel.",
        "Sends its own requests again, finds us dead, and closes the IKE SA with its Child SAs.",
        "RFC 7296 2.4",
        |_| Ok(Action::FallSilent),
    )
    .used("{use: fall-silent, when: {exchange: INFORMATIONAL}}"),
    fault(
        "fall-deaf",
        "From the first datagram that matches on, reads nothing more in this tunnel.",
        "Answers our repeats, gets no answer to its own requests, and finds us dead.",
        "RFC 7296 2.4",
        |_| Ok(Action::FallDeaf),
    )
    .used("{use: fall-deaf, when: {exchange: INFORMATIONAL}}"),
    fault(
        "corrupt-sent",
        "Flips bits in the finished datagram.",
        "Finds the integrity check wrong, drops the message, and changes nothing.",
        "RFC 7296 2.21.4, 3.14",
        |args| Ok(Action::Corrupt { offset: args.int("offset")?, mask: args.int("mask")? }),
    )
    .args(&[
        arg("offset", "octets", "-1", "which octet; negative counts from the end"),
        arg("mask", "bits", "0x01", "which bits"),
    ])
    .used("{use: corrupt-sent, with: {offset: -1, mask: 0x80}}"),
    fault(
        "truncate-sent",
        "Cuts the finished datagram short.",
        "Drops what is shorter than its header says.",
        "RFC 7296 3.1",
        |args| Ok(Action::Truncate(args.int("octets")?)),
    )
    .args(&[arg("octets", "octets", "40", "how many are left")])
    .used("{use: truncate-sent, with: {octets: 60}}"),
    fault(
        "extend-sent",
        "Sends zero octets behind the message, which its length does not cover.",
        "Drops the message, or reads no further than its length says.",
        "RFC 7296 3.1",
        |args| Ok(Action::Extend(args.int("octets")?)),
    )
    .args(&[arg("octets", "octets", "8", "how many")]),
    fault(
        "from-other-port",
        "Sends from another port, as behind a NAT whose mapping has changed.",
        "Answers to the port that the request came from; behind a NAT it may follow an authentic message there.",
        "RFC 7296 2.11, 2.23",
        |args| Ok(Action::Redirect(Redirect::FromPort(args.int("port")?))),
    )
    .args(&[arg("port", "port", "40500", "the port")])
    .used("{use: from-other-port, with: {port: 40500}, when: {exchange: INFORMATIONAL}}"),
    fault(
        "from-other-address",
        "Sends from another address.",
        "Answers to the address that the request came from; behind a NAT it may follow an authentic message there.",
        "RFC 7296 2.11, 2.23",
        |args| Ok(Action::Redirect(Redirect::FromAddress(args.address("address")?.into()))),
    )
    .args(&[arg("address", "IPv4 address", "192.0.2.77", "the address")]),
    fault(
        "to-other-port",
        "Sends to a port where nobody listens.",
        "Hears nothing; its host may answer that the port is closed.",
        "RFC 7296 2, 2.23",
        |args| Ok(Action::Redirect(Redirect::ToPort(args.int("port")?))),
    )
    .args(&[arg("port", "port", "4999", "the port")]),
    fault(
        "other-port-pair",
        "Sends from and to the NAT traversal ports instead of the IKE ports, or the other way round.",
        "Takes a request on either port, and answers from where it was received.",
        "RFC 7296 2, 2.23",
        |_| Ok(Action::Redirect(Redirect::OtherSocket)),
    )
    .used("{use: other-port-pair, when: {exchange: IKE_AUTH}}"),
    fault(
        "wrong-marker",
        "Leaves the non-ESP marker out on the NAT traversal port, or puts it before the message elsewhere.",
        "Takes the message for ESP with an unknown SPI, or for no IKE message, and drops it.",
        "RFC 3948 2.2; RFC 7296 2.23",
        |_| Ok(Action::WrongMarker),
    ),
    fault(
        "ikev1-main-mode",
        "Sends the first message of IKEv1 Main Mode instead.",
        "Drops it, or answers that it speaks version 2 only; it must not go back to IKEv1.",
        "RFC 7296 2.5, 3.1; RFC 9395 3",
        |_| Ok(Action::MainMode),
    )
    .when(init_request)
    .played_by_initiator(),
    fault(
        "random-datagram",
        "Sends random octets beside the datagram.",
        "Drops them, and changes nothing.",
        "RFC 7296 2.21.4, 3.1",
        |args| Ok(Action::Beside(Junk::Random(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "120", "how many")]),
    fault(
        "empty-datagram",
        "Sends a datagram of no octets beside the right one.",
        "Drops it, and changes nothing.",
        "RFC 7296 3.1; RFC 768",
        |_| Ok(Action::Beside(Junk::Empty)),
    ),
    fault(
        "stray-keepalive",
        "Sends a NAT keepalive beside the datagram, whether or not there is a NAT.",
        "Drops it; it is no sign of life.",
        "RFC 3948 2.3, 4",
        |_| Ok(Action::Beside(Junk::Keepalive)),
    ),
    fault(
        "stray-esp",
        "Sends an ESP packet with an SPI that nobody has beside the datagram.",
        "Drops it; it may say INVALID_SPI, and believes no such answer that is unprotected.",
        "RFC 4303 3.4.2; RFC 7296 1.5",
        |args| Ok(Action::Beside(Junk::Esp(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "100", "its length")]),
    fault(
        "answer-late",
        "Takes an authentic message and acts on it later.",
        "Sends its request again, bit for bit, and takes the late answer.",
        "RFC 7296 2.1",
        |args| Ok(Action::HoldAccepted(args.millis("by")?)),
    )
    .args(&[arg("by", "duration", "3s", "how long")])
    .when(always)
    .used("{use: answer-late, with: {by: 3s}, when: {exchange: INFORMATIONAL}}"),
];
