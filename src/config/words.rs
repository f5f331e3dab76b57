//! Algorithm words: strongSwan's spelling, and what Cisco and Palo Alto call the same things.
//!
//! A proposal is cut into pieces at `-`, `_`, `/`, `,`, `+` and blanks; the longest run of pieces that is a word of the
//! table is taken, so that `aes-cbc-256`, `aes-256-cbc`, `esp-aes 256`, `group 14` and `aes256` need no grammar each.

use super::error::{Problem, nearest};
use crate::crypto::{Encr, Group, Integ, Prf};
use crate::engine::ProposalSpec;
use crate::wire::Transform;
use crate::wire::registry::{EsnId, KeMethod};

/// What one word means.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Word {
    Encr(Encr),
    Integ(Integ),
    Prf(Prf),
    Group(Group),
    /// Extended sequence numbers: on or off.
    Esn(bool),
    /// A word that says nothing, like `esp`.
    Noise,
    /// Known, and not here.
    Absent(&'static str),
}

/// A proposal for the IKE SA, from words.
pub(crate) fn ike_proposal(text: &str) -> Result<ProposalSpec, Problem> {
    let found = Found::read(text)?;
    if found.encr.is_empty() {
        return Err(
            Problem::new(format!("no encryption algorithm in `{text}`")).hint("for example aes256-sha256-modp2048")
        );
    }
    if found.encr.contains(&Encr::Null) {
        return Err(Problem::new(format!("`{text}` would leave IKE unencrypted, which RFC 7296 5 forbids")));
    }
    if !found.esn.is_empty() {
        return Err(Problem::new(format!("`{text}` is for the IKE SA, and extended sequence numbers belong to ESP")));
    }
    if found.groups.is_empty() {
        return Err(Problem::new(format!("no key exchange group in `{text}`"))
            .hint("add one, for example -modp2048 (group 14) or -ecp256 (group 19)"));
    }
    let aead = found.aead_only(text)?;
    // As strongSwan reads it: the PRF follows the integrity algorithm; beside an AEAD such a word means only the PRF.
    let prfs = if found.prf.is_empty() { found.integ.iter().map(|i| prf_of(*i)).collect() } else { found.prf.clone() };
    if aead && prfs.is_empty() {
        return Err(Problem::new(format!("`{text}` names no PRF, and an AEAD cipher has none to follow from"))
            .hint("add one, for example -prfsha256 or -prfsha384"));
    }
    if !aead && found.integ.is_empty() {
        return Err(Problem::new(format!("no integrity algorithm in `{text}`")).hint("add one, for example -sha256"));
    }
    let integ = if aead { &[][..] } else { &found.integ[..] };
    let mut transforms: Vec<Transform> = found.encr.iter().map(|e| e.to_transform()).collect();
    transforms.extend(integ.iter().map(|i| Transform::integ(i.id())));
    transforms.extend(prfs.iter().map(|p| Transform::prf(p.id())));
    transforms.extend(found.groups.iter().map(|g| Transform::ke(g.method())));
    Ok(ProposalSpec { transforms })
}

/// A proposal for ESP, from words, and the groups it names (which are perfect forward secrecy's).
pub(crate) fn esp_proposal(text: &str) -> Result<(ProposalSpec, Vec<KeMethod>), Problem> {
    let mut found = Found::read(text)?;
    if found.encr.is_empty() {
        return Err(Problem::new(format!("no encryption algorithm in `{text}`")).hint("for example aes256-sha256"));
    }
    if !found.prf.is_empty() {
        return Err(Problem::new(format!("`{text}` names a PRF, which ESP does not have")));
    }
    let aead = found.aead_only(text)?;
    if aead && !found.integ.is_empty() {
        return Err(Problem::new(format!(
            "`{text}` has an integrity algorithm beside an AEAD cipher, which brings its own"
        ))
        .hint("leave it out"));
    }
    if !aead && found.integ.is_empty() {
        return Err(Problem::new(format!("no integrity algorithm in `{text}`")).hint("add one, for example -sha256"));
    }
    if found.esn.is_empty() {
        found.esn.push(false);
    }
    let mut transforms: Vec<Transform> = found.encr.iter().map(|e| e.to_transform()).collect();
    transforms.extend(found.integ.iter().map(|i| Transform::integ(i.id())));
    transforms.extend(found.esn.iter().map(|on| Transform::esn(if *on { EsnId::ESN } else { EsnId::NO_ESN })));
    Ok((ProposalSpec { transforms }, found.groups.iter().map(|g| g.method()).collect()))
}

