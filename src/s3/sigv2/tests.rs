use super::*;
use crate::auth::{Authenticator, Verified};
use crate::s3::sigv4::Scope;
use crate::s3::testing::{ACCESS_KEY, NOW_SECONDS, SECRET, clock, head, identity, keys};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use std::sync::Arc;

fn hmac_sha1(message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    BASE64.encode(hmac::sign(&key, message.as_bytes()))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A link over this string to sign, with more parameters in front.
fn link(method: &str, path: &str, more: &str, expires: i64, to_sign: &str) -> RequestHead {
    let signature = encode(&hmac_sha1(to_sign));
    let target = format!("{path}?{more}AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature={signature}");
    head(method, &target, &[("host", "localhost")])
}

fn authenticate_in(scope: Scope, head: &RequestHead) -> Result<Verified, AuthError> {
    Authenticator::new(Arc::new(keys(identity(1, true, &[]))), clock(), scope).authenticate_now(head)
}

fn authenticate(head: &RequestHead) -> Result<Verified, AuthError> {
    authenticate_in(Scope::s3("us-east-1"), head)
}

fn now() -> i64 {
    i64::try_from(NOW_SECONDS).unwrap()
}

#[test]
fn a_link_is_accepted_until_it_expires_and_for_a_week_at_most() {
    let made_for = |seconds: i64| {
        let expires = now() + seconds;
        authenticate(&link("GET", "/b/k", "", expires, &format!("GET\n\n\n{expires}\n/b/k"))).map(drop)
    };
    assert!(made_for(0).is_ok() && made_for(7 * 24 * 3600).is_ok());
    assert!(matches!(made_for(-1), Err(AuthError::Expired)));
    assert!(matches!(made_for(7 * 24 * 3600 + 1), Err(AuthError::UnusableLink(_))));
}

#[test]
fn what_the_link_covers_cannot_be_changed() {
    let expires = now() + 60;
    let to_sign = format!(
        "PUT\nbWQ1\ntext/x\n{expires}\nx-amz-acl:private\nx-amz-meta-a:b,c\n/b/k%20+?partNumber=1&uploadId=a/b"
    );
    let right = || {
        let mut right = link(
            "PUT",
            "/b/k%20+",
            "uploadId=a%2Fb&partNumber=1&x-amz-acl=private&x-id=P&",
            expires,
            &to_sign,
        );
        let headers = [
            ("content-md5", " bWQ1"),
            ("content-type", "text/x "),
            ("x-amz-meta-a", "b"),
            ("x-amz-meta-a", " c "),
        ];
        for (name, value) in headers {
            right.headers.append(name, value.parse().unwrap());
        }
        right
    };
    let verified = authenticate(&right()).unwrap();
    let names = verified.from_link.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert_eq!(names.collect::<Vec<_>>(), [("x-amz-acl", &b"private"[..])]);
    let changes: [fn(&mut RequestHead); 8] = [
        |head| head.method = http::Method::DELETE,
        |head| head.raw_path = "/b/other".to_owned(),
        |head| head.raw_query = head.raw_query.replace("partNumber=1", "partNumber=2"),
        |head| head.raw_query = head.raw_query.replace("private", "public-read"),
        |head| head.raw_query = head.raw_query.replace("Expires=", "Expires=0"),
        |head| drop(head.headers.insert("content-type", "text/y".parse().unwrap())),
        |head| drop(head.headers.insert("x-amz-meta-b", "new".parse().unwrap())),
        |head| head.host_bucket = Some("b".to_owned()),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut request = right();
        change(&mut request);
        assert!(matches!(authenticate(&request), Err(AuthError::Mismatch)), "change {index}");
    }
    let mut contradicting = right();
    contradicting.headers.insert("x-amz-acl", "public-read".parse().unwrap());
    assert!(matches!(authenticate(&contradicting), Err(AuthError::Malformed { .. })));
}

#[test]
fn a_parameter_that_is_not_covered_and_changes_the_operation_is_refused() {
    let expires = now() + 60;
    for more in ["retention&", "attributes=&", "%61cl&", "publicAccessBlock=&", "response%2Dexpires=x&"] {
        let link = link("GET", "/b/k", more, expires, &format!("GET\n\n\n{expires}\n/b/k"));
        assert!(matches!(authenticate(&link), Err(AuthError::ParameterNotSigned(_))), "{more}");
    }
    let listing = link("GET", "/b", "prefix=a&max-keys=1&", expires, &format!("GET\n\n\n{expires}\n/b"));
    assert!(authenticate(&listing).is_ok());
}

/// What becomes of a link for a `GET` with these covered parameters, in the order of their names.
fn with_covered(parameters: &[(&str, Option<&str>)]) -> Result<(), AuthError> {
    let expires = now() + 60;
    let written = |encode: &dyn Fn(&str) -> String| {
        let pairs = parameters.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={}", encode(value)),
            None => (*name).to_owned(),
        });
        pairs.collect::<Vec<_>>().join("&")
    };
    let to_sign = format!("GET\n\n\n{expires}\n/b/k?{}", written(&str::to_owned));
    authenticate(&link("GET", "/b/k", &format!("{}&", written(&encode)), expires, &to_sign)).map(drop)
}

