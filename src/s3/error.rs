//! The one map to S3's error codes: every failure of this door becomes an [`S3Error`] here and nowhere else.
//!
//! Next hop: [`super::response`], which renders it.

use super::body::BodyError;
use super::body::checksum::{header_name, wire_name};
use super::body::chunked::FramingError;
use super::sigv4::Form;
use crate::auth::AuthError;
use http::{HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;
use time::OffsetDateTime;

macro_rules! codes {
    ($($name:ident $status:literal $message:literal;)+) => {
        /// S3's error codes, each with AWS's status and usual message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the names and their messages are S3's own")]
        pub enum S3ErrorCode {
            $($name,)+
        }

        impl S3ErrorCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in the answer.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The HTTP status number.
            pub fn status_number(self) -> u16 {
                match self {
                    $(Self::$name => $status,)+
                }
            }

            /// The message where the failure has none of its own.
            pub fn default_message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)+
                }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs.";
    AccessDenied 403 "Access Denied";
    AccessForbidden 403 "CORSResponse: CORS is not enabled for this bucket.";
    AuthorizationHeaderMalformed 400 "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError 400 "The authorization query parameters that you provided are not valid.";
    BadDigest 400 "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest 400 "Bad Request";
    BucketAlreadyExists 409 "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Select a different name and try again.";
    BucketAlreadyOwnedByYou 409 "The bucket that you tried to create already exists, and you own it.";
    BucketNotEmpty 409 "The bucket that you tried to delete is not empty.";
    ConditionalRequestConflict 409 "A conflicting operation occurred during the request to this resource.";
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.";
    ExpectationFailed 417 "The expectation given in the Expect header could not be met.";
    ExpiredToken 400 "The provided token has expired.";
    IllegalLocationConstraintException 400 "The specified location constraint is incompatible for the region specific endpoint this request was sent to.";
    IllegalVersioningConfigurationException 400 "The Versioning element must be specified";
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InsufficientStorage 507 "There is not enough space left to store this.";
    InternalError 500 "We encountered an internal error. Please try again.";
    InvalidAccessKeyId 403 "The access key ID that you provided does not exist in our records.";
    InvalidArgument 400 "Invalid Argument";
    InvalidBucketName 400 "The specified bucket is not valid.";
    InvalidChunkSizeError 403 "Only the last chunk may have a size of zero, and a chunk's size is a hexadecimal number.";
    InvalidDigest 400 "The Content-MD5 you specified is not valid.";
    InvalidEncryptionAlgorithmError 400 "The encryption request that you specified is not valid. The valid value is AES256.";
    InvalidLocationConstraint 400 "The specified location constraint is not valid.";
    InvalidObjectState 403 "The operation is not valid for the current state of the object.";
    InvalidPart 400 "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.";
    InvalidPartNumber 416 "The requested partnumber is not satisfiable";
    InvalidPartOrder 400 "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidRange 416 "The requested range is not satisfiable";
    InvalidRequest 400 "Invalid Request";
    InvalidStorageClass 400 "The storage class that you specified is not valid.";
    InvalidTag 400 "The tag provided was not a valid tag.";
    InvalidToken 400 "The provided token is malformed or otherwise not valid.";
    InvalidURI 400 "The specified URI couldn't be parsed.";
    KeyTooLongError 400 "Your key is too long";
    MalformedACLError 400 "The ACL that you provided was not well formed or did not validate against our published schema.";
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML 400 "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded 400 "Your request was too big.";
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed 405 "The specified method is not allowed against this resource.";
    MissingContentLength 411 "You must provide the Content-Length HTTP header.";
    MissingContentMD5 400 "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
    MissingRequestBodyError 400 "Request Body is empty";
    NoSuchBucket 404 "The specified bucket does not exist";
    NoSuchBucketPolicy 404 "The bucket policy does not exist";
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist";
    NoSuchConfiguration 404 "The specified configuration does not exist.";
    NoSuchKey 404 "The specified key does not exist.";
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist";
    NoSuchObjectLockConfiguration 404 "The specified object does not have a ObjectLock configuration";
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found";
    NoSuchTagSet 404 "The TagSet does not exist";
    NoSuchUpload 404 "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion 404 "The specified version does not exist.";
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration";
    NotImplemented 501 "A header or operation that you provided implies functionality that is not implemented.";
    NotModified 304 "Not Modified";
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket";
    OperationAborted 409 "A conflicting conditional operation is currently in progress against this resource. Try again.";
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found";
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold";
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found";
    RequestHeaderSectionTooLarge 400 "Your request header section exceeds the maximum allowed request header section size.";
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.";
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.";
    ServerSideEncryptionConfigurationNotFoundError 404 "The server side encryption configuration was not found";
    ServiceUnavailable 503 "Service is unable to handle request.";
    SignatureDoesNotMatch 403 "The request signature that the server calculated does not match the signature that you provided. Check your secret access key and signing method.";
    SlowDown 503 "Please reduce your request rate.";
    TooManyBuckets 400 "You have attempted to create more buckets than are allowed.";
    UnexpectedContent 400 "This request contains unsupported content.";
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl S3ErrorCode {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A refused or failed request, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error {
    /// AWS's code, which also gives the status.
    pub code: S3ErrorCode,
    /// One sentence for the person who reads it.
    pub message: Cow<'static, str>,
    /// What it is about; the dispatcher fills in the request's path where this is `None`.
    pub resource: Option<String>,
    /// Further elements of the answer, such as `Region` or `ActualObjectSize`.
    pub extra: Vec<(&'static str, String)>,
    /// Further headers of the answer, such as `Content-Range`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl S3Error {
    /// An error with AWS's usual message.
    pub fn new(code: S3ErrorCode) -> Self {
        Self::with_message(code, code.default_message())
    }

    /// An error with a message of its own.
    pub fn with_message(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), resource: None, extra: Vec::new(), headers: Vec::new() }
    }

    /// `InvalidArgument` for a named parameter or header.
    pub fn invalid_argument(
        name: &'static str,
        value: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::with_message(S3ErrorCode::InvalidArgument, message)
            .extra("ArgumentName", name)
            .extra("ArgumentValue", value)
    }

    /// Adds an element to the answer.
    #[must_use]
    pub fn extra(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((name, value.into()));
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Names what the error is about.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }
}

impl From<S3ErrorCode> for S3Error {
    fn from(code: S3ErrorCode) -> Self {
        Self::new(code)
    }
}

impl std::fmt::Display for S3Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for S3Error {}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> Self {
        use S3ErrorCode as Code;
        let invalid = |message: &'static str| Self::with_message(Code::InvalidRequest, message);
        match error {
            BodyError::Incomplete => Code::IncompleteBody.into(),
            BodyError::TooSlow => Code::RequestTimeout.into(),
            BodyError::LengthMissing => Code::MissingContentLength.into(),
            BodyError::LengthInvalid => {
                Self::with_message(Code::InvalidArgument, "A declared content length is not a number")
            }
            BodyError::FramingUnannounced => invalid(
                "x-amz-decoded-content-length needs an x-amz-content-sha256 that announces aws-chunked content.",
            ),
            BodyError::Framing(framing) => framing.into(),
            BodyError::ChainBroken => Code::SignatureDoesNotMatch.into(),
            BodyError::PayloadMismatch => Code::XAmzContentSHA256Mismatch.into(),
            BodyError::InvalidMd5 => Code::InvalidDigest.into(),
            BodyError::Md5Mismatch => Self::with_message(
                Code::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ),
            BodyError::InvalidChecksum(algorithm) => {
                let message = format!("Value for {} header is invalid.", header_name(algorithm));
                Self::with_message(Code::InvalidRequest, message)
            }
            BodyError::ChecksumMismatch(algorithm) => {
                let name = wire_name(algorithm);
                let message = format!("The {name} you specified did not match the calculated checksum.");
                Self::with_message(Code::BadDigest, message)
            }
            BodyError::UnknownChecksum => {
                invalid("The algorithm type you specified in x-amz-checksum- header is invalid.")
            }
            BodyError::SeveralChecksums => {
                invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
            }
            BodyError::UnknownTrailer => {
                invalid("The value specified in the x-amz-trailer header is not supported")
            }
            BodyError::TrailerUnannounced => {
                invalid("An x-amz-trailer header needs an x-amz-content-sha256 that announces a trailer.")
            }
            BodyError::TrailerMismatch => Code::MalformedTrailerError.into(),
            BodyError::SdkAlgorithmInvalid => {
                invalid("Value for x-amz-sdk-checksum-algorithm header is invalid.")
            }
            BodyError::SdkAlgorithmWithoutChecksum => invalid(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                 headers were found.",
            ),
            BodyError::TooLong(max) => {
                Self::new(Code::MaxMessageLengthExceeded).extra("MaxMessageLengthBytes", max.to_string())
            }
            BodyError::NotRead | BodyError::DigestsLost => Code::InternalError.into(),
        }
    }
}

