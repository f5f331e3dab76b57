//! Certificates as a person uses them: what is about to expire is said at the start, revocation lists are fetched if that
//! is wanted, and the failure scenarios run from a baseline with certificates.

use std::convert::Infallible;
use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CrlDistributionPoint,
    DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};

use super::cli_errors::{Lab, interrupt, until_line};

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Ca(CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    /// Certificate and key files `NAME.pem` and `NAME.key`, valid from yesterday for so many days.
    fn leaf(&self, lab: &Lab, name: &str, serial: u64, days: u64, crl: Option<&str>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
        params.serial_number = Some(SerialNumber::from(serial));
        let day = Duration::from_secs(86_400);
        #[allow(clippy::disallowed_methods)] // real processes have real dates
        let yesterday = SystemTime::now() - day;
        params.not_before = yesterday.into();
        params.not_after = (yesterday + day * (days as u32 + 1) + Duration::from_secs(3600)).into();
        params.crl_distribution_points =
            crl.map(|url| CrlDistributionPoint { uris: vec![url.to_owned()] }).into_iter().collect();
        let leaf = params.signed_by(&key, &self.0).expect("a leaf");
        lab.file(&format!("{name}.pem"), &leaf.pem()).file(&format!("{name}.key"), &key.serialize_pem());
        use std::os::unix::fs::PermissionsExt;
        let file = lab.path().join(format!("{name}.key"));
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("our own");
    }

    fn crl(&self, revoked: u64) -> Vec<u8> {
        #[allow(clippy::disallowed_methods)]
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let params = CertificateRevocationListParams {
            this_update: (now - hour).into(),
            next_update: (now + 24 * hour).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(revoked),
                revocation_time: (now - 2 * hour).into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("a revocation list").der().to_vec()
    }
}

/// Both ends with certificates instead of the password; `trust` is what the initiator says of the responder.
fn both_ends(lab: &Lab, ca: &Ca, trust: &str) {
    lab.both_ends().file("ca.pem", &ca.0.pem());
    for (file, own, more) in [("i.yaml", "i.test", trust), ("r.yaml", "r.test", "")] {
        let text = std::fs::read_to_string(lab.path().join(file)).expect("just written");
        let auth = format!(
            "auth:\n  local: {{certificate: {{chain: {own}.pem, key: {own}.key}}}}\n  remote: {{certificate: {{ca: \
             [ca.pem]{more}}}}}"
        );
        let lines = text.lines().map(|l| if l.starts_with("auth:") { auth.as_str() } else { l });
        lab.file(file, &lines.collect::<Vec<_>>().join("\n"));
    }
}

/// Connects once to a listener; exit code, standard output and standard error.
fn connect(lab: &Lab) -> (Option<i32>, String, String) {
    let mut listen = lab.command(&["listen", "-c", "r.yaml", "--out", "r"]);
    let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    until_line(&mut listen, "listening on ");
    let _ = std::fs::remove_dir_all(lab.path().join("i"));
    let output = lab.command(&["connect", "-c", "i.yaml", "--once", "--out", "i"]).output().expect("it runs");
    interrupt(&listen);
    let mut rest = String::new();
    let _ = listen.stdout.take().expect("piped").read_to_string(&mut rest);
    let _ = listen.wait();
    let _ = std::fs::remove_dir_all(lab.path().join("r"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A web server on loopback that answers everything with these octets, and counts.
struct Web {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Web {
    fn serve(body: Vec<u8>) -> Web {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}/root.crl", listener.local_addr().expect("bound"));
        listener.set_nonblocking(true).expect("a socket");
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, body) = (Arc::clone(&asked), Bytes::from(body));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    let (count, body) = (Arc::clone(&count), body.clone());
                    let answer = service_fn(move |_: Request<hyper::body::Incoming>| {
                        count.fetch_add(1, Ordering::SeqCst);
                        let body = body.clone();
                        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                    });
                    tokio::spawn(async move {
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), answer)
                            .await;
                    });
                }
            });
        });
        Web { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn what_is_about_to_expire_is_said_at_the_start() {
    let (lab, ca) = (Lab::new(), Ca::new());
    ca.leaf(&lab, "i.test", 1, 9, None);
    ca.leaf(&lab, "r.test", 2, 90, None);
    both_ends(&lab, &ca, "");
    let (code, stdout, stderr) = connect(&lab);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let words = "warning: i.yaml: the certificate of CN=rcgen self signed cert expires in 9 days, on 20";
    assert!(stderr.starts_with(words) && stderr.lines().count() == 1, "{stderr}");
    ca.leaf(&lab, "i.test", 1, 60, None);
    let (code, _, stderr) = connect(&lab);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn revocation_lists_are_fetched_if_that_is_wanted() {
    let ca = Ca::new();
    let web = Web::serve(ca.crl(2));
    let lab = Lab::new();
    ca.leaf(&lab, "i.test", 1, 90, Some(&web.url));
    ca.leaf(&lab, "r.test", 2, 90, Some(&web.url));

    // Off by default: nobody is asked, and nobody's revocation is known.
    both_ends(&lab, &ca, "");
    let (code, stdout, stderr) = connect(&lab);
    assert_eq!((code, web.asked()), (Some(0), 0), "{stdout}{stderr}");
    both_ends(&lab, &ca, &format!(", crl: [{:?}]", web.url));
    let (code, _, stderr) = connect(&lab);
    assert_eq!((code, web.asked()), (Some(2), 0), "{stderr}");
    assert!(stderr.contains("a revocation list by HTTP, and fetching is off (crl_fetch: true)"), "{stderr}");

    // By the address in the file, and by the one in our own certificate.
    for (n, how) in [format!(", crl: [{:?}], crl_fetch: true", web.url), ", crl_fetch: true".into()].iter().enumerate()
    {
        both_ends(&lab, &ca, how);
        let (code, stdout, stderr) = connect(&lab);
        assert_eq!((code, web.asked()), (Some(1), n + 1), "{how}: {stdout}{stderr}");
        assert!(stdout.contains("was revoked on 20"), "{how}: {stdout}");
    }
}

/// What cannot be fetched is said, in bounded time and memory, and the tunnel comes up all the same.
#[test]
fn a_list_that_cannot_be_fetched_is_said() {
    let ca = Ca::new();
    let lab = Lab::new();
    ca.leaf(&lab, "i.test", 1, 90, None);
    ca.leaf(&lab, "r.test", 2, 90, None);
    let too_long = Web::serve(vec![b'x'; 9 << 20]);
    let nonsense = Web::serve(b"<html>not found</html>".to_vec());
    // Accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let silent = (format!("http://{}/", silent.local_addr().expect("bound")), silent);
    for (url, words) in [
        (too_long.url.as_str(), "too long|too large|limit"),
        (nonsense.url.as_str(), "no revocation list"),
        (silent.0.as_str(), "timeout"),
        ("http://127.0.0.1:1/", "refused"),
    ] {
        both_ends(&lab, &ca, &format!(", crl: [{url:?}], crl_fetch: true"));
        #[allow(clippy::disallowed_methods)]
        let began = Instant::now();
        let (code, stdout, stderr) = connect(&lab);
        assert_eq!(code, Some(0), "{url}: {stdout}{stderr}");
        assert!(stderr.contains(url) && stderr.contains("nobody's revocation is known from it"), "{stderr}");
        let low = stderr.to_lowercase();
        assert!(words.split('|').any(|word| low.contains(word)), "{words}: {stderr}");
        assert!(began.elapsed() < Duration::from_secs(12), "{url}");
    }
}

/// A baseline with certificates, and a certificate at one end only, against the embedded peer.
#[test]
fn failure_scenarios_run_from_a_baseline_with_certificates() {
    let ca = Ca::new();
    let lab = Lab::new();
    ca.leaf(&lab, "i.test", 1, 90, None);
    ca.leaf(&lab, "r.test", 2, 90, None);
    both_ends(&lab, &ca, "");
    let run = |file: &str, out: &str| {
        let args = ["run", "sa-init/no-proposal-encr", "child/ts-not-mirrored", "-c", file, "--out", out];
        let output = lab.command(&args).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}{stderr}");
        let result = std::fs::read(lab.path().join(out).join("result.json")).expect("a result");
        let result: serde_json::Value = serde_json::from_slice(&result).expect("JSON");
        let cases = result["cases"].as_array().expect("cases").clone();
        assert!(cases.iter().filter(|c| c["verdict"] == "reproduced").count() >= 4, "{cases:#?}");
    };
    run("i.yaml", "both");
    // The peer with a password, we with a certificate.
    let text = std::fs::read_to_string(lab.path().join("i.yaml")).expect("written");
    let mixed = text.replace("{certificate: {ca: [ca.pem]}}", "{psk_env: IKELAB_TEST_PSK}");
    assert_ne!(text, mixed);
    lab.file("mixed.yaml", &mixed);
    run("mixed.yaml", "one");
}