#[test]
fn a_signed_value_is_not_split_into_parameters_nor_are_those_joined() {
    let (disposition, kind) = ("response-content-disposition", "response-content-type");
    let quoted = format!("attachment; filename=\"a&{kind}=text/html\"");
    assert!(with_covered(&[(disposition, Some(&quoted))]).is_ok());
    assert!(
        with_covered(&[(disposition, Some(r#"attachment; filename="a\"b""#)), (kind, Some("text/x; a=b"))])
            .is_ok()
    );
    assert!(with_covered(&[(disposition, Some("attachment")), ("versionId", Some("v"))]).is_ok());
    assert!(with_covered(&[("partNumber", Some("1")), ("uploadId", Some("u"))]).is_ok());
    assert!(with_covered(&[(disposition, Some("attachment; filename=\"a&b=c & d"))]).is_ok());
    let refused: [&[(&str, Option<&str>)]; 6] = [
        &[(disposition, Some("attachment; filename=\"a")), (kind, Some("text/html\""))],
        &[(disposition, Some(r#"attachment; filename="a\""#)), (kind, Some("text/html\""))],
        &[(disposition, Some("attachment; filename=a")), ("torrent", None)],
        &[(disposition, Some("attachment; filename=a&torrent"))],
        &[(disposition, Some("attachment&response-content-type=text/plain"))],
        &[("partNumber", Some("1&uploadId=u"))],
    ];
    for parameters in refused {
        assert!(matches!(with_covered(parameters), Err(AuthError::Malformed { .. })), "{parameters:?}");
    }
}

#[test]
fn a_host_that_names_the_bucket_is_part_of_the_resource() {
    let expires = now() + 60;
    let mut request = link("GET", "/k", "", expires, &format!("GET\n\n\n{expires}\n/bkt/k"));
    assert!(matches!(authenticate(&request), Err(AuthError::Mismatch)));
    request.host_bucket = Some("bkt".to_owned());
    assert!(authenticate(&request).is_ok());
}

#[test]
fn a_broken_link_is_refused_for_what_it_lacks() {
    let host = ("host", "localhost");
    let incomplete = |query: &str| authenticate(&head("GET", &format!("/b/k?{query}"), &[host])).unwrap_err();
    for query in [
        "AWSAccessKeyId=a&Signature=s",
        "Signature=s&Expires=1",
        "AWSAccessKeyId=a&Expires=1",
        "AWSAccessKeyId=a&Signature=s&Expires=x",
        "AWSAccessKeyId=a&Signature=s&Expires=-1",
    ] {
        assert!(matches!(incomplete(query), AuthError::UnusableLink(_)), "{query}");
    }
    assert!(matches!(
        incomplete("AWSAccessKeyId=a&Expires=1&Expires=2&Signature=s"),
        AuthError::Malformed { .. }
    ));
    assert!(matches!(incomplete("AWSAccessKeyId=a&Expires=1&Signature=c2hvcnQ="), AuthError::Mismatch));
}

#[test]
fn two_kinds_of_authentication_are_refused_and_each_kind_has_a_switch() {
    let expires = now() + 60;
    let right = link("GET", "/b/k", "", expires, &format!("GET\n\n\n{expires}\n/b/k"));
    let off = Scope::s3("us-east-1").accepting_sigv2(false, true);
    assert!(matches!(authenticate_in(off, &right), Err(AuthError::UnsupportedMechanism)));
    assert!(matches!(
        authenticate_in(Scope::console("us-east-1"), &right),
        Err(AuthError::UnsupportedMechanism)
    ));
    for value in ["AWS a:b", "AWS4-HMAC-SHA256 Credential=x"] {
        let mut both = right.clone();
        both.headers.insert("authorization", value.parse().unwrap());
        assert!(matches!(authenticate(&both), Err(AuthError::SeveralMechanisms)), "{value}");
    }
    let mut both = right.clone();
    both.raw_query.push_str("&X-Amz-Algorithm=AWS4-HMAC-SHA256");
    assert!(matches!(authenticate(&both), Err(AuthError::SeveralMechanisms)));
}

#[test]
fn a_signed_header_is_accepted_where_it_is_switched_on() {
    let on = || Scope::s3("us-east-1").accepting_sigv2(true, true);
    let signed = |date: &str, to_sign: &str, more: &[(&str, &str)]| {
        let authorization = format!("AWS {ACCESS_KEY}:{}", hmac_sha1(to_sign));
        let mut headers = vec![("host", "localhost"), ("authorization", authorization.as_str())];
        if !date.is_empty() {
            headers.push(("date", date));
        }
        headers.extend_from_slice(more);
        head("GET", "/b/k?acl", &headers)
    };
    let date = "Fri, 24 May 2013 00:00:00 GMT";
    let by_date = signed(date, &format!("GET\n\n\n{date}\n/b/k?acl"), &[]);
    assert!(authenticate_in(on(), &by_date).is_ok());
    assert!(matches!(authenticate(&by_date), Err(AuthError::UnsupportedMechanism)));
    let amz = [("x-amz-date", date)];
    let by_amz_date = signed("", &format!("GET\n\n\n\nx-amz-date:{date}\n/b/k?acl"), &amz);
    assert!(authenticate_in(on(), &by_amz_date).is_ok());
    let late = "Fri, 24 May 2013 00:15:01 GMT";
    let skewed = signed(late, &format!("GET\n\n\n{late}\n/b/k?acl"), &[]);
    assert!(matches!(authenticate_in(on(), &skewed), Err(AuthError::TooSkewed { .. })));
    assert!(matches!(authenticate_in(on(), &signed("", "", &[])), Err(AuthError::MissingDate)));
    let hash = [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    let to_sign = format!("GET\n\n\n{date}\n{}:{}\n/b/k?acl", hash[0].0, hash[0].1);
    assert!(matches!(
        authenticate_in(on(), &signed(date, &to_sign, &hash)),
        Err(AuthError::PayloadHashInvalid)
    ));
}

proptest! {
    #[test]
    fn any_key_and_any_covered_value_are_signed_as_they_are_sent(key in "\\PC{1,20}", value in "\\PC{0,20}") {
        let expires = now() + 60;
        let path = format!("/b/{}", utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC));
        let strict = encode_path(&path);
        let to_sign = format!("GET\n\n\n{expires}\n{strict}?response-expires={value}");
        let more = format!("response-expires={}&", encode(&value));
        prop_assert!(authenticate(&link("GET", &path, &more, expires, &to_sign)).is_ok());
        let other = link("GET", &format!("{path}x"), &more, expires, &to_sign);
        prop_assert!(authenticate(&other).is_err());
    }

    #[test]
    fn any_query_is_read_or_refused_without_a_panic(
        query in "((AWSAccessKeyId|Signature|Expires|acl|x-amz-a|X-Amz-Date)=?[a-zA-Z0-9%+=]{0,8}&|[ -~]{0,9}){0,6}", header in "[ -~]{0,30}",
    ) {
        let request = head("GET", "/b/k", &[("host", "h"), ("authorization", &format!("AWS {header}")), ("date", &header)]);
        let on = Scope::s3("us-east-1").accepting_sigv2(true, true);
        prop_assert!(authenticate_in(on, &request).is_err());
        let request = head("GET", &format!("/b/k?{query}"), &[("host", "h")]);
        prop_assert!(authenticate(&request).is_err());
    }
}
