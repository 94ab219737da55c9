// Sends a plan over HTTP/1.1 on one connection of native-tls:  plan PORT LOG PLAN, or plan --wait
use base64::{engine::general_purpose::STANDARD, Engine};
use std::io::{BufRead, BufReader, Read, Write};

fn headers<R: BufRead>(from: &mut R) -> (u16, usize) {
    let (mut status, mut length, mut line) = (0, 0, String::new());
    while from.read_line(&mut line).unwrap() > 2 {
        let (name, value) = line.trim_end().split_once([' ', ':']).unwrap();
        if name.starts_with("HTTP/") {
            status = value[..3].parse().unwrap();
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    (status, length)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words[0] == "--wait" {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let plan: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&words[2]).unwrap()).unwrap();
    let connector = native_tls::TlsConnector::builder()
        .danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let plain = std::net::TcpStream::connect(format!("127.0.0.1:{}", words[0])).unwrap();
    let mut tls = BufReader::new(connector.connect("localhost", plain).unwrap());
    let mut log = String::new();
    for row in plan.as_array().unwrap() {
        let body = STANDARD.decode(row["body"].as_str().unwrap()).unwrap();
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-length: {}\r\n",
            row["method"].as_str().unwrap(),
            row["target"].as_str().unwrap(),
            words[0],
            body.len()
        );
        for pair in row["headers"].as_array().unwrap() {
            head += &format!("{}: {}\r\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        }
        tls.get_mut().write_all(format!("{head}\r\n").as_bytes()).unwrap();
        tls.get_mut().write_all(&body).unwrap();
        let (status, length) = headers(&mut tls);
        let mut got = vec![0; length];
        tls.read_exact(&mut got).unwrap();
        let told = serde_json::json!([row["id"], status, STANDARD.encode(&got)]);
        log += &format!("{told}\n");
    }
    tls.get_mut().shutdown().unwrap();
    std::fs::write(&words[1], log).unwrap();
}