/// Groups for perfect forward secrecy: words, or `none`.
pub(crate) fn pfs(text: &str) -> Result<Vec<KeMethod>, Problem> {
    if matches!(text.trim().to_ascii_lowercase().as_str(), "none" | "no-pfs" | "no") {
        return Ok(Vec::new());
    }
    let found = Found::read(text)?;
    if found.groups.is_empty() || !(found.encr.is_empty() && found.integ.is_empty() && found.prf.is_empty()) {
        return Err(
            Problem::new(format!("`{text}` is not a key exchange group")).hint("for example modp2048, group14 or none")
        );
    }
    Ok(found.groups.iter().map(|g| g.method()).collect())
}

/// What a proposal says, in words that strongSwan reads: `aes256-sha256-modp2048`.
pub fn proposal_words(proposal: &ProposalSpec) -> String {
    use crate::wire::registry::{IntegId, PrfId, TransformType};
    let of = |kind| proposal.transforms.iter().filter(move |t| t.kind == kind);
    let encr = of(TransformType::ENCR).map(|t| Encr::from_transform(t).map_or_else(|| t.to_string(), encr_word));
    let integs: Vec<Option<Integ>> = of(TransformType::INTEG).map(|t| Integ::from_id(IntegId(t.id))).collect();
    let prfs: Vec<Option<Prf>> = of(TransformType::PRF).map(|t| Prf::from_id(PrfId(t.id))).collect();
    let follows = prfs.iter().eq(integs.iter().map(|i| i.map(prf_of)).collect::<Vec<_>>().iter());
    let word = |t: &Transform| t.to_string();
    encr.chain(
        of(TransformType::INTEG)
            .map(|t| Integ::from_id(IntegId(t.id)).map_or_else(|| word(t), |i| integ_word(i).to_owned())),
    )
    .chain(
        of(TransformType::PRF)
            .filter(|_| !follows)
            .map(|t| Prf::from_id(PrfId(t.id)).map_or_else(|| word(t), |p| prf_word(p).to_owned())),
    )
    .chain(of(TransformType::KE).map(|t| group_word(KeMethod(t.id))))
    .chain(of(TransformType::ESN).filter(|t| EsnId(t.id) == EsnId::ESN).map(|_| "esn".to_owned()))
    .collect::<Vec<_>>()
    .join("-")
}

/// strongSwan's word for a cipher.
pub fn encr_word(encr: Encr) -> String {
    match encr {
        Encr::AesCbc(bits) => format!("aes{bits}"),
        Encr::AesCtr(bits) => format!("aes{bits}ctr"),
        Encr::AesGcm { bits, icv } => format!("aes{bits}gcm{icv}"),
        Encr::AesCcm { bits, icv } => format!("aes{bits}ccm{icv}"),
        Encr::ChaCha20Poly1305 => "chacha20poly1305".into(),
        Encr::TripleDes => "3des".into(),
        Encr::Null => "null".into(),
    }
}

/// strongSwan's word for an integrity algorithm.
pub fn integ_word(integ: Integ) -> &'static str {
    match integ {
        Integ::HmacMd5_96 => "md5",
        Integ::HmacSha1_96 => "sha1",
        Integ::AesXcbc96 => "aesxcbc",
        Integ::AesCmac96 => "aescmac",
        Integ::HmacSha256_128 => "sha256",
        Integ::HmacSha384_192 => "sha384",
        Integ::HmacSha512_256 => "sha512",
    }
}

/// strongSwan's word for a PRF.
pub fn prf_word(prf: Prf) -> &'static str {
    match prf {
        Prf::HmacMd5 => "prfmd5",
        Prf::HmacSha1 => "prfsha1",
        Prf::AesXcbc => "prfaesxcbc",
        Prf::AesCmac => "prfaescmac",
        Prf::HmacSha256 => "prfsha256",
        Prf::HmacSha384 => "prfsha384",
        Prf::HmacSha512 => "prfsha512",
    }
}

/// strongSwan's word for a group.
pub fn group_word(method: KeMethod) -> String {
    Group::from_method(method).map_or_else(|| method.to_string(), |group| group.name().to_owned())
}

