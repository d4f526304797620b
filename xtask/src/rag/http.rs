//! The only owner of HTTP: limits on time and size, patience with a busy service, and a key that
//! goes to that service and nowhere else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
pub use ureq::http::Method;
use ureq::http::{Request, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::tls::is_this_machine;

/// How long a service may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long one request may take, with its answer.
const REQUEST_LIMIT: Duration = Duration::from_mins(2);
/// Bytes of an answer, at most.
const ANSWER_LIMIT: u64 = 256 << 20;
/// How often a request is sent, at most.
const ATTEMPTS: u32 = 6;
/// The pause after the first attempt where the service asks for none; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that a service may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Characters of an answer that an error shows, at most.
const SHOWN_ANSWER: usize = 300;
/// The certificates that this machine believes.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A key of a service. It cannot be printed.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// A key as its file or its variable has it: white space around it is not part of it.
    ///
    /// # Errors
    /// It is empty, or no header can hold it.
    pub fn new(text: &str) -> Result<Key> {
        let key = text.trim();
        match !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Key(key.into())),
            false => Err(Failure::usage("the API key is empty or more than one line").into()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

/// Where a service is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Address {
    /// `http` or `https`, host, port, and a path where it has one.
    pub url: String,
    /// What it knows us by.
    pub key: Option<Key>,
    /// A PEM file with the certificates that are believed; else those of this machine.
    pub roots: Option<PathBuf>,
    /// Whether another machine may be spoken to without TLS.
    pub accepts_plain: bool,
}

/// What a service answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it said: JSON, or a text where it is none.
    pub body: Value,
    what: String,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// It is no success; with what the service said about it.
    pub fn success(self) -> Result<Value> {
        match self.status {
            200..300 => Ok(self.body),
            status => {
                let said = said(&self.body);
                Err(Failure::failed(format!("{} is refused ({status}): {said}", self.what)).into())
            }
        }
    }
}

/// A service that is asked again and again. Each request may be sent twice, so each must be one
/// whose second time changes nothing.
pub struct Service {
    agent: ureq::Agent,
    url: String,
    header: Option<(&'static str, String)>,
    story: Story,
    has_answered: AtomicBool,
}

impl Service {
    /// A service at an address; nothing is sent yet. `header` is the name of the header that holds
    /// the key, and what stands before it there.
    ///
    /// # Errors
    /// The address is none, or would send what is secret in the clear; the certificates cannot be
    /// read.
    pub fn new(address: &Address, header: (&'static str, &str), story: &Story) -> Result<Service> {
        let url = checked(address)?;
        let roots = match url.starts_with("https:") {
            true => read_roots(address.roots.as_deref().unwrap_or(Path::new(SYSTEM_ROOTS)))?,
            false => RootCerts::new_with_certs(&[]),
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_global(Some(REQUEST_LIMIT))
            .tls_config(tls.build())
            .build();
        let (name, before) = header;
        Ok(Service {
            agent: config.into(),
            url,
            header: address.key.as_ref().map(|Key(key)| (name, format!("{before}{key}"))),
            story: story.clone(),
            has_answered: AtomicBool::new(false),
        })
    }

    /// Its address, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for something.
    ///
    /// # Errors
    /// As [`Service::send`].
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    /// Removes something.
    ///
    /// # Errors
    /// As [`Service::send`].
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.call(Method::DELETE, path, None).await
    }

    /// Sends something, as `PUT` or as `POST`.
    ///
    /// # Errors
    /// The service cannot be reached, does not believe us, or stays too busy.
    pub async fn send(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Answer> {
        let body = serde_json::to_vec(body).context("write a request")?;
        self.call(method, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let (trouble, asked) = match self.once(&method, path, body.clone()).await {
                Ok((answer, _)) if !is_passing(answer.status) => return self.believed(answer),
                Ok((answer, asked)) => {
                    (format!("answers {}: {}", answer.status, said(&answer.body)), asked)
                }
                // Somebody who was never reached is not there, or the address is wrong.
                Err(error) if !self.has_answered.load(Ordering::Relaxed) => {
                    let message = format!("{} cannot be reached: {error:#}", self.url);
                    return Err(Failure::failed(message)
                        .hint("is it up, and is --url right?")
                        .into());
                }
                Err(error) => (format!("is lost: {error:#}"), None),
            };
            let wait = asked.unwrap_or(pause);
            if attempt == ATTEMPTS || wait > LONGEST_PAUSE {
                let message = format!("{} {trouble}; asked {attempt} times", self.url);
                let hint = "run the same command later; it goes on where this one ended";
                return Err(Failure::failed(message).hint(hint).into());
            }
            self.story.warning(format!("{} {trouble}; again in {wait:?}", self.url));
            tokio::time::sleep(wait).await;
            attempt += 1;
            pause *= 2;
        }
    }

    /// One attempt, and the pause that the service asks for.
    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(Answer, Option<Duration>)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("accept", "application/json");
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        let agent = self.agent.clone();
        let exchange = move || -> Result<_> {
            let mut response: Response<_> = match body {
                Some(body) => {
                    let request = request.header("content-type", "application/json");
                    agent.run(request.body(body)?)?
                }
                None => agent.run(request.body(())?)?,
            };
            let body = response.body_mut().with_config().limit(ANSWER_LIMIT).read_to_vec()?;
            Ok((response.status().as_u16(), retry_after(response.headers()), body))
        };
        let exchange = tokio::task::spawn_blocking(exchange).await;
        let (status, asked, body) = exchange.context("send a request")??;
        self.has_answered.store(true, Ordering::Relaxed);
        let body = match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(_) => Value::String(String::from_utf8_lossy(&body).trim().to_string()),
        };
        Ok((Answer { status, body, what: format!("{method} {path}") }, asked))
    }

