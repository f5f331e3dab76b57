//! Key tables in the form that Wireshark reads, in a directory that opens as a Wireshark profile.
//!
//! Whoever holds these files can read the capture, so they are made only when asked for, mode 0600, in a directory of
//! mode 0700. Suites that Wireshark 4.0 cannot decrypt go to a file of their own, with the reason.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path as FilePath;

use zeroize::Zeroizing;

use super::json::Hex;
use super::uat::{EspUat, IkeUat, esp_uat, ike_uat};
use super::{Datagram, Record, Sink};
use crate::crypto::Secret;
use crate::engine::{ChildSa, Event, IkeKeyExport, SaId, TunnelId};
use crate::net::{Path, SocketRole};
use crate::time::Instant;

const IKE_FILE: &str = "ikev2_decryption_table";
const ESP_FILE: &str = "esp_sa";
/// Keys that Wireshark 4.0 cannot use, or not in full, in words and hex.
pub const UNSUPPORTED_FILE: &str = "keys_unsupported_by_wireshark.txt";

const PREFERENCES: &str = "\
# A Wireshark profile made by ikelab. It holds keys: keep it as private as the capture.
esp.enable_encryption_decode: TRUE
esp.enable_authentication_check: TRUE
";

/// Writes key tables.
pub struct KeyTables {
    ike: Sink<File>,
    esp: Sink<File>,
    unsupported: Sink<File>,
    paths: BTreeMap<SaId, Path>,
}