/// The PRF that goes with an integrity algorithm when none is named.
pub fn prf_of(integ: Integ) -> Prf {
    match integ {
        Integ::HmacMd5_96 => Prf::HmacMd5,
        Integ::HmacSha1_96 => Prf::HmacSha1,
        Integ::AesXcbc96 => Prf::AesXcbc,
        Integ::AesCmac96 => Prf::AesCmac,
        Integ::HmacSha256_128 => Prf::HmacSha256,
        Integ::HmacSha384_192 => Prf::HmacSha384,
        Integ::HmacSha512_256 => Prf::HmacSha512,
    }
}

/// Why each weak algorithm of a proposal is weak: "modp1024: ...".
pub fn weaknesses(proposal: &ProposalSpec) -> Vec<String> {
    use crate::wire::registry::{IntegId, PrfId, TransformType};
    let of = |t: &Transform| match t.kind {
        TransformType::ENCR => Encr::from_transform(t).and_then(|e| Some((encr_word(e), e.weak()?))),
        TransformType::PRF => Prf::from_id(PrfId(t.id)).and_then(|p| Some((prf_word(p).to_owned(), p.weak()?))),
        TransformType::INTEG => Integ::from_id(IntegId(t.id)).and_then(|i| Some((integ_word(i).to_owned(), i.weak()?))),
        TransformType::KE => Group::from_method(KeMethod(t.id)).and_then(|g| Some((g.name().to_owned(), g.weak()?))),
        _ => None,
    };
    proposal.transforms.iter().filter_map(of).map(|(word, why)| format!("{word}: {why}")).collect()
}

/// The algorithms found in a text, by kind, in order.
#[derive(Default)]
struct Found {
    encr: Vec<Encr>,
    integ: Vec<Integ>,
    prf: Vec<Prf>,
    groups: Vec<Group>,
    esn: Vec<bool>,
}

/// More pieces than any word of the table has.
const LONGEST: usize = 5;

impl Found {
    fn read(text: &str) -> Result<Found, Problem> {
        let pieces = pieces(text);
        if pieces.is_empty() {
            return Err(Problem::new("an empty proposal").hint("for example aes256-sha256-modp2048"));
        }
        let mut found = Found::default();
        let mut at = 0;
        while at < pieces.len() {
            let longest = (1..=LONGEST.min(pieces.len() - at))
                .rev()
                .find_map(|n| Some((n, look_up(&join(text, &pieces[at..at + n], false))?)));
            let Some((count, word)) = longest else { return Err(unknown(text, &pieces, at)) };
            match word {
                Word::Encr(x) => push_new(&mut found.encr, x),
                Word::Integ(x) => push_new(&mut found.integ, x),
                Word::Prf(x) => push_new(&mut found.prf, x),
                Word::Group(x) => push_new(&mut found.groups, x),
                Word::Esn(x) => push_new(&mut found.esn, x),
                Word::Noise => {}
                Word::Absent(why) => {
                    let word = join(text, &pieces[at..at + count], true);
                    return Err(Problem::new(format!("`{word}` in `{text}` is {why}, which ikelab does not speak")));
                }
            }
            at += count;
        }
        Ok(found)
    }