    /// An answer of the service itself, to somebody whom it knows.
    fn believed(&self, answer: Answer) -> Result<Answer> {
        match answer.status {
            300..=399 => Err(Failure::usage(format!("{} sends us elsewhere", self.url))
                .hint("name the final address with --url")
                .into()),
            status @ (401 | 403) => {
                let message = format!("{} refuses us ({status}): {}", self.url, said(&answer.body));
                let hint = "a key that may write: --api-key-env NAME or --api-key-file PATH";
                Err(Failure::usage(message).hint(hint).into())
            }
            _ => Ok(answer),
        }
    }
}

/// Whether the same request may be answered otherwise in a moment.
fn is_passing(status: u16) -> bool {
    status == 429 || (500..600).contains(&status)
}

/// The pause that a busy service asks for: seconds, or a date.
fn retry_after(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO))
}

/// What a service says is wrong: each has its own place for it.
fn said(body: &Value) -> String {
    let places = ["/status/error", "/error/0/message", "/errors/0/message", "/message"];
    let text = places.iter().find_map(|place| body.pointer(place)?.as_str().map(str::to_string));
    let text = text.unwrap_or_else(|| match body {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    match text.char_indices().nth(SHOWN_ANSWER) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The address without a slash at its end, where it is one that may be used.
fn checked(address: &Address) -> Result<String> {
    let refused = |why: &str| Failure::usage(format!("--url {why}"));
    let uri: Uri = address.url.parse().map_err(|_| refused("is no address"))?;
    let (scheme, host) = (uri.scheme_str().unwrap_or(""), uri.host().unwrap_or(""));
    if !["http", "https"].contains(&scheme) || host.is_empty() || uri.query().is_some() {
        return Err(refused("is no address of a service").hint("http://localhost:6333").into());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refused("holds a name or a password, which the whole machine can read")
            .hint("--api-key-env NAME or --api-key-file PATH")
            .into());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if scheme == "http" && !is_this_machine(host) && !address.accepts_plain {
        return Err(refused(&format!(
            "leads to {host} without TLS: anybody between can read along"
        ))
        .hint("https://…, or --accept-plain-http where the network is yours alone")
        .into());
    }
    Ok(address.url.trim_end_matches('/').to_string())
}

fn read_roots(file: &Path) -> Result<RootCerts> {
    let trouble = |why: String| {
        Failure::usage(format!("{}: {why}", file.display())).hint("--ca-file PATH, in PEM")
    };
    let pem = std::fs::read(file).map_err(|error| trouble(error.to_string()))?;
    let mut roots = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| trouble(error.to_string()))?
        {
            roots.push(certificate);
        }
    }
    match roots.is_empty() {
        true => Err(trouble("it holds no certificate".into()).into()),
        false => Ok(RootCerts::new_with_certs(&roots)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address { url: url.into(), key: None, roots: None, accepts_plain: false }
    }

    #[test]
    fn an_address_is_used_only_where_nothing_secret_is_shown() {
        for good in ["http://localhost:6333/", "http://[::1]:8080", "https://there/path/"] {
            let url = checked(&address(good)).unwrap();
            assert_eq!(url, good.trim_end_matches('/'));
        }
        for bad in [
            "localhost:6333",
            "ftp://localhost",
            "http://there:6333",
            "https://me:secret@there",
            "https://there?key=secret",
            "",
        ] {
            let error = checked(&address(bad)).unwrap_err();
            assert_eq!(crate::failure::kind(&error).exit_code(), 2, "{bad}");
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
        let plain = Address { accepts_plain: true, ..address("http://there:6333") };
        checked(&plain).unwrap();
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_until_a_date() {
        let asked = |value: &str| {
            let mut headers = ureq::http::HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(asked("Wed, 21 Oct 2150 07:28:00 GMT").unwrap() > LONGEST_PAUSE);
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn a_key_is_one_word_and_is_never_shown() {
        let key = Key::new(" hunter2\n").unwrap();
        assert_eq!((key.0.as_str(), format!("{key:?}").as_str()), ("hunter2", "Key"));
        for bad in ["", "\n", "a\nb", "a b", "ä"] {
            Key::new(bad).unwrap_err();
        }
    }

    #[test]
    fn what_a_service_says_is_found_in_its_place_and_cut() {
        let qdrant = serde_json::json!({"status": {"error": "Wrong input"}, "time": 0.1});
        let weaviate = serde_json::json!({"error": [{"message": "no such class"}]});
        assert_eq!(
            (said(&qdrant).as_str(), said(&weaviate).as_str()),
            ("Wrong input", "no such class")
        );
        assert_eq!(said(&Value::String("ä".repeat(1000))).chars().count(), SHOWN_ANSWER + 1);
    }
}
