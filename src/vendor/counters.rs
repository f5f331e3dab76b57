//! What boxes call the counters of a Child SA, and what they should show when ours are as they are.

use super::Vendor;

/// Counters of one Child SA as this end has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EspCounts {
    /// Packets sent.
    pub out_packets: u64,
    /// Octets of inner packets sent.
    pub out_bytes: u64,
    /// Packets received and decrypted.
    pub in_packets: u64,
    /// Octets of inner packets received.
    pub in_bytes: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// Packets that were dropped on arrival.
    pub recv_errors: u64,
}

impl EspCounts {
    /// What the other end counts if nothing is lost on the way: what we send it receives.
    pub fn mirrored(self) -> EspCounts {
        EspCounts {
            out_packets: self.in_packets,
            out_bytes: self.in_bytes,
            in_packets: self.out_packets,
            in_bytes: self.out_bytes,
            send_errors: 0,
            recv_errors: 0,
        }
    }

    /// In a vendor's words, or in the words of `show crypto ipsec sa`, which most people know.
    pub fn words(self, vendor: Option<Vendor>) -> String {
        let EspCounts { out_packets, out_bytes, in_packets, in_bytes, send_errors, recv_errors } = self;
        match vendor {
            Some(Vendor::PaloAltoPanos) => format!(
                "encap packets: {out_packets}, decap packets: {in_packets}, encap bytes: {out_bytes}, decap bytes: {in_bytes}"
            ),
            Some(Vendor::StrongSwan) => {
                format!("in {in_bytes} bytes, {in_packets} packets; out {out_bytes} bytes, {out_packets} packets")
            }
            Some(Vendor::CiscoIosXe | Vendor::CiscoAsa | Vendor::CiscoFtd) | None => format!(
                "#pkts encaps: {out_packets}, #pkts decaps: {in_packets}, #send errors {send_errors}, #recv errors {recv_errors}"
            ),
        }
    }

    /// The command that shows the box's counters; `None` without a known vendor.
    pub fn command(vendor: Vendor) -> &'static str {
        match vendor {
            Vendor::CiscoIosXe | Vendor::CiscoAsa | Vendor::CiscoFtd => "show crypto ipsec sa",
            Vendor::PaloAltoPanos => "show vpn flow tunnel-id <ID>",
            Vendor::StrongSwan => "swanctl --list-sas",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_send_the_box_receives() {
        let ours =
            EspCounts { out_packets: 5, out_bytes: 420, in_packets: 3, in_bytes: 252, send_errors: 1, recv_errors: 2 };
        assert_eq!(ours.words(None), "#pkts encaps: 5, #pkts decaps: 3, #send errors 1, #recv errors 2");
        let theirs = ours.mirrored();
        let words = theirs.words(Some(Vendor::CiscoAsa));
        assert_eq!(words, "#pkts encaps: 3, #pkts decaps: 5, #send errors 0, #recv errors 0");
        let words = theirs.words(Some(Vendor::PaloAltoPanos));
        assert_eq!(words, "encap packets: 3, decap packets: 5, encap bytes: 252, decap bytes: 420");
        for vendor in Vendor::ALL {
            assert!(!EspCounts::command(*vendor).is_empty() && !theirs.words(Some(*vendor)).is_empty());
        }
    }
}