impl KeyTables {
    /// Creates the directory if need be, and the files in it, emptying old ones. `ports` are the UDP ports in use with
    /// their roles; Wireshark is told about those it would not guess.
    ///
    /// # Errors
    ///
    /// If something cannot be created; the message names it.
    pub fn create(directory: &FilePath, ports: &[(u16, SocketRole)]) -> io::Result<Self> {
        let context =
            |e: io::Error, what: &FilePath| io::Error::new(e.kind(), format!("cannot create {}: {e}", what.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| context(e, directory))?;
        let create = |name: &str| -> io::Result<Sink<File>> {
            let file = directory.join(name);
            let open = create_private(&file).map_err(|e| context(e, &file))?;
            Ok(Sink::new(file.display().to_string(), open))
        };
        create("preferences")?.out.write_all(PREFERENCES.as_bytes())?;
        let decode_as = decode_as_entries(ports);
        if !decode_as.is_empty() {
            create("decode_as_entries")?.out.write_all(decode_as.as_bytes())?;
        }
        Ok(KeyTables {
            ike: create(IKE_FILE)?,
            esp: create(ESP_FILE)?,
            unsupported: create(UNSUPPORTED_FILE)?,
            paths: BTreeMap::new(),
        })
    }

    fn ike_keys(&mut self, keys: &IkeKeyExport) {
        match ike_uat(&keys.suite) {
            Ok(uat) => {
                self.ike.write(ike_line(keys, &uat).as_bytes());
                if !uat.integ_checked {
                    // The table has no room for keys of a MAC that it does not check; other tools may.
                    let why = "Wireshark 4.0 decrypts it and cannot check its integrity";
                    self.unsupported.write(ike_keys_in_words(keys, &why).as_bytes());
                }
            }
            Err(why) => self.unsupported.write(ike_keys_in_words(keys, &why).as_bytes()),
        }
    }

    fn child(&mut self, sa: SaId, child: &ChildSa) {
        let uat = esp_uat(&child.suite);
        for (spi, ends, keys) in directions(child, self.paths.get(&sa)) {
            match &uat {
                Ok(uat) => {
                    self.esp.write(esp_line(spi, ends, keys, uat).as_bytes());
                    if !uat.integ_checked {
                        let why = "Wireshark 4.0 decrypts it and cannot check its integrity";
                        self.unsupported.write(esp_keys_in_words(child, spi, keys, &why).as_bytes());
                    }
                }
                Err(why) => self.unsupported.write(esp_keys_in_words(child, spi, keys, why).as_bytes()),
            }
        }
    }
}

impl Record for KeyTables {
    fn datagram(&mut self, _: &Datagram<'_>) {}

    fn event(&mut self, _: Instant, _: TunnelId, sa: SaId, event: &Event) {
        match event {
            Event::Message(trace) => {
                self.paths.insert(sa, trace.path);
            }
            Event::IkeUp(up) => {
                self.paths.insert(sa, up.path);
            }
            Event::IkeRekeyed(rekeyed) => {
                if let Some(path) = self.paths.get(&rekeyed.old).copied() {
                    self.paths.insert(rekeyed.new, path);
                }
            }
            Event::IkeKeys(keys) => self.ike_keys(keys),
            Event::ChildInbound(child) => self.child(sa, child),
            Event::Closed => {
                self.paths.remove(&sa);
            }
            _ => {}
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        [&mut self.ike, &mut self.esp, &mut self.unsupported]
            .into_iter()
            .map(|sink| sink.flush())
            .fold(Ok(()), io::Result::and)
    }
}

/// One line of `ikev2_decryption_table`.
fn ike_line(keys: &IkeKeyExport, uat: &IkeUat) -> Zeroizing<String> {
    let (spi_i, spi_r) = keys.spis;
    let (ei, er) = (Hex(keys.sk_ei.as_ref()), Hex(keys.sk_er.as_ref()));
    let none = Secret::new([]);
    let (ai, ar) = if uat.integ_checked { (&keys.sk_ai, &keys.sk_ar) } else { (&none, &none) };
    let (ai, ar) = (Hex(ai.as_ref()), Hex(ar.as_ref()));
    let (encr, integ) = (&uat.encr, uat.integ);
    // Growing a string leaves old copies behind; this is room for the longest line.
    let mut line = Zeroizing::new(String::with_capacity(1024));
    let _ = writeln!(line, "{spi_i},{spi_r},{ei},{er},\"{encr}\",{ai},{ar},\"{integ}\"");
    line
}

/// The keys of an IKE SA with labels, and why they are not all in the table.
fn ike_keys_in_words(keys: &IkeKeyExport, why: &dyn Display) -> Zeroizing<String> {
    let ((spi_i, spi_r), suite) = (keys.spis, keys.suite);
    let [ei, er, ai, ar] = [&keys.sk_ei, &keys.sk_er, &keys.sk_ai, &keys.sk_ar].map(|key| Hex(key.as_ref()));
    let mut text = Zeroizing::new(String::with_capacity(1024));
    let _ = writeln!(text, "IKE SA {spi_i} {spi_r} {suite}: {why}");
    let _ = writeln!(text, "  SK_ei {ei}\n  SK_er {er}\n  SK_ai {ai}\n  SK_ar {ar}");
    text
}

/// SPI, source and destination, encryption and integrity key of one direction.
type OneWay<'a> = (u32, Option<(IpAddr, IpAddr)>, (&'a Secret, &'a Secret));

/// The two directions of a Child SA: inbound, then outbound.
fn directions<'a>(child: &'a ChildSa, path: Option<&Path>) -> [OneWay<'a>; 2] {
    let keys = &child.keys;
    let from_initiator = (&keys.i_encr, &keys.i_integ);
    let from_responder = (&keys.r_encr, &keys.r_integ);
    let (to_us, from_us) =
        if child.initiator { (from_responder, from_initiator) } else { (from_initiator, from_responder) };
    let ends = path.map(|path| (path.local.ip(), path.remote.ip()));
    [(child.spi_in, ends.map(|(local, remote)| (remote, local)), to_us), (child.spi_out, ends, from_us)]
}

/// One line of `esp_sa`.
fn esp_line(
    spi: u32,
    ends: Option<(IpAddr, IpAddr)>,
    (encr, integ): (&Secret, &Secret),
    uat: &EspUat,
) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(1024));
    // Wireshark takes "*" for any address.
    let (source, destination) = match ends {
        Some((source, destination)) => (source.to_string(), destination.to_string()),
        None => ("*".to_owned(), "*".to_owned()),
    };
    let family = if ends.is_some_and(|(source, _)| source.is_ipv6()) { "IPv6" } else { "IPv4" };
    let _ = write!(line, "\"{family}\",\"{source}\",\"{destination}\",\"0x{spi:08x}\",\"{}\",", uat.encr);
    append_key(&mut line, encr);
    let _ = write!(line, ",\"{}\",", uat.integ);
    let none = Secret::new([]);
    append_key(&mut line, if uat.integ_checked { integ } else { &none });
    line.push('\n');
    line
}

/// The keys of one direction with labels, and why they are not all in the table.
fn esp_keys_in_words(
    child: &ChildSa,
    spi: u32,
    (encr, integ): (&Secret, &Secret),
    why: &dyn Display,
) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    let _ = writeln!(text, "ESP SA 0x{spi:08x} {}: {why}", child.suite);
    let _ = writeln!(text, "  encryption {}\n  integrity {}", Hex(encr.as_ref()), Hex(integ.as_ref()));
    text
}

