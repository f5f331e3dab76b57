//! The Prometheus endpoint of a run: one page, on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::exit::CliError;

/// A running endpoint; it ends with the process.
#[derive(Debug)]
pub struct Metrics {
    address: SocketAddr,
}

impl Metrics {
    /// Serves what `page` says, at `/metrics`.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub fn serve(at: SocketAddr, page: impl Fn() -> String + Send + Sync + 'static) -> Result<Metrics, CliError> {
        let failed = |e: std::io::Error| CliError::environment(format!("--metrics: cannot listen on {at}: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind(at)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let page: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(page);
        let work = move || {
            runtime.block_on(async move {
                // A connection that fails is its scraper's loss; the next one is served.
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let page = Arc::clone(&page);
                    tokio::spawn(async move {
                        let service = service_fn(move |request| {
                            let answer = answer(&request, &*page);
                            async move { Ok::<_, std::convert::Infallible>(answer) }
                        });
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            });
        };
        std::thread::Builder::new().name("metrics".into()).spawn(work).map_err(failed)?;
        Ok(Metrics { address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(request: &Request<Incoming>, page: &dyn Fn() -> String) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page()),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "see /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_page_is_served_again_and_again() {
        let metrics =
            Metrics::serve("127.0.0.1:0".parse().expect("an address"), || "ike_sas 1\n".into()).expect("a port");
        let get = |path: &str| {
            let mut stream = std::net::TcpStream::connect(metrics.address()).expect("it listens");
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("it answers");
            text
        };
        for _ in 0..2 {
            let text = get("/metrics");
            assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ike_sas 1\n"), "{text}");
        }
        assert!(get("/").starts_with("HTTP/1.1 404"));
        assert!(Metrics::serve(metrics.address(), String::new).is_err());
    }
}