    /// Whether all ciphers are AEADs; an error when only some are (RFC 7296 3.3: two proposals then).
    fn aead_only(&self, text: &str) -> Result<bool, Problem> {
        let aeads = self.encr.iter().filter(|e| e.is_aead()).count();
        if aeads != 0 && aeads != self.encr.len() {
            return Err(Problem::new(format!(
                "`{text}` mixes AEAD and other ciphers, which RFC 7296 3.3 forbids in one proposal"
            ))
            .hint("write two proposals"));
        }
        Ok(aeads != 0)
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Byte ranges of the pieces between separators.
fn pieces(text: &str) -> Vec<(usize, usize)> {
    let separator = |c: char| c.is_whitespace() || matches!(c, '-' | '_' | '/' | ',' | '+' | '!');
    let mut pieces = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        match (separator(c), start) {
            (true, Some(from)) => {
                pieces.push((from, at));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    pieces.extend(start.map(|from| (from, text.len())));
    pieces
}

/// Pieces as one word: as written, or run together in lower case.
fn join(text: &str, pieces: &[(usize, usize)], as_written: bool) -> String {
    match (as_written, pieces.first(), pieces.last()) {
        (true, Some(first), Some(last)) => text[first.0..last.1].to_owned(),
        _ => pieces.iter().map(|(from, to)| text[*from..*to].to_ascii_lowercase()).collect(),
    }
}

/// The error for the piece at `at`, which begins no word. A piece before it may have been taken for a shorter word than
/// was meant (`aes` in `aes-cbc-257`), so the run of pieces that is nearest to a word of the table is named.
fn unknown(text: &str, pieces: &[(usize, usize)], at: usize) -> Problem {
    let windows = [at, at.saturating_sub(1), at.saturating_sub(2)]
        .into_iter()
        .flat_map(|from| (at.saturating_sub(from) + 1..=4).map(move |n| (from, from + n)))
        .filter(|(_, to)| *to <= pieces.len());
    let mut best: Option<(f64, (usize, usize), &str)> = None;
    for (from, to) in windows {
        let run = join(text, &pieces[from..to], false);
        let Some(name) = nearest(&run, spellings().map(|(name, _)| name)) else { continue };
        let score = strsim::normalized_damerau_levenshtein(&run, name);
        if best.is_none_or(|b| score > b.0 + 1e-9) {
            best = Some((score, (from, to), name));
        }
    }
    let (from, to) = best.map_or((at, at + 1), |b| b.1);
    let word = join(text, &pieces[from..to], true);
    let within = if word == text { String::new() } else { format!(" in `{text}`") };
    Problem::new(format!("unknown algorithm `{word}`{within}"))
        .maybe_hint(best.map(|(_, _, name)| format!("did you mean {}?", canonical(name))))
}

/// strongSwan's spelling of a word of the table.
fn canonical(name: &str) -> String {
    match look_up(name) {
        Some(Word::Encr(x)) => encr_word(x),
        Some(Word::Integ(x)) => integ_word(x).to_owned(),
        Some(Word::Prf(x)) => prf_word(x).to_owned(),
        Some(Word::Group(x)) => x.name().to_owned(),
        _ => name.to_owned(),
    }
}

fn look_up(word: &str) -> Option<Word> {
    spellings().find(|(name, _)| *name == word).map(|(_, word)| word)
}

/// Every spelling, run together and in lower case; the commonest spelling of each algorithm first.
fn spellings() -> impl Iterator<Item = (&'static str, Word)> {
    TABLE.iter().flat_map(|(names, word)| names.iter().map(move |name| (*name, *word)))
}

const fn cbc(bits: u16) -> Word {
    Word::Encr(Encr::AesCbc(bits))
}
const fn ctr(bits: u16) -> Word {
    Word::Encr(Encr::AesCtr(bits))
}
const fn gcm(bits: u16, icv: u8) -> Word {
    Word::Encr(Encr::AesGcm { bits, icv })
}
const fn ccm(bits: u16, icv: u8) -> Word {
    Word::Encr(Encr::AesCcm { bits, icv })
}

#[rustfmt::skip]
const TABLE: &[(&[&str], Word)] = &[
    // ENCR. Cisco: aes-cbc-256, aes-256, esp-aes 256, esp-gcm 256; PAN-OS: aes-256-cbc, aes-256-gcm; IANA: AES_CBC_256.
    (&["aes128", "aes", "aescbc128", "aes128cbc", "espaes", "espaes128", "encraescbc128", "aescbc"], cbc(128)),
    (&["aes192", "aescbc192", "aes192cbc", "espaes192", "encraescbc192"], cbc(192)),
    (&["aes256", "aescbc256", "aes256cbc", "espaes256", "encraescbc256"], cbc(256)),
    (&["aes128ctr", "aesctr128", "encraesctr128", "aesctr"], ctr(128)),
    (&["aes192ctr", "aesctr192", "encraesctr192"], ctr(192)),
    (&["aes256ctr", "aesctr256", "encraesctr256"], ctr(256)),
    (&["aes128gcm16", "aes128gcm", "aes128gcm128", "aesgcm128", "aesgcm", "espgcm", "espgcm128", "espaesgcm128", "aesgcm16128", "encraesgcm16128"], gcm(128, 16)),
    (&["aes192gcm16", "aes192gcm", "aes192gcm128", "aesgcm192", "espgcm192", "espaesgcm192", "aesgcm16192", "encraesgcm16192"], gcm(192, 16)),
    (&["aes256gcm16", "aes256gcm", "aes256gcm128", "aesgcm256", "espgcm256", "espaesgcm256", "aesgcm16256", "encraesgcm16256"], gcm(256, 16)),
    (&["aes128gcm12", "aes128gcm96", "aesgcm12128"], gcm(128, 12)),
    (&["aes192gcm12", "aes192gcm96", "aesgcm12192"], gcm(192, 12)),
    (&["aes256gcm12", "aes256gcm96", "aesgcm12256"], gcm(256, 12)),
    (&["aes128gcm8", "aes128gcm64", "aesgcm8128"], gcm(128, 8)),
    (&["aes192gcm8", "aes192gcm64", "aesgcm8192"], gcm(192, 8)),
    (&["aes256gcm8", "aes256gcm64", "aesgcm8256"], gcm(256, 8)),
    (&["aes128ccm16", "aes128ccm", "aes128ccm128", "aesccm128", "aesccm16128"], ccm(128, 16)),
    (&["aes192ccm16", "aes192ccm", "aes192ccm128", "aesccm192", "aesccm16192"], ccm(192, 16)),
    (&["aes256ccm16", "aes256ccm", "aes256ccm128", "aesccm256", "aesccm16256"], ccm(256, 16)),
    (&["aes128ccm12", "aes128ccm96", "aesccm12128"], ccm(128, 12)),
    (&["aes192ccm12", "aes192ccm96", "aesccm12192"], ccm(192, 12)),
    (&["aes256ccm12", "aes256ccm96", "aesccm12256"], ccm(256, 12)),
    (&["aes128ccm8", "aes128ccm64", "aesccm8128"], ccm(128, 8)),
    (&["aes192ccm8", "aes192ccm64", "aesccm8192"], ccm(192, 8)),
    (&["aes256ccm8", "aes256ccm64", "aesccm8256"], ccm(256, 8)),
    (&["chacha20poly1305", "chacha20"], Word::Encr(Encr::ChaCha20Poly1305)),
    (&["3des", "tripledes", "esp3des", "3descbc", "encr3des", "des3"], Word::Encr(Encr::TripleDes)),
    (&["null", "espnull", "encrnull"], Word::Encr(Encr::Null)),
    // INTEG. Cisco: sha256, esp-sha256-hmac, sha-256; IANA: HMAC_SHA2_256_128.
    (&["sha256", "sha2256", "hmacsha256", "sha256hmac", "espsha256hmac", "sha2256128", "sha256128", "hmacsha2256128", "authhmacsha2256128"], Word::Integ(Integ::HmacSha256_128)),
    (&["sha384", "sha2384", "hmacsha384", "sha384hmac", "espsha384hmac", "sha384192", "hmacsha2384192", "authhmacsha2384192"], Word::Integ(Integ::HmacSha384_192)),
    (&["sha512", "sha2512", "hmacsha512", "sha512hmac", "espsha512hmac", "sha512256", "hmacsha2512256", "authhmacsha2512256"], Word::Integ(Integ::HmacSha512_256)),
    (&["sha1", "sha", "hmacsha1", "sha196", "espshahmac", "espsha1hmac", "sha96", "hmacsha196", "authhmacsha196"], Word::Integ(Integ::HmacSha1_96)),
    (&["md5", "hmacmd5", "md596", "espmd5hmac", "hmacmd596", "authhmacmd596"], Word::Integ(Integ::HmacMd5_96)),
    (&["aesxcbc", "aesxcbc96", "aesxcbcmac", "authaesxcbc96"], Word::Integ(Integ::AesXcbc96)),
    (&["aescmac", "aescmac96", "authaescmac96"], Word::Integ(Integ::AesCmac96)),
    // PRF. Cisco has the hash's name behind `prf`.
    (&["prfsha256", "prfhmacsha256", "prfhmacsha2256"], Word::Prf(Prf::HmacSha256)),
    (&["prfsha384", "prfhmacsha384", "prfhmacsha2384"], Word::Prf(Prf::HmacSha384)),
    (&["prfsha512", "prfhmacsha512", "prfhmacsha2512"], Word::Prf(Prf::HmacSha512)),
    (&["prfsha1", "prfsha", "prfhmacsha1"], Word::Prf(Prf::HmacSha1)),
    (&["prfmd5", "prfhmacmd5"], Word::Prf(Prf::HmacMd5)),
    (&["prfaesxcbc", "prfaes128xcbc"], Word::Prf(Prf::AesXcbc)),
    (&["prfaescmac", "prfaes128cmac"], Word::Prf(Prf::AesCmac)),
    // Key exchange. Cisco and PAN-OS number them; ASA and IOS write `group 14`, PAN-OS and `set pfs` write `group14`.
    (&["modp768", "group1", "dhgroup1", "dh1", "grp1", "768modp"], Word::Group(Group::Modp768)),
    (&["modp1024", "group2", "dhgroup2", "dh2", "grp2", "1024modp"], Word::Group(Group::Modp1024)),
    (&["modp1536", "group5", "dhgroup5", "dh5", "grp5", "1536modp"], Word::Group(Group::Modp1536)),
    (&["modp2048", "group14", "dhgroup14", "dh14", "grp14", "2048modp"], Word::Group(Group::Modp2048)),
    (&["modp3072", "group15", "dhgroup15", "dh15", "grp15", "3072modp"], Word::Group(Group::Modp3072)),
    (&["modp4096", "group16", "dhgroup16", "dh16", "grp16", "4096modp"], Word::Group(Group::Modp4096)),
    (&["modp6144", "group17", "dhgroup17", "dh17", "grp17", "6144modp"], Word::Group(Group::Modp6144)),
    (&["modp8192", "group18", "dhgroup18", "dh18", "grp18", "8192modp"], Word::Group(Group::Modp8192)),
    (&["ecp256", "group19", "dhgroup19", "dh19", "grp19", "256ecp", "p256", "secp256r1", "prime256v1"], Word::Group(Group::Ecp256)),
    (&["ecp384", "group20", "dhgroup20", "dh20", "grp20", "384ecp", "p384", "secp384r1"], Word::Group(Group::Ecp384)),
    (&["ecp521", "group21", "dhgroup21", "dh21", "grp21", "521ecp", "p521", "secp521r1"], Word::Group(Group::Ecp521)),
    (&["x25519", "curve25519", "group31", "dhgroup31", "dh31", "grp31"], Word::Group(Group::X25519)),
    // ESN.
    (&["noesn"], Word::Esn(false)),
    (&["esn"], Word::Esn(true)),
    // Words that may stand in a line copied from a configuration and say nothing here.
    (&["esp", "ike", "encryption", "integrity", "authentication", "hash"], Word::Noise),
    // Known, and not here.
    (&["des", "espdes", "descbc"], Word::Absent("single DES")),
    (&["blowfish", "blowfish128", "blowfish192", "blowfish256"], Word::Absent("Blowfish")),
    (&["cast128", "cast"], Word::Absent("CAST-128")),
    (&["camellia", "camellia128", "camellia192", "camellia256", "camellia128ctr", "camellia192ctr", "camellia256ctr"], Word::Absent("Camellia")),
    (&["aes128gmac", "aes192gmac", "aes256gmac", "espgmac"], Word::Absent("GMAC, ESP without encryption")),
    (&["modp1024s160", "group22"], Word::Absent("1024-bit MODP with a 160-bit subgroup (group 22)")),
    (&["modp2048s224", "group23"], Word::Absent("2048-bit MODP with a 224-bit subgroup (group 23)")),
    (&["modp2048s256", "group24"], Word::Absent("2048-bit MODP with a 256-bit subgroup (group 24)")),
    (&["ecp192", "group25"], Word::Absent("192-bit ECP (group 25)")),
    (&["ecp224", "group26"], Word::Absent("224-bit ECP (group 26)")),
    (&["ecp256bp", "ecp384bp", "ecp512bp", "group28", "group29", "group30"], Word::Absent("a Brainpool curve")),
    (&["x448", "curve448", "group32"], Word::Absent("Curve448 (group 32)")),
    (&["mlkem512", "mlkem768", "mlkem1024", "ke1mlkem768", "ke1mlkem1024"], Word::Absent("ML-KEM")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ike(text: &str) -> String {
        ike_proposal(text)
            .map_or_else(|p| format!("{} ({})", p.message, p.hint.unwrap_or_default()), |p| proposal_words(&p))
    }

    fn esp(text: &str) -> String {
        esp_proposal(text)
            .map_or_else(|p| format!("{} ({})", p.message, p.hint.unwrap_or_default()), |p| proposal_words(&p.0))
    }

    #[test]
    fn reads_every_dialect() {
        for (text, wanted) in [
            ("aes256-sha256-modp2048", "aes256-sha256-modp2048"),
            ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"),
            ("aes256gcm16-sha384-ecp384", "aes256gcm16-prfsha384-ecp384"),
            ("aes-cbc-256-sha256-group14", "aes256-sha256-modp2048"),
            ("aes-cbc-256 sha256 group 14", "aes256-sha256-modp2048"),
            ("aes-256-cbc, sha256, group14", "aes256-sha256-modp2048"),
            ("aes-256 sha-256 dh-group 14", "aes256-sha256-modp2048"),
            ("aes-gcm-256 prf sha384 group 20", "aes256gcm16-prfsha384-ecp384"),
            ("aes-256-gcm sha512 group21", "aes256gcm16-prfsha512-ecp521"),
            ("AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048", "aes256-sha256-modp2048"),
            ("aes256-aes128-sha256-sha1-modp2048-ecp256", "aes256-aes128-sha256-sha1-modp2048-ecp256"),
            ("aes256-sha256-prfsha1-modp2048", "aes256-sha256-prfsha1-modp2048"),
            ("aes128-aesxcbc-modp2048", "aes128-aesxcbc-modp2048"),
            ("aes128ctr-aescmac-x25519", "aes128ctr-aescmac-x25519"),
            ("aes192ccm8-prfaescmac-curve25519", "aes192ccm8-prfaescmac-x25519"),
            ("chacha20-poly1305-prfsha256-x25519", "chacha20poly1305-prfsha256-x25519"),
            ("3des-md5-modp1024", "3des-md5-modp1024"),
        ] {
            assert_eq!(ike(text), wanted, "{text}");
        }
        for (text, wanted) in [
            ("aes256-sha256", "aes256-sha256"),
            ("esp-aes 256 esp-sha256-hmac", "aes256-sha256"),
            ("esp-aes esp-sha-hmac", "aes128-sha1"),
            ("esp-gcm 256", "aes256gcm16"),
            ("aes256gcm16-esn", "aes256gcm16-esn"),
            ("aes128-sha1-noesn", "aes128-sha1"),
            ("null-sha256", "null-sha256"),
        ] {
            assert_eq!(esp(text), wanted, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, wanted) in [
            ("aes257-sha256-modp2048", "unknown algorithm `aes257` in `aes257-sha256-modp2048` (did you mean aes256?)"),
            (
                "aes-cbc-257 sha256 group 14",
                "unknown algorithm `aes-cbc-257` in `aes-cbc-257 sha256 group 14` (did you mean aes256?)",
            ),
            ("aes256-sha265-modp2048", "unknown algorithm `sha265` in `aes256-sha265-modp2048` (did you mean sha256?)"),
            (
                "aes256-sha256-modp2047",
                "unknown algorithm `modp2047` in `aes256-sha256-modp2047` (did you mean modp2048?)",
            ),
            ("frobnicate", "unknown algorithm `frobnicate` ()"),
            (
                "aes256-sha256",
                "no key exchange group in `aes256-sha256` (add one, for example -modp2048 (group 14) or -ecp256 (group 19))",
            ),
            ("aes256-modp2048", "no integrity algorithm in `aes256-modp2048` (add one, for example -sha256)"),
            (
                "aes256gcm16-modp2048",
                "`aes256gcm16-modp2048` names no PRF, and an AEAD cipher has none to follow from (add one, for example -prfsha256 or -prfsha384)",
            ),
            (
                "aes256-aes256gcm16-sha256-modp2048",
                "`aes256-aes256gcm16-sha256-modp2048` mixes AEAD and other ciphers, which RFC 7296 3.3 forbids in one proposal (write two proposals)",
            ),
            ("null-sha256-modp2048", "`null-sha256-modp2048` would leave IKE unencrypted, which RFC 7296 5 forbids ()"),
            (
                "camellia256-sha256-modp2048",
                "`camellia256` in `camellia256-sha256-modp2048` is Camellia, which ikelab does not speak ()",
            ),
            ("", "an empty proposal (for example aes256-sha256-modp2048)"),
        ] {
            assert_eq!(ike(text), wanted, "{text}");
        }
        assert_eq!(
            esp("aes256gcm16-sha256"),
            "`aes256gcm16-sha256` has an integrity algorithm beside an AEAD cipher, which brings its own (leave it out)"
        );
        assert_eq!(esp("aes256-prfsha256"), "`aes256-prfsha256` names a PRF, which ESP does not have ()");
    }

    #[test]
    fn no_spelling_means_two_things() {
        let mut names: Vec<&str> = spellings().map(|(name, _)| name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
