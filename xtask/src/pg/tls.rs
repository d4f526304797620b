//! What `sslmode` and its kin mean: which certificates are believed, and whether any.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config;
use crate::failure::Failure;
use crate::pg::conninfo::Parameters;

/// How much a connection is protected. (PostgreSQL documentation, 32.19.3, table 32.1.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Plain.
    Disable,
    /// TLS where the server has it, and nobody's certificate is looked at.
    Prefer,
    /// TLS, and nobody's certificate is looked at, unless a root certificate is named.
    Require,
    /// TLS with a certificate that the root certificate vouches for.
    VerifyCa,
    /// The same, and the certificate is for the host that was asked for.
    VerifyFull,
}

impl Mode {
    /// The name in connection strings.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Disable => "disable",
            Mode::Prefer => "prefer",
            Mode::Require => "require",
            Mode::VerifyCa => "verify-ca",
            Mode::VerifyFull => "verify-full",
        }
    }

    /// Whether a plain connection is out of the question.
    pub fn wants_tls(self) -> bool {
        !matches!(self, Mode::Disable | Mode::Prefer)
    }

    fn parse(text: &str) -> Result<Mode> {
        Ok(match text {
            "disable" => Mode::Disable,
            // libpq tries plain first for `allow`; trying TLS first is never the worse of the two.
            "allow" | "prefer" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" => Mode::VerifyCa,
            "verify-full" => Mode::VerifyFull,
            _ => {
                return Err(Failure::usage("sslmode is none that libpq knows")
                    .hint("one of disable, prefer, require, verify-ca, verify-full")
                    .into());
            }
        })
    }
}

/// The TLS part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How much is asked for.
    pub mode: Mode,
    /// Whether somebody asked for it: what is not asked for is not written into other strings.
    pub is_given: bool,
    /// `sslrootcert`: a PEM file with the certificates that are believed.
    pub root: Option<PathBuf>,
    /// `sslcert`: our own certificate.
    pub certificate: Option<PathBuf>,
    /// `sslkey`: its key.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Nothing was asked for, on this machine.
    pub fn local() -> Tls {
        Tls { mode: Mode::Prefer, is_given: false, root: None, certificate: None, key: None }
    }

    /// Takes the TLS part out of a connection string; the environment adds what it lacks.
    ///
    /// # Errors
    /// `sslmode` is none, or is not given and a host is not this machine: libpq's own default
    /// would send the password to whoever answers.
    pub fn take(parameters: &mut Parameters, hosts: &[(String, u16)]) -> Result<Tls> {
        let mut value =
            |name: &str, variable: &str| parameters.take(name).or_else(|| config::text(variable));
        let given = value("sslmode", config::PGSSLMODE).map(|text| Mode::parse(&text));
        let given = given.transpose()?;
        let root = value("sslrootcert", config::PGSSLROOTCERT).map(PathBuf::from);
        let certificate = value("sslcert", config::PGSSLCERT).map(PathBuf::from);
        let key = value("sslkey", config::PGSSLKEY).map(PathBuf::from);
        let remote = hosts.iter().find(|(host, _)| !is_this_machine(host));
        if let (None, Some((host, _))) = (given, remote) {
            return Err(Failure::usage(format!(
                "{host} is not this machine, and the connection string has no sslmode"
            ))
            .hint(
                "add sslmode=verify-full and sslrootcert=FILE; sslmode=prefer accepts that \
                 anybody between may read and answer",
            )
            .into());
        }
        let mode = given.unwrap_or(Mode::Prefer);
        Ok(Tls { mode, is_given: given.is_some(), root, certificate, key })
    }

    /// The names and values that a connection string or a child's environment needs.
    pub fn parameters(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut all = Vec::new();
        if self.is_given {
            all.push(("sslmode", config::PGSSLMODE, self.mode.name().to_string()));
        }
        for (name, variable, file) in [
            ("sslrootcert", config::PGSSLROOTCERT, &self.root),
            ("sslcert", config::PGSSLCERT, &self.certificate),
            ("sslkey", config::PGSSLKEY, &self.key),
        ] {
            if let Some(file) = file {
                all.push((name, variable, file.to_string_lossy().into_owned()));
            }
        }
        all
    }

    /// What tokio-postgres is told; who is believed is the connector's business.
    pub fn negotiation(&self) -> SslMode {
        match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        }
    }

    /// Makes the handshakes of this endpoint.
    ///
    /// # Errors
    /// A file is missing or holds no certificate.
    pub fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .context("set up TLS")?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = read_certificates(certificate)?;
                let key =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| file_failure(key, &error))?;
                builder.with_client_auth_cert(chain, key).context("use sslcert and sslkey")?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(Failure::usage("sslcert and sslkey belong together").into()),
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        let asks_who = matches!(self.mode, Mode::VerifyCa | Mode::VerifyFull)
            || (self.mode == Mode::Require && self.root.is_some());
        if !asks_who {
            return Ok(Arc::new(Anybody(provider)));
        }
        let Some(file) = self.root.clone().or_else(default_root) else {
            return Err(Failure::usage(format!(
                "sslmode={} needs a root certificate, and there is none",
                self.mode.name()
            ))
            .hint("add sslrootcert=FILE, or put it into ~/.postgresql/root.crt")
            .into());
        };
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(&file)? {
            roots.add(certificate).map_err(|error| file_failure(&file, &error))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| file_failure(&file, &error))?;
        if self.mode == Mode::VerifyFull {
            return Ok(verifier);
        }
        Ok(Arc::new(AnyName(verifier)))
    }
}

/// Whether a connection to this host stays on this machine.
pub fn is_this_machine(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn default_root() -> Option<PathBuf> {
    let file = config::home()?.join(".postgresql/root.crt");
    file.exists().then_some(file)
}

fn read_certificates(file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let all = read().map_err(|error| file_failure(file, &error))?;
    if all.is_empty() {
        return Err(Failure::usage(format!("{} holds no certificate", file.display())).into());
    }
    Ok(all)
}

fn file_failure(file: &std::path::Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    Failure::usage(format!("{} cannot be used: {error}", file.display())).into()
}

/// Believes whoever answers: `prefer` and `require`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _status: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Believes what the root certificate vouches for, whatever its name: `verify-ca`.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        status: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(certificate, chain, name, status, now) {
            // The name is looked at last, so everything else was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Tls> {
        let mut parameters = Parameters::parse(text)?;
        let hosts = parameters.take_hosts()?;
        Tls::take(&mut parameters, &hosts)
    }

    #[test]
    fn another_machine_needs_a_word_about_tls() {
        let error = take("host=db.example").unwrap_err();
        assert!(error.to_string().contains("db.example"), "{error}");
        assert!(take("host=localhost,127.0.0.1,/run").is_ok());
        assert!(take("host=db.example sslmode=prefer").is_ok());
        assert!(take("host=localhost,db.example").is_err());
    }

    #[test]
    fn only_what_was_asked_for_is_passed_on() {
        assert_eq!(take("host=localhost").unwrap(), Tls::local());
        assert!(Tls::local().parameters().is_empty());
        let tls = take("host=db sslmode=verify-full sslrootcert=/ca").unwrap();
        let names: Vec<&str> = tls.parameters().iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["sslmode", "sslrootcert"]);
        assert!(take("host=db sslmode=verify-all").is_err());
    }
}
