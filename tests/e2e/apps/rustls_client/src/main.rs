//! Asks 127.0.0.1:PORT for /hello/N over one connection of rustls: 23 times, then once for each line
//! on stdin. Says `done` after the 23 and after each other answer.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, Stream};
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self, _: &CertificateDer, _: &[CertificateDer], _: &ServerName, _: &[u8], _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn ask(tls: &mut Stream<ClientConnection, TcpStream>, number: usize) {
    write!(tls, "GET /hello/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    tls.flush().unwrap();
    let mut answer = Vec::new();
    let wanted = format!("/hello/{number}");
    while !String::from_utf8_lossy(&answer).contains(&wanted) {
        let mut piece = [0; 4096];
        let read = tls.read(&mut piece).unwrap();
        assert!(read > 0, "the server closed");
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut tls = Stream::new(&mut connection, &mut plain);
    for number in 0..23 {
        ask(&mut tls, number);
    }
    println!("done");
    for (number, _) in std::io::stdin().lock().lines().enumerate() {
        ask(&mut tls, 23 + number);
        println!("done");
    }
}
