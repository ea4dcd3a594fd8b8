//! Connections to a server, plain or through TLS, and whom to believe that it is the right one.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Whose word is taken for the name of a server.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The authorities that browsers believe.
    Public,
    /// Those whose certificates are in this PEM file, and servers that show one of these certificates themselves.
    Authority(PathBuf),
    /// Nobody's: any certificate will do. For tests.
    Anyone,
}

/// Why a server cannot be trusted as asked for.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities is of no use.
    #[error("{}: no certificate can be read from it ({reason})", path.display())]
    Authority {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate can name such a host.
    #[error("{0:?} is no name of a host")]
    Name(String),
}

/// How to begin a TLS connection to one server.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// For the server `host`; an IPv6 address may be in brackets.
    pub(super) fn new(host: &str, trust: &Trust) -> Result<Self, TlsError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?,
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks the versions of TLS that are compiled in");
        let mut config = match trust {
            Trust::Public => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Trust::Authority(path) => {
                let wrong = |reason: String| TlsError::Authority { path: path.clone(), reason };
                let mut roots = RootCertStore::empty();
                let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
                let certificates: Vec<_> =
                    found.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
                for certificate in &certificates {
                    roots.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
                }
                let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
                let authorities = authorities.build().map_err(|error| wrong(error.to_string()))?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Known { certificates, authorities }))
                    .with_no_client_auth()
            }
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    pub(super) async fn greet(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Believes authorities, and what is shown by servers that are known themselves: what signs itself is no authority by
/// the letter, and often has another name than the address it is reached by.
#[derive(Debug)]
struct Known {
    certificates: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        status: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.contains(certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        self.authorities.verify_server_cert(certificate, intermediates, name, status, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Believes any certificate; that its owner sent it is still checked.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Itself, if nothing has happened since the last response: the server has not closed it, nor sent bytes that
    /// nobody asked for. Free while the reactor knows of no event, for then no system call is made.
    pub(super) fn if_idle(mut self) -> Option<Self> {
        let is_idle = match &mut self {
            Self::Plain(stream) => {
                matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // Tickets for later sessions may have come; reading takes them in.
            Self::Tls(stream) => {
                let mut bytes = [0];
                let mut context = Context::from_waker(Waker::noop());
                Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut bytes)).is_pending()
            }
        };
        is_idle.then_some(self)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::{TlsAcceptor, server};

    use crate::load::{Connection, Request, Target, TargetError};

    use super::*;

    /// Made for this test with openssl, for localhost and 127.0.0.1; it signs itself and is no authority.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBmDCCAT6gAwIBAgIUJu2QgIrgR/S7hDN6eziSC3/xAqkwCgYIKoZIzj0EAwIw\n\
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjAzNTcwN1oYDzIxMjYxMTAy\n\
MDM1NzA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
PQMBBwNCAAQ51cFprajpU7SmjmNh/8ZdHYKxvhu9e7tMxjTmpsQtF1ytPHX06xxn\n\
NqnpO1aqHZlHKt4agZIWXTQ61ynPGKkvo2wwajAdBgNVHQ4EFgQU4207Mr2E3C2M\n\
jPo3N0R9A6VxSicwHwYDVR0jBBgwFoAU4207Mr2E3C2MjPo3N0R9A6VxSicwGgYD\n\
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E\n\
AwIDSAAwRQIhAKPJkhHCwscfP0RnpmOkIz/sBFPu8behXzRpa5S2mIrBAiB+HrqQ\n\
CEkCBB69qnQ1gEm4lo7y7LRjl5x6vViAgRyXgg==\n\
-----END CERTIFICATE-----\n\
";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPtb0gQbuNyg97vrS\n\
dgDwyISac2r48XZLIFsdsoDOk8+hRANCAAQ51cFprajpU7SmjmNh/8ZdHYKxvhu9\n\
e7tMxjTmpsQtF1ytPHX06xxnNqnpO1aqHZlHKt4agZIWXTQ61ynPGKkv\n\
-----END PRIVATE KEY-----\n\
";

    /// Answers each connection's requests with a number, which counts the requests on that connection.
    async fn serve() -> u16 {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not believe us, or has enough, hangs up.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let _ = answer_twice(stream).await;
            }
        });
        port
    }

    async fn answer_twice(mut stream: server::TlsStream<TcpStream>) -> io::Result<()> {
        for number in 1..=2 {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await?);
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
        stream.shutdown().await
    }

    async fn ask(url: &str, trust: &Trust) -> io::Result<Vec<u8>> {
        let target = Target::parse_trusting(url, trust).await.expect("a target");
        let mut connection = Connection::open(&target, Duration::from_secs(5)).await?;
        let mut request = Request::new(&target);
        request.begin("GET", "/").end();
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.extend_from_slice(connection.send(request.as_bytes()).await?.body);
        }
        Ok(answers)
    }

    #[tokio::test]
    async fn a_connection_through_tls_is_kept_and_opened_again() {
        let url = format!("https://localhost:{}", serve().await);
        assert_eq!(ask(&url, &Trust::Anyone).await.unwrap(), b"121");
    }

    #[tokio::test]
    async fn only_who_is_trusted_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        fs::write(&file, CERTIFICATE).unwrap();
        let port = serve().await;
        let trust = Trust::Authority(file.clone());
        assert_eq!(ask(&format!("https://127.0.0.1:{port}"), &trust).await.unwrap(), b"121");
        let refused = ask(&format!("https://127.0.0.1:{port}"), &Trust::Public).await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{refused}");

        fs::write(&file, "no certificate").unwrap();
        let error = Target::parse_trusting("https://localhost", &trust).await.unwrap_err();
        assert!(matches!(error, TargetError::Tls(TlsError::Authority { .. })), "{error}");
    }
}