impl From<FramingError> for S3Error {
    fn from(error: FramingError) -> Self {
        use S3ErrorCode as Code;
        match error {
            FramingError::ChunkHeader | FramingError::ChunkEnd => Code::InvalidChunkSizeError.into(),
            FramingError::ChunkTooSmall { chunk, size } => Self::with_message(
                Code::InvalidChunkSizeError,
                "Only the last chunk is allowed to have a size less than 8192 bytes",
            )
            .extra("Chunk", chunk.to_string())
            .extra("BadChunkSize", size.to_string()),
            FramingError::ChunkSignature => Code::SignatureDoesNotMatch.into(),
            FramingError::DecodedLength => Self::with_message(
                Code::IncompleteBody,
                "The request body does not hold the number of bytes specified by x-amz-decoded-content-length.",
            ),
            FramingError::Trailer => Code::MalformedTrailerError.into(),
            FramingError::BytesAfterEnd => Code::UnexpectedContent.into(),
            FramingError::Truncated => {
                Self::with_message(Code::IncompleteBody, "The request body terminated unexpectedly")
            }
        }
    }
}

impl From<AuthError> for S3Error {
    fn from(error: AuthError) -> Self {
        use S3ErrorCode as Code;
        let malformed = |form| match form {
            Form::Header => Code::AuthorizationHeaderMalformed,
            Form::Query => Code::AuthorizationQueryParametersError,
        };
        match error {
            AuthError::Anonymous => Code::AccessDenied.into(),
            AuthError::SeveralMechanisms => Self::with_message(
                Code::InvalidArgument,
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                 parameter or the Authorization header should be specified",
            ),
            AuthError::UnsupportedMechanism => Self::with_message(
                Code::InvalidRequest,
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ),
            AuthError::UnknownScheme => {
                Self::with_message(Code::InvalidArgument, "Unsupported Authorization Type")
                    .extra("ArgumentName", "Authorization")
            }
            AuthError::TokenUnsupported => Code::InvalidToken.into(),
            AuthError::Malformed { form, message } => Self::with_message(malformed(form), message),
            AuthError::WrongRegion { form, ref expected, .. } => {
                let region = HeaderValue::try_from(expected.as_str()).unwrap_or(HeaderValue::from_static(""));
                // The answer to a HEAD has no document to say it in.
                Self::with_message(malformed(form), error.to_string())
                    .extra("Region", expected)
                    .header(HeaderName::from_static("x-amz-bucket-region"), region)
            }
            AuthError::TooSkewed { request, server_seconds } => Self::new(Code::RequestTimeTooSkewed)
                .extra("RequestTime", request)
                .extra("ServerTime", iso8601(server_seconds))
                .extra("MaxAllowedSkewMilliseconds", "900000"),
            AuthError::LinksRefused
            | AuthError::MissingDate
            | AuthError::NotYetValid
            | AuthError::Expired
            | AuthError::UnusableLink(_)
            | AuthError::ParameterNotSigned(_)
            | AuthError::SignedHeaderAbsent(_) => Self::with_message(Code::AccessDenied, sentence(&error)),
            AuthError::HeaderNotSigned(ref name) => Self::with_message(
                Code::AccessDenied,
                "There were headers present in the request which were not signed",
            )
            .extra("HeadersNotSigned", name),
            AuthError::PayloadHashMissing => Self::with_message(
                Code::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256",
            ),
            AuthError::PayloadHashInvalid => Self::with_message(Code::InvalidArgument, error.to_string()),
            AuthError::UnknownKey | AuthError::SuspendedKey => Code::InvalidAccessKeyId.into(),
            AuthError::Mismatch => Code::SignatureDoesNotMatch.into(),
            AuthError::Unavailable(_) => Code::InternalError.into(),
        }
    }
}

