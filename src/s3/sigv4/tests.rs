use super::{ChunkChain, Payload, Scope};
use crate::auth::{AuthError, Authenticator, Verified};
use crate::s3::request::RequestHead;
use crate::s3::testing::{ACCESS_KEY, EMPTY, Signer, authenticator, clock, head, identity, keys, sha256_hex};
use proptest::prelude::*;
use siltstone_log::event::Status;
use siltstone_log::id::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const HOST: (&str, &str) = ("Host", "examplebucket.s3.amazonaws.com");
const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

fn authenticate(head: &RequestHead) -> Result<Verified, AuthError> {
    authenticator().authenticate_now(head)
}

fn example(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    signed: &str,
    signature: &str,
) -> RequestHead {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}"
    );
    let mut headers = headers.to_vec();
    headers.push(("Authorization", &authorization));
    head(method, target, &headers)
}

#[test]
fn the_published_examples_of_single_requests_verify() {
    let put_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let empty = ("x-amz-content-sha256", EMPTY);
    let plain = "host;x-amz-content-sha256;x-amz-date";
    let examples = [
        example(
            "GET",
            "/test.txt",
            &[HOST, ("Range", "bytes=0-9"), empty, DATE],
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        example(
            "PUT",
            "/test$file.text",
            &[
                HOST,
                ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
                DATE,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ("x-amz-content-sha256", put_hash),
            ],
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        example(
            "GET",
            "/?lifecycle",
            &[HOST, DATE, empty],
            plain,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        example(
            "GET",
            "/?max-keys=2&prefix=J",
            &[HOST, DATE, empty],
            plain,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];
    for example in examples {
        let verified = authenticate(&example);
        assert!(verified.is_ok(), "{} {}: {verified:?}", example.method, example.raw_path);
    }
}

const PRESIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1\
%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn the_published_presigned_link_verifies_until_it_expires() {
    let link = head("GET", &format!("/test.txt?{PRESIGNED}"), &[HOST]);
    let at = |seconds: i64| {
        let clock = clock();
        let now = clock.0.load(Ordering::Relaxed).checked_add_signed(seconds * 1000).unwrap();
        clock.0.store(now, Ordering::Relaxed);
        Authenticator::new(Arc::new(keys(identity(1, true, &[]))), clock, Scope::s3("us-east-1"))
            .authenticate_now(&link)
    };
    assert!(matches!(at(0), Ok(Verified { payload: Payload::Unsigned, .. })));
    assert!(at(86_400).is_ok());
    assert!(matches!(at(86_401), Err(AuthError::Expired)));
    assert!(at(-900).is_ok());
    assert!(matches!(at(-901), Err(AuthError::NotYetValid)));
}

#[test]
fn a_presigned_link_is_refused_when_anything_about_it_is_changed() {
    for changed in [
        PRESIGNED.replace("Expires=86400", "Expires=86401"),
        PRESIGNED.replace("d404", "d405"),
        format!("{PRESIGNED}&versionId=1"),
    ] {
        let link = head("GET", &format!("/test.txt?{changed}"), &[HOST]);
        assert!(matches!(authenticate(&link), Err(AuthError::Mismatch)), "{changed}");
    }
    for malformed in [
        PRESIGNED.replace("Expires=86400", "Expires=604801"),
        PRESIGNED.replace("Expires=86400", "Expires=0"),
        PRESIGNED.replace("Expires=86400", "Expires=x"),
        PRESIGNED.replace("HMAC-SHA256", "HMAC-SHA512"),
        PRESIGNED.replace("X-Amz-Date=20130524T000000Z&", ""),
        PRESIGNED.replace("X-Amz-Date=20130524", "X-Amz-Date=20130523"),
        format!("{PRESIGNED}&X-Amz-Expires=1"),
    ] {
        let link = head("GET", &format!("/test.txt?{malformed}"), &[HOST]);
        assert!(matches!(authenticate(&link), Err(AuthError::Malformed { .. })), "{malformed}");
    }
    let unsigned = head("GET", &format!("/test.txt?{PRESIGNED}"), &[HOST, ("x-amz-acl", "public-read")]);
    assert!(matches!(authenticate(&unsigned), Err(AuthError::HeaderNotSigned(name)) if name == "x-amz-acl"));
}

fn seed_of(head: &RequestHead) -> ChunkChain {
    match authenticate(head).unwrap().payload {
        Payload::SignedChunks { seed, .. } => ChunkChain::new(seed),
        other => panic!("not signed chunks: {other:?}"),
    }
}

fn digest(text: &str) -> [u8; 32] {
    Hash::parse(text).unwrap().0
}

#[test]
fn the_published_chunked_upload_verifies_link_by_link() {
    let head = example(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("Host", "s3.amazonaws.com"),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("Content-Length", "66824"),
        ],
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let mut chain = seed_of(&head);
    let links = [
        (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    for (len, signature) in links {
        let hash = digest(&sha256_hex(&vec![b'a'; len]));
        assert!(chain.verify_chunk(&hash, &digest(signature)), "{len}");
    }
}

#[test]
fn the_published_chunked_upload_with_trailer_verifies_to_its_end() {
    let head = example(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("Host", "s3.amazonaws.com"),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ],
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    let mut chain = seed_of(&head);
    let links = [
        (65_536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ];
    for (len, signature) in links {
        let hash = digest(&sha256_hex(&vec![b'a'; len]));
        assert!(chain.verify_chunk(&hash, &digest(signature)), "{len}");
    }
    let trailer = digest("d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
    assert!(chain.verify_trailer(b"x-amz-checksum-crc32c:sOO8/Q==\n", &trailer));
}

#[test]
fn odd_paths_and_queries_verify_as_they_are_sent() {
    for target in [
        "/b//k",
        "/b/../k",
        "/b/./k",
        "/b/a%2Fb",
        "/b/a%2fb",
        "/b/%E2%82%AC",
        "/b/a+b",
        "/b/a%2Bb",
        "/b/a%20b",
        "/b/~k",
        "/b/a@b:c",
        "/b/%01",
        "/b/",
        "/b/?delimiter=%2F&prefix=",
        "/b?a=1&a=2",
        "/b?prefix=a%2Bb%20c",
    ] {
        let signed = Signer::default().signed("GET", target, EMPTY, &[]);
        assert!(authenticate(&signed).is_ok(), "{target}");
    }
}

#[test]
fn a_target_sent_bare_verifies_against_its_strict_encoding() {
    for (sent, canonical) in [
        ("/b/a@b", "/b/a%40b"),
        ("/b/a+b", "/b/a%2Bb"),
        ("/b/%7Ek", "/b/~k"),
        ("/b/a%2fb", "/b/a/b"),
        ("/b?z=1&acl", "/b?acl=&z=1"),
        ("/b?prefix=a+b", "/b?prefix=a%20b"),
        ("/b?prefix=a/b", "/b?prefix=a%2Fb"),
    ] {
        let mut signed = Signer::default().signed("GET", canonical, EMPTY, &[]);
        let (path, query) = sent.split_once('?').unwrap_or((sent, ""));
        signed.raw_path = path.to_owned();
        signed.raw_query = query.to_owned();
        assert!(authenticate(&signed).is_ok(), "{sent}");
    }
}

#[test]
fn a_changed_request_does_not_verify() {
    let signed = Signer::default().signed("PUT", "/b/k?acl=", EMPTY, &[("content-type", "text/plain")]);
    assert!(authenticate(&signed).is_ok());
    let change = |change: fn(&mut RequestHead)| {
        let mut changed = signed.clone();
        change(&mut changed);
        authenticate(&changed)
    };
    let changes: [fn(&mut RequestHead); 7] = [
        |head| head.method = http::Method::DELETE,
        |head| head.raw_path = "/b/k/".to_owned(),
        |head| head.raw_path = "/b//k".to_owned(),
        |head| head.raw_query = "tagging=".to_owned(),
        |head| head.raw_query = String::new(),
        |head| drop(head.headers.insert("content-type", "text/html".parse().unwrap())),
        |head| assert!(head.headers.append("content-type", "text/html".parse().unwrap())),
    ];
    for (index, request) in changes.into_iter().enumerate() {
        assert!(matches!(change(request), Err(AuthError::Mismatch)), "{index}");
    }
    let other_secret = Signer { secret: "another".to_owned(), ..Signer::default() };
    let foreign = other_secret.signed("GET", "/b", EMPTY, &[]);
    assert!(matches!(authenticate(&foreign), Err(AuthError::Mismatch)));
}

#[test]
fn what_a_signature_leaves_open_is_refused() {
    let signed = Signer::default().signed("GET", "/b", EMPTY, &[]);
    let mut added = signed.clone();
    added.headers.insert("x-amz-acl", "public-read".parse().unwrap());
    assert!(matches!(authenticate(&added), Err(AuthError::HeaderNotSigned(name)) if name == "x-amz-acl"));
    let mut absent = Signer::default().signed("GET", "/b", EMPTY, &[("x-amz-meta-a", "1")]);
    absent.headers.remove("x-amz-meta-a");
    assert!(matches!(authenticate(&absent), Err(AuthError::SignedHeaderAbsent(_))));
    let headers = [("x-amz-content-sha256", EMPTY), DATE];
    let without_host = Signer::default().authorization("GET", "/b", &headers);
    let without_host = head("GET", "/b", &[headers[0], headers[1], HOST, ("authorization", &without_host)]);
    assert!(matches!(authenticate(&without_host), Err(AuthError::HeaderNotSigned(name)) if name == "host"));
}

#[test]
fn only_one_mechanism_of_the_right_kind_is_accepted() {
    assert!(matches!(authenticate(&head("GET", "/b", &[HOST])), Err(AuthError::Anonymous)));
    let mut both = Signer::default().signed("GET", "/b", EMPTY, &[]);
    both.raw_query = PRESIGNED.to_owned();
    assert!(matches!(authenticate(&both), Err(AuthError::SeveralMechanisms)));
    let mut twice = Signer::default().signed("GET", "/b", EMPTY, &[]);
    twice.headers.append("authorization", "AWS4-HMAC-SHA256 x=y".parse().unwrap());
    assert!(matches!(authenticate(&twice), Err(AuthError::SeveralMechanisms)));
    for value in ["AWS AKID:signature", "AWS4-ECDSA-P256-SHA256 Credential=a"] {
        let request = head("GET", "/b", &[HOST, ("authorization", value)]);
        assert!(matches!(authenticate(&request), Err(AuthError::UnsupportedMechanism)), "{value}");
    }
    for value in ["Basic dXNlcjpwYXNz", "Bearer x", "AWS4-HMAC-SHA25 Credential=a", "aws AKID:signature", ""]
    {
        let request = head("GET", "/b", &[HOST, ("authorization", value)]);
        assert!(matches!(authenticate(&request), Err(AuthError::UnknownScheme)), "{value}");
    }
    let token = Signer::default().signed("GET", "/b", EMPTY, &[("x-amz-security-token", "t")]);
    assert!(matches!(authenticate(&token), Err(AuthError::TokenUnsupported)));
}

#[test]
fn scope_and_time_are_checked() {
    let signed = |signer: &Signer| authenticate(&signer.signed("GET", "/b", EMPTY, &[]));
    let base = Signer::default();
    let other_day = Signer { scope_day: "20130523".to_owned(), ..base.clone() };
    assert!(matches!(signed(&other_day), Err(AuthError::Malformed { .. })));
    let other_service = Signer { service: "sts".to_owned(), ..base.clone() };
    assert!(matches!(signed(&other_service), Err(AuthError::Malformed { .. })));
    let other_region = Signer { region: "eu-west-1".to_owned(), ..base.clone() };
    assert!(
        matches!(signed(&other_region), Err(AuthError::WrongRegion { expected, .. }) if expected == "us-east-1")
    );
    let at = |date: &str, day: &str| {
        signed(&Signer { date: date.to_owned(), scope_day: day.to_owned(), ..base.clone() })
    };
    assert!(at("20130524T001500Z", "20130524").is_ok());
    assert!(at("20130523T234500Z", "20130523").is_ok());
    assert!(matches!(at("20130524T001501Z", "20130524"), Err(AuthError::TooSkewed { .. })));
    assert!(matches!(at("20130523T234459Z", "20130523"), Err(AuthError::TooSkewed { .. })));
    assert!(matches!(at("20131324T000000Z", "20131324"), Err(AuthError::MissingDate)));
    assert!(matches!(at("2013-05-24", "20130524"), Err(AuthError::MissingDate)));
}

#[test]
fn the_payload_header_is_needed_and_understood() {
    for (value, known) in [
        ("UNSIGNED-PAYLOAD", true),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", true),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", false),
        ("unsigned", false),
    ] {
        let verified = authenticate(&Signer::default().signed("PUT", "/b/k", value, &[]));
        assert_eq!(verified.is_ok(), known, "{value}");
        assert!(known || matches!(verified, Err(AuthError::PayloadHashInvalid)), "{value}");
    }
    let headers = [HOST, DATE];
    let authorization = Signer::default().authorization("GET", "/b", &headers);
    let without = head("GET", "/b", &[headers[0], headers[1], ("authorization", &authorization)]);
    assert!(matches!(authenticate(&without), Err(AuthError::PayloadHashMissing)));
}

#[test]
fn unknown_and_suspended_keys_look_the_same() {
    let signed = Signer::default().signed("GET", "/b", EMPTY, &[]);
    let mut suspended = keys(identity(1, true, &[]));
    for credential in suspended.0.values_mut() {
        credential.status = Status::Suspended;
    }
    for known in [suspended, crate::s3::testing::Keys::default()] {
        let result =
            Authenticator::new(Arc::new(known), clock(), Scope::s3("us-east-1")).authenticate_now(&signed);
        let told = crate::s3::error::S3Error::from(result.unwrap_err());
        assert_eq!(told, crate::s3::error::S3ErrorCode::InvalidAccessKeyId.into());
    }
}

#[test]
fn a_key_made_again_with_another_secret_is_not_served_from_the_cache() {
    let cache = super::KeyCache::default();
    let old = cache.get(ACCESS_KEY, &crate::auth::Secret::new("old"), "20130524", &Scope::s3("us-east-1"));
    let new = cache.get(ACCESS_KEY, &crate::auth::Secret::new("new"), "20130524", &Scope::s3("us-east-1"));
    assert_ne!(old.sign(b"m"), new.sign(b"m"));
    let again = cache.get(ACCESS_KEY, &crate::auth::Secret::new("new"), "20130524", &Scope::s3("us-east-1"));
    assert_eq!(new.sign(b"m"), again.sign(b"m"));
}

#[test]
fn secrets_are_never_printed() {
    let secret = crate::auth::Secret::new("top-secret");
    let key = super::SigningKey::derive(&secret, "20130524", &Scope::s3("us-east-1"));
    assert!(!format!("{secret:?}{key:?}").contains("top-secret"));
    assert_eq!(format!("{key:?}"), "SigningKey(redacted)");
}

proptest! {
    #[test]
    fn any_path_and_query_as_sent_verifies(path in "/[ -\"$->@-~]{0,40}", query in "([!-%'-~]{0,8}(&[!-%'-~]{0,8}){0,3})?") {
        // A signer that signs what it sends, with the query's names in order.
        let mut pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        prop_assume!(!pairs.iter().any(|(name, _)| name.starts_with("X-Amz") || name == "Signature"));
        pairs.sort();
        let canonical: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = path.replace('?', "");
        let mut signed = Signer::default().signed("GET", &format!("{path}?{}", canonical.join("&")), EMPTY, &[]);
        signed.raw_query = query;
        prop_assert!(authenticate(&signed).is_ok());
    }

    #[test]
    fn any_authorization_is_read_or_refused_without_a_panic(
        value in "(AWS4-HMAC-SHA256 )?[ -~]{0,80}",
        query in "(X-Amz-(Algorithm|Credential|Signature|Expires|Date)=[ -~]{0,20}&){0,5}",
        date in "[0-9TZ]{0,18}",
    ) {
        let with_header = head("GET", "/b", &[("authorization", &value), ("x-amz-date", &date), ("x-amz-content-sha256", EMPTY)]);
        prop_assert!(authenticate(&with_header).is_err());
        let with_query = head("GET", &format!("/b?{query}"), &[]);
        prop_assert!(authenticate(&with_query).is_err());
    }
}
