//! What AWS's own signer signs, verifies here, and nothing near it does.

use super::Payload;
use crate::auth::AuthError;
use crate::s3::request::RequestHead;
use crate::s3::testing::{ACCESS_KEY, EMPTY, NOW_SECONDS, SECRET, authenticator, head};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use std::time::{Duration, UNIX_EPOCH};

/// What SDKs leave bare in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A request as an SDK sends it: `body` in the header, or a link where it is signed in the query.
fn sent(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: SignableBody<'_>,
    link: bool,
) -> RequestHead {
    let identity = Credentials::from_keys(ACCESS_KEY, SECRET, None).into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if link {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.expires_in = Some(Duration::from_hours(1));
    }
    let params = SigningParams::builder().identity(&identity).region("us-east-1").name("s3");
    let params = params.time(UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)).settings(settings);
    let params = params.build().unwrap().into();
    let mut request = http::Request::builder().method(method).uri(format!("http://localhost{target}"));
    for (name, value) in headers.iter().chain(&[("host", "localhost")]) {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).unwrap();
    let uri = request.uri().to_string();
    let lines = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let signable = SignableRequest::new(method, uri, lines, body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    let target = request.uri().path_and_query().unwrap().as_str();
    let mut sent = head(method, target, &[]);
    sent.headers = request.headers().clone();
    sent
}

fn payload_of(head: &RequestHead) -> Result<Payload, AuthError> {
    authenticator().authenticate_now(head).map(|verified| verified.payload)
}

/// A target with an odd key and odd parameters.
fn target() -> impl Strategy<Value = String> {
    let key = prop_oneof!["[a/.+ ~%@&=;:,'()*!$-]{1,20}", "\\PC{1,12}", Just("a/../b//./c".to_owned())];
    let name = prop_oneof!["[a-z-]{1,8}", "response-content-type"];
    let value = prop_oneof!["[a-z/+ %&=;\"]{0,8}", "\\PC{0,6}"];
    (key, prop::collection::btree_map(name, value, 0..4)).prop_map(|(key, query)| {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs = query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/bucket/{}{mark}{query}", utf8_percent_encode(&key, PATH))
    })
}

proptest! {
    #[test]
    fn headers_and_links_that_the_sdk_signs_are_accepted_as_they_are_only(target in target(), value in "[!-~]([ -~]{0,8}[!-~])?") {
        let more = [("x-amz-meta-a", value.as_str())];
        let signed = sent("GET", &target, &more, SignableBody::Precomputed(EMPTY.to_owned()), false);
        prop_assert!(matches!(payload_of(&signed), Ok(Payload::Sha256(_))), "{:?}", payload_of(&signed));
        let link = sent("GET", &target, &[], SignableBody::UnsignedPayload, true);
        prop_assert!(matches!(payload_of(&link), Ok(Payload::Unsigned)), "{:?}", payload_of(&link));
        for right in [signed, link] {
            let mut other = right.clone();
            other.raw_path.push('x');
            prop_assert!(payload_of(&other).is_err());
            let mut other = right;
            other.raw_query = format!("versionId=null&{}", other.raw_query);
            prop_assert!(payload_of(&other).is_err());
        }
    }

    #[test]
    fn every_kind_of_body_that_the_sdk_signs_is_what_it_is_here(target in target(), bytes: Vec<u8>) {
        let length = [("x-amz-decoded-content-length", "5")];
        let kind = |body| payload_of(&sent("PUT", &target, &length, body, false));
        prop_assert!(matches!(kind(SignableBody::UnsignedPayload), Ok(Payload::Unsigned)));
        prop_assert!(matches!(kind(SignableBody::StreamingUnsignedPayloadTrailer), Ok(Payload::UnsignedChunks)));
        let seed = kind(SignableBody::StreamingSignedPayloadTrailer);
        prop_assert!(matches!(seed, Ok(Payload::SignedChunks { trailer: true, .. })), "{:?}", seed);
        let seed = kind(SignableBody::Precomputed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned()));
        prop_assert!(matches!(seed, Ok(Payload::SignedChunks { trailer: false, .. })), "{:?}", seed);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let whole = kind(SignableBody::Bytes(&bytes));
        prop_assert!(matches!(&whole, Ok(Payload::Sha256(found)) if found == hash.as_ref()), "{:?}", whole);
    }
}
