//! Who a client is, by its certificate.

use std::fmt::Write as _;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// A verified client's identity, in the form that Envoy forwards it (`x-forwarded-client-cert`): the certificate's
/// SHA-256, its subject, and its alternative names that are URIs or host names.
///
/// None for what the parser can't read: rustls has verified the certificate, so that would be a bug of one of both.
pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let mut text = String::from("Hash=");
    for byte in Sha256::digest(certificate) {
        let _ = write!(text, "{byte:02x}"); // Writing to a string can't fail.
    }
    let _ = write!(text, ";Subject={}", quoted(&parsed.subject().to_string()));
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let _ = match name {
            GeneralName::URI(uri) => write!(text, ";URI={}", quoted(uri)),
            GeneralName::DNSName(host) => write!(text, ";DNS={}", quoted(host)),
            _ => Ok(()),
        };
    }
    HeaderValue::from_str(&text).ok()
}

/// Names are chosen by whoever signs certificates, and may have anything in them.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            ' '..='~' => quoted.push(char),
            // What a header can't have, percent-encoded.
            _ => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                let _ = write!(quoted, "%{byte:02X}");
            }),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(quoted("CN=a"), r#""CN=a""#);
        assert_eq!(quoted("a\";URI=\"b\\\r\nä"), r#""a\";URI=\"b\\%0D%0A%C3%A4""#);
    }
}