fn sentence(error: &AuthError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn iso8601(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::CredentialsError;
    use siltstone_log::event::ChecksumAlgorithm;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_status_and_a_name_of_its_own() {
        let names: BTreeSet<&str> = S3ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), S3ErrorCode::ALL.len());
        for code in S3ErrorCode::ALL {
            assert_eq!(code.status().as_u16(), code.status_number(), "{}", code.as_str());
            assert!((300..600).contains(&code.status_number()), "{}", code.as_str());
        }
    }

    #[test]
    fn refused_callers_get_the_codes_of_aws() {
        use S3ErrorCode as Code;
        let header = Form::Header;
        for (error, code) in [
            (AuthError::Anonymous, Code::AccessDenied),
            (AuthError::SeveralMechanisms, Code::InvalidArgument),
            (AuthError::UnsupportedMechanism, Code::InvalidRequest),
            (AuthError::UnknownScheme, Code::InvalidArgument),
            (AuthError::TokenUnsupported, Code::InvalidToken),
            (AuthError::LinksRefused, Code::AccessDenied),
            (AuthError::malformed(header, "m"), Code::AuthorizationHeaderMalformed),
            (AuthError::malformed(Form::Query, "m"), Code::AuthorizationQueryParametersError),
            (AuthError::MissingDate, Code::AccessDenied),
            (AuthError::NotYetValid, Code::AccessDenied),
            (AuthError::Expired, Code::AccessDenied),
            (AuthError::SignedHeaderAbsent("h".to_owned()), Code::AccessDenied),
            (AuthError::HeaderNotSigned("h".to_owned()), Code::AccessDenied),
            (AuthError::PayloadHashMissing, Code::InvalidRequest),
            (AuthError::PayloadHashInvalid, Code::InvalidArgument),
            (AuthError::UnknownKey, Code::InvalidAccessKeyId),
            (AuthError::Mismatch, Code::SignatureDoesNotMatch),
            (AuthError::Unavailable(CredentialsError("x".into())), Code::InternalError),
        ] {
            let text = error.to_string();
            assert_eq!(S3Error::from(error).code, code, "{text}");
        }
        let region = AuthError::WrongRegion { form: header, found: "a".to_owned(), expected: "b".to_owned() };
        let region = S3Error::from(region);
        assert_eq!(region.code, Code::AuthorizationHeaderMalformed);
        assert_eq!(region.extra, [("Region", "b".to_owned())]);
        let skewed = AuthError::TooSkewed { request: "r".to_owned(), server_seconds: 1_369_353_600 };
        let skewed = S3Error::from(skewed);
        assert_eq!(skewed.code, Code::RequestTimeTooSkewed);
        assert!(skewed.extra.contains(&("ServerTime", "2013-05-24T00:00:00Z".to_owned())));
    }

    #[test]
    fn refused_bodies_get_the_codes_of_aws() {
        use S3ErrorCode as Code;
        let crc = ChecksumAlgorithm::Crc32;
        for (error, code) in [
            (BodyError::Incomplete, Code::IncompleteBody),
            (BodyError::TooSlow, Code::RequestTimeout),
            (BodyError::LengthMissing, Code::MissingContentLength),
            (BodyError::LengthInvalid, Code::InvalidArgument),
            (BodyError::FramingUnannounced, Code::InvalidRequest),
            (BodyError::ChainBroken, Code::SignatureDoesNotMatch),
            (BodyError::PayloadMismatch, Code::XAmzContentSHA256Mismatch),
            (BodyError::InvalidMd5, Code::InvalidDigest),
            (BodyError::Md5Mismatch, Code::BadDigest),
            (BodyError::InvalidChecksum(crc), Code::InvalidRequest),
            (BodyError::ChecksumMismatch(crc), Code::BadDigest),
            (BodyError::UnknownChecksum, Code::InvalidRequest),
            (BodyError::SeveralChecksums, Code::InvalidRequest),
            (BodyError::UnknownTrailer, Code::InvalidRequest),
            (BodyError::TrailerUnannounced, Code::InvalidRequest),
            (BodyError::TrailerMismatch, Code::MalformedTrailerError),
            (BodyError::SdkAlgorithmInvalid, Code::InvalidRequest),
            (BodyError::SdkAlgorithmWithoutChecksum, Code::InvalidRequest),
            (BodyError::TooLong(1), Code::MaxMessageLengthExceeded),
            (BodyError::NotRead, Code::InternalError),
            (BodyError::DigestsLost, Code::InternalError),
            (FramingError::ChunkHeader.into(), Code::InvalidChunkSizeError),
            (FramingError::ChunkTooSmall { chunk: 2, size: 1 }.into(), Code::InvalidChunkSizeError),
            (FramingError::ChunkEnd.into(), Code::InvalidChunkSizeError),
            (FramingError::ChunkSignature.into(), Code::SignatureDoesNotMatch),
            (FramingError::DecodedLength.into(), Code::IncompleteBody),
            (FramingError::Trailer.into(), Code::MalformedTrailerError),
            (FramingError::BytesAfterEnd.into(), Code::UnexpectedContent),
            (FramingError::Truncated.into(), Code::IncompleteBody),
        ] {
            let text = error.to_string();
            assert_eq!(S3Error::from(error).code, code, "{text}");
        }
    }
}