fn append_key(line: &mut String, key: &Secret) {
    let _ = if key.is_empty() { write!(line, "\"\"") } else { write!(line, "\"0x{}\"", Hex(key.as_ref())) };
}

/// Opens a file that nobody else may read, also if it was there before with looser permissions.
fn create_private(file: &FilePath) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let open = options.open(file)?;
    open.set_permissions(Permissions::from_mode(0o600))?;
    open.set_len(0)?;
    Ok(open)
}

/// Wireshark knows IKE on 500 and IKE and ESP behind NAT traversal on 4500; other ports are told it here.
fn decode_as_entries(ports: &[(u16, SocketRole)]) -> String {
    let unusual = ports.iter().filter(|entry| ![(500, SocketRole::Ike), (4500, SocketRole::NatT)].contains(entry));
    unusual.fold(String::new(), |mut out, &(port, role)| {
        let dissector = match role {
            SocketRole::Ike => "ISAKMP",
            SocketRole::NatT => "UDPENCAP",
            SocketRole::Esp => return out,
        };
        let _ = writeln!(out, "decode_as_entry: udp.port,{port},(none),{dissector}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{ChildKeys, Encr, EspSuite, Group, IkeSuite, Integ, Prf};
    use crate::engine::Mode;
    use crate::wire::IkeSpi;

    fn ike(encr: Encr, integ: Option<Integ>) -> IkeKeyExport {
        let secret = |octet, len| Secret::new(vec![octet; len]);
        let integ_len = integ.map_or(0, Integ::key_len);
        IkeKeyExport {
            spis: (IkeSpi(0x1111), IkeSpi(0x2222)),
            suite: IkeSuite { encr, prf: Prf::HmacSha256, integ, ke: Group::X25519 },
            sk_ei: secret(0xe1, encr.key_len()),
            sk_er: secret(0xe2, encr.key_len()),
            sk_ai: secret(0xa1, integ_len),
            sk_ar: secret(0xa2, integ_len),
            sk_d: secret(0xd0, 32),
            sk_pi: secret(0x01, 32),
            sk_pr: secret(0x02, 32),
        }
    }

    fn child(encr: Encr, integ: Option<Integ>, initiator: bool) -> ChildSa {
        let secret = |octet, len| Secret::new(vec![octet; len]);
        let integ_len = integ.map_or(0, Integ::key_len);
        ChildSa {
            name: "lan".to_owned(),
            spi_in: 0xc0ff_ee01,
            spi_out: 0x0bad_cafe,
            suite: EspSuite { encr, integ, ke: None, esn: false },
            mode: Mode::Tunnel,
            local_ts: vec![],
            remote_ts: vec![],
            initiator,
            encapsulated: true,
            narrowed: false,
            keys: ChildKeys {
                i_encr: secret(0x1e, encr.key_len()),
                i_integ: secret(0x1a, integ_len),
                r_encr: secret(0x2e, encr.key_len()),
                r_integ: secret(0x2a, integ_len),
            },
        }
    }

    fn path() -> Path {
        let local = "192.0.2.1:4500".parse().expect("an address");
        Path { local, remote: "192.0.2.2:4500".parse().expect("an address"), role: SocketRole::NatT }
    }

    #[test]
    fn ike_lines_have_the_form_that_wireshark_reads() {
        let line = |keys: IkeKeyExport| ike_line(&keys, &ike_uat(&keys.suite).expect("supported"));
        let cbc = line(ike(Encr::AesCbc(128), Some(Integ::HmacSha256_128)));
        let (ei, er) = ("e1".repeat(16), "e2".repeat(16));
        let (ai, ar) = ("a1".repeat(32), "a2".repeat(32));
        let expected = format!(
            "0000000000001111,0000000000002222,{ei},{er},\"AES-CBC-128 [RFC3602]\",{ai},{ar},\"HMAC_SHA2_256_128 [RFC4868]\"\n"
        );
        assert_eq!(*cbc, expected);
        let gcm = line(ike(Encr::AesGcm { bits: 256, icv: 16 }, None));
        assert!(gcm.ends_with(",\"AES-GCM-256 with 16 octet ICV [RFC5282]\",,,\"NONE [RFC4306]\"\n"), "{}", *gcm);
    }

    #[test]
    fn what_wireshark_cannot_decrypt_is_kept_with_the_reason() {
        let keys = ike(Encr::ChaCha20Poly1305, None);
        let text = ike_keys_in_words(&keys, &ike_uat(&keys.suite).expect_err("unsupported"));
        assert!(text.contains("0000000000001111") && text.contains("ChaCha20") && text.contains(&"e1".repeat(36)));
        let child = child(Encr::AesCcm { bits: 128, icv: 8 }, None, true);
        let why = esp_uat(&child.suite).expect_err("unsupported");
        for (spi, _, keys) in directions(&child, None) {
            let text = esp_keys_in_words(&child, spi, keys, &why);
            assert!(text.contains("AES-CCM") && text.contains(&format!("0x{spi:08x}")), "{}", *text);
        }
    }

    fn lines(child: &ChildSa, path: Option<&Path>) -> [Zeroizing<String>; 2] {
        let uat = esp_uat(&child.suite).expect("supported");
        directions(child, path).map(|(spi, ends, keys)| esp_line(spi, ends, keys, &uat))
    }

    #[test]
    fn each_direction_of_a_child_gets_its_own_key() {
        for (initiator, to_us) in [(true, "2e"), (false, "1e")] {
            let child = child(Encr::AesCbc(128), Some(Integ::HmacSha1_96), initiator);
            let [inbound, outbound] = lines(&child, Some(&path()));
            let start = "\"IPv4\",\"192.0.2.2\",\"192.0.2.1\",\"0xc0ffee01\",\"AES-CBC [RFC3602]\",";
            assert!(inbound.starts_with(start), "{}", *inbound);
            assert!(inbound.contains(&format!("\"0x{}\"", to_us.repeat(16))), "{}", *inbound);
            assert!(outbound.starts_with("\"IPv4\",\"192.0.2.1\",\"192.0.2.2\",\"0x0badcafe\""), "{}", *outbound);
            assert!(!outbound.contains(&to_us.repeat(16)));
        }
        let [inbound, _] = lines(&child(Encr::Null, Some(Integ::AesCmac96), true), None);
        let expected =
            "\"IPv4\",\"*\",\"*\",\"0xc0ffee01\",\"NULL\",\"\",\"ANY 96 bit authentication [no checking]\",\"\"\n";
        assert_eq!(*inbound, expected);
    }

    #[test]
    fn files_are_private_even_if_they_were_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let profile = directory.path().join("keys");
        DirBuilder::new().create(&profile).expect("created");
        let old = profile.join(IKE_FILE);
        std::fs::write(&old, "old keys").expect("written");
        std::fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("allowed");

        let ports = [(500, SocketRole::Ike), (14_500, SocketRole::NatT)];
        let mut tables = KeyTables::create(&profile, &ports).expect("created");
        let sa = SaId { slot: 0, generation: 0 };
        let (now, tunnel) = (Instant::ZERO, TunnelId(1));
        let aead = Encr::AesGcm { bits: 128, icv: 16 };
        tables.event(now, tunnel, sa, &Event::IkeKeys(Box::new(ike(aead, None))));
        tables.event(now, tunnel, sa, &Event::ChildInbound(Box::new(child(aead, None, true))));
        tables.event(now, tunnel, sa, &Event::IkeKeys(Box::new(ike(Encr::ChaCha20Poly1305, None))));
        // Decrypted by the table, checked by nobody: in both files.
        let xcbc = ike(Encr::AesCbc(128), Some(Integ::AesXcbc96));
        tables.event(now, tunnel, sa, &Event::IkeKeys(Box::new(xcbc)));
        tables.flush().expect("written");

        let mut names = Vec::new();
        for entry in std::fs::read_dir(&profile).expect("there") {
            let entry = entry.expect("there");
            let mode = entry.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().expect("ASCII"));
        }
        names.sort();
        assert_eq!(names, ["decode_as_entries", ESP_FILE, IKE_FILE, UNSUPPORTED_FILE, "preferences"]);
        let read = |name: &str| std::fs::read_to_string(profile.join(name)).expect("there");
        assert_eq!(read(IKE_FILE).lines().count(), 2, "the old contents are gone");
        assert_eq!(read(ESP_FILE).lines().count(), 2);
        assert!(read(UNSUPPORTED_FILE).contains("ChaCha20"));
        assert!(read(UNSUPPORTED_FILE).contains(&format!("SK_ai {}", "a1".repeat(16))));
        assert_eq!(read("decode_as_entries"), "decode_as_entry: udp.port,14500,(none),UDPENCAP\n");
    }
}
