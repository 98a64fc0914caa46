//! What a request asks for. Every operation of S3 is recognised, also those that are not built: a subresource that is
//! not understood must never fall through to the plain operation of its method, which could overwrite or delete.
//!
//! Next hop: [`crate::auth::authorize`] with the operation's [`Action`], then the handler.

use super::copy_source::COPY_SOURCE;
use super::error::{S3Error, S3ErrorCode};
use super::parameters;
use super::request::Query;
use crate::auth::{Action, Class};
use http::{HeaderMap, Method};

macro_rules! operations {
    ($($name:ident $action:literal $class:ident;)+) => {
        /// Every operation of S3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are S3's own")]
        pub enum Operation {
            $($name,)+
        }

        impl Operation {
            /// Every operation there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The operation's name in AWS's API reference.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What has to be allowed: the action in policies, and its class.
            pub fn action(self) -> Action {
                match self {
                    $(Self::$name => Action { name: $action, class: Class::$class },)+
                }
            }
        }
    };
}

operations! {
    // Service
    ListBuckets "s3:ListAllMyBuckets" List;
    ListDirectoryBuckets "s3express:ListAllMyDirectoryBuckets" List;
    WriteGetObjectResponse "s3-object-lambda:WriteGetObjectResponse" Write;
    // Bucket
    CreateBucket "s3:CreateBucket" Manage;
    DeleteBucket "s3:DeleteBucket" Manage;
    HeadBucket "s3:ListBucket" List;
    GetBucketLocation "s3:GetBucketLocation" Read;
    ListObjects "s3:ListBucket" List;
    ListObjectsV2 "s3:ListBucket" List;
    ListObjectVersions "s3:ListBucketVersions" List;
    ListMultipartUploads "s3:ListBucketMultipartUploads" List;
    DeleteObjects "s3:DeleteObject" Delete;
    PostObject "s3:PutObject" Write;
    CreateSession "s3:CreateSession" Manage;
    // Bucket configuration
    GetBucketAbac "s3:GetBucketAbac" Read;
    PutBucketAbac "s3:PutBucketAbac" Manage;
    GetBucketAccelerateConfiguration "s3:GetAccelerateConfiguration" Read;
    PutBucketAccelerateConfiguration "s3:PutAccelerateConfiguration" Manage;
    GetBucketAcl "s3:GetBucketAcl" Read;
    PutBucketAcl "s3:PutBucketAcl" Manage;
    GetBucketAnalyticsConfiguration "s3:GetAnalyticsConfiguration" Read;
    ListBucketAnalyticsConfigurations "s3:GetAnalyticsConfiguration" Read;
    PutBucketAnalyticsConfiguration "s3:PutAnalyticsConfiguration" Manage;
    DeleteBucketAnalyticsConfiguration "s3:PutAnalyticsConfiguration" Manage;
    GetBucketCors "s3:GetBucketCORS" Read;
    PutBucketCors "s3:PutBucketCORS" Manage;
    DeleteBucketCors "s3:PutBucketCORS" Manage;
    GetBucketEncryption "s3:GetEncryptionConfiguration" Read;
    PutBucketEncryption "s3:PutEncryptionConfiguration" Manage;
    DeleteBucketEncryption "s3:PutEncryptionConfiguration" Manage;
    GetBucketIntelligentTieringConfiguration "s3:GetIntelligentTieringConfiguration" Read;
    ListBucketIntelligentTieringConfigurations "s3:GetIntelligentTieringConfiguration" Read;
    PutBucketIntelligentTieringConfiguration "s3:PutIntelligentTieringConfiguration" Manage;
    DeleteBucketIntelligentTieringConfiguration "s3:PutIntelligentTieringConfiguration" Manage;
    GetBucketInventoryConfiguration "s3:GetInventoryConfiguration" Read;
    ListBucketInventoryConfigurations "s3:GetInventoryConfiguration" Read;
    PutBucketInventoryConfiguration "s3:PutInventoryConfiguration" Manage;
    DeleteBucketInventoryConfiguration "s3:PutInventoryConfiguration" Manage;
    GetBucketLifecycleConfiguration "s3:GetLifecycleConfiguration" Read;
    PutBucketLifecycleConfiguration "s3:PutLifecycleConfiguration" Manage;
    DeleteBucketLifecycle "s3:PutLifecycleConfiguration" Manage;
    GetBucketLogging "s3:GetBucketLogging" Read;
    PutBucketLogging "s3:PutBucketLogging" Manage;
    GetBucketMetadataConfiguration "s3:GetBucketMetadataTableConfiguration" Read;
    CreateBucketMetadataConfiguration "s3:CreateBucketMetadataTableConfiguration" Manage;
    DeleteBucketMetadataConfiguration "s3:DeleteBucketMetadataTableConfiguration" Manage;
    UpdateBucketMetadataAnnotationTableConfiguration "s3:UpdateBucketMetadataAnnotationTableConfiguration" Manage;
    UpdateBucketMetadataInventoryTableConfiguration "s3:UpdateBucketMetadataInventoryTableConfiguration" Manage;
    UpdateBucketMetadataJournalTableConfiguration "s3:UpdateBucketMetadataJournalTableConfiguration" Manage;
    GetBucketMetadataTableConfiguration "s3:GetBucketMetadataTableConfiguration" Read;
    CreateBucketMetadataTableConfiguration "s3:CreateBucketMetadataTableConfiguration" Manage;
    DeleteBucketMetadataTableConfiguration "s3:DeleteBucketMetadataTableConfiguration" Manage;
    GetBucketMetricsConfiguration "s3:GetMetricsConfiguration" Read;
    ListBucketMetricsConfigurations "s3:GetMetricsConfiguration" Read;
    PutBucketMetricsConfiguration "s3:PutMetricsConfiguration" Manage;
    DeleteBucketMetricsConfiguration "s3:PutMetricsConfiguration" Manage;
    GetBucketNotificationConfiguration "s3:GetBucketNotification" Read;
    PutBucketNotificationConfiguration "s3:PutBucketNotification" Manage;
    GetObjectLockConfiguration "s3:GetBucketObjectLockConfiguration" Read;
    PutObjectLockConfiguration "s3:PutBucketObjectLockConfiguration" Manage;
    GetBucketOwnershipControls "s3:GetBucketOwnershipControls" Read;
    PutBucketOwnershipControls "s3:PutBucketOwnershipControls" Manage;
    DeleteBucketOwnershipControls "s3:PutBucketOwnershipControls" Manage;
    GetBucketPolicy "s3:GetBucketPolicy" Read;
    PutBucketPolicy "s3:PutBucketPolicy" Manage;
    DeleteBucketPolicy "s3:DeleteBucketPolicy" Manage;
    GetBucketPolicyStatus "s3:GetBucketPolicyStatus" Read;
    GetPublicAccessBlock "s3:GetBucketPublicAccessBlock" Read;
    PutPublicAccessBlock "s3:PutBucketPublicAccessBlock" Manage;
    DeletePublicAccessBlock "s3:PutBucketPublicAccessBlock" Manage;
    GetBucketReplication "s3:GetReplicationConfiguration" Read;
    PutBucketReplication "s3:PutReplicationConfiguration" Manage;
    DeleteBucketReplication "s3:PutReplicationConfiguration" Manage;
    GetBucketRequestPayment "s3:GetBucketRequestPayment" Read;
    PutBucketRequestPayment "s3:PutBucketRequestPayment" Manage;
    GetBucketTagging "s3:GetBucketTagging" Read;
    PutBucketTagging "s3:PutBucketTagging" Manage;
    DeleteBucketTagging "s3:PutBucketTagging" Manage;
    GetBucketVersioning "s3:GetBucketVersioning" Read;
    PutBucketVersioning "s3:PutBucketVersioning" Manage;
    GetBucketWebsite "s3:GetBucketWebsite" Read;
    PutBucketWebsite "s3:PutBucketWebsite" Manage;
    DeleteBucketWebsite "s3:DeleteBucketWebsite" Manage;
    // Object
    GetObject "s3:GetObject" Read;
    HeadObject "s3:GetObject" Read;
    PutObject "s3:PutObject" Write;
    CopyObject "s3:PutObject" Write;
    DeleteObject "s3:DeleteObject" Delete;
    RenameObject "s3:PutObject" Write;
    GetObjectAttributes "s3:GetObjectAttributes" Read;
    GetObjectAcl "s3:GetObjectAcl" Read;
    PutObjectAcl "s3:PutObjectAcl" Manage;
    UpdateObjectEncryption "s3:UpdateObjectEncryption" Write;
    GetObjectAnnotation "s3:GetObjectAnnotation" Read;
    ListObjectAnnotations "s3:ListObjectAnnotations" Read;
    PutObjectAnnotation "s3:PutObjectAnnotation" Write;
    DeleteObjectAnnotation "s3:DeleteObjectAnnotation" Write;
    GetObjectLegalHold "s3:GetObjectLegalHold" Read;
    PutObjectLegalHold "s3:PutObjectLegalHold" Manage;
    GetObjectRetention "s3:GetObjectRetention" Read;
    PutObjectRetention "s3:PutObjectRetention" Manage;
    GetObjectTagging "s3:GetObjectTagging" Read;
    PutObjectTagging "s3:PutObjectTagging" Write;
    DeleteObjectTagging "s3:DeleteObjectTagging" Write;
    GetObjectTorrent "s3:GetObjectTorrent" Read;
    RestoreObject "s3:RestoreObject" Write;
    SelectObjectContent "s3:GetObject" Read;
    // Multipart
    CreateMultipartUpload "s3:PutObject" Write;
    UploadPart "s3:PutObject" Write;
    UploadPartCopy "s3:PutObject" Write;
    CompleteMultipartUpload "s3:PutObject" Write;
    AbortMultipartUpload "s3:AbortMultipartUpload" Write;
    ListParts "s3:ListMultipartUploadParts" List;
}

impl Operation {
    /// The action that is needed where a request names a version, or does not (AWS's Service Authorization Reference).
    pub fn action_on(self, names_version: bool) -> Action {
        let action = self.action();
        if !names_version {
            return action;
        }
        let name = match self {
            Self::GetObject | Self::HeadObject | Self::SelectObjectContent => "s3:GetObjectVersion",
            Self::DeleteObject => "s3:DeleteObjectVersion",
            Self::GetObjectAttributes => "s3:GetObjectVersionAttributes",
            Self::GetObjectAcl => "s3:GetObjectVersionAcl",
            Self::PutObjectAcl => "s3:PutObjectVersionAcl",
            Self::GetObjectTagging => "s3:GetObjectVersionTagging",
            Self::PutObjectTagging => "s3:PutObjectVersionTagging",
            Self::DeleteObjectTagging => "s3:DeleteObjectVersionTagging",
            Self::GetObjectTorrent => "s3:GetObjectVersionTorrent",
            _ => action.name,
        };
        Action { name, ..action }
    }
}

/// What a subresource means for each method; `None` is 405.
struct Subresource {
    name: &'static str,
    get: Option<Operation>,
    put: Option<Operation>,
    post: Option<Operation>,
    delete: Option<Operation>,
}

macro_rules! subresources {
    ($($name:literal => $($method:ident $operation:ident),+;)+) => {
        &[$(Subresource { $($method: Some(Operation::$operation),)+ ..Subresource::named($name) },)+]
    };
}

impl Subresource {
    const fn named(name: &'static str) -> Self {
        Self { name, get: None, put: None, post: None, delete: None }
    }

    fn operation(&self, method: &Method) -> Option<Operation> {
        match *method {
            Method::GET => self.get,
            Method::PUT => self.put,
            Method::POST => self.post,
            Method::DELETE => self.delete,
            _ => None,
        }
    }
}

const OF_BUCKET: &[Subresource] = subresources! {
    "abac" => get GetBucketAbac, put PutBucketAbac;
    "accelerate" => get GetBucketAccelerateConfiguration, put PutBucketAccelerateConfiguration;
    "acl" => get GetBucketAcl, put PutBucketAcl;
    "analytics" => get GetBucketAnalyticsConfiguration, put PutBucketAnalyticsConfiguration, delete DeleteBucketAnalyticsConfiguration;
    "cors" => get GetBucketCors, put PutBucketCors, delete DeleteBucketCors;
    "delete" => post DeleteObjects;
    "encryption" => get GetBucketEncryption, put PutBucketEncryption, delete DeleteBucketEncryption;
    "intelligent-tiering" => get GetBucketIntelligentTieringConfiguration, put PutBucketIntelligentTieringConfiguration, delete DeleteBucketIntelligentTieringConfiguration;
    "inventory" => get GetBucketInventoryConfiguration, put PutBucketInventoryConfiguration, delete DeleteBucketInventoryConfiguration;
    "lifecycle" => get GetBucketLifecycleConfiguration, put PutBucketLifecycleConfiguration, delete DeleteBucketLifecycle;
    "location" => get GetBucketLocation;
    "logging" => get GetBucketLogging, put PutBucketLogging;
    "metadataAnnotationTable" => put UpdateBucketMetadataAnnotationTableConfiguration;
    "metadataConfiguration" => get GetBucketMetadataConfiguration, post CreateBucketMetadataConfiguration, delete DeleteBucketMetadataConfiguration;
    "metadataInventoryTable" => put UpdateBucketMetadataInventoryTableConfiguration;
    "metadataJournalTable" => put UpdateBucketMetadataJournalTableConfiguration;
    "metadataTable" => get GetBucketMetadataTableConfiguration, post CreateBucketMetadataTableConfiguration, delete DeleteBucketMetadataTableConfiguration;
    "metrics" => get GetBucketMetricsConfiguration, put PutBucketMetricsConfiguration, delete DeleteBucketMetricsConfiguration;
    "notification" => get GetBucketNotificationConfiguration, put PutBucketNotificationConfiguration;
    "object-lock" => get GetObjectLockConfiguration, put PutObjectLockConfiguration;
    "ownershipControls" => get GetBucketOwnershipControls, put PutBucketOwnershipControls, delete DeleteBucketOwnershipControls;
    "policy" => get GetBucketPolicy, put PutBucketPolicy, delete DeleteBucketPolicy;
    "policyStatus" => get GetBucketPolicyStatus;
    "publicAccessBlock" => get GetPublicAccessBlock, put PutPublicAccessBlock, delete DeletePublicAccessBlock;
    "replication" => get GetBucketReplication, put PutBucketReplication, delete DeleteBucketReplication;
    "requestPayment" => get GetBucketRequestPayment, put PutBucketRequestPayment;
    "session" => get CreateSession;
    "tagging" => get GetBucketTagging, put PutBucketTagging, delete DeleteBucketTagging;
    "uploads" => get ListMultipartUploads;
    "versioning" => get GetBucketVersioning, put PutBucketVersioning;
    "versions" => get ListObjectVersions;
    "website" => get GetBucketWebsite, put PutBucketWebsite, delete DeleteBucketWebsite;
};

const OF_OBJECT: &[Subresource] = subresources! {
    "acl" => get GetObjectAcl, put PutObjectAcl;
    "annotation" => get GetObjectAnnotation, put PutObjectAnnotation, delete DeleteObjectAnnotation;
    "attributes" => get GetObjectAttributes;
    "encryption" => put UpdateObjectEncryption;
    "legal-hold" => get GetObjectLegalHold, put PutObjectLegalHold;
    "renameObject" => put RenameObject;
    "restore" => post RestoreObject;
    "retention" => get GetObjectRetention, put PutObjectRetention;
    "select" => post SelectObjectContent;
    "tagging" => get GetObjectTagging, put PutObjectTagging, delete DeleteObjectTagging;
    "torrent" => get GetObjectTorrent;
    "uploadId" => get ListParts, put UploadPart, post CompleteMultipartUpload, delete AbortMultipartUpload;
    "uploads" => post CreateMultipartUpload;
};

/// What the path addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `/`
    Service,
    /// `/bucket`
    Bucket,
    /// `/bucket/key`
    Object,
}

impl Operation {
    /// Whether a handler looks at the body. What does not get that far is refused by name, body unread.
    pub fn reads_body(self) -> bool {
        let name = self.name();
        let looks_only = ["Get", "Head", "List", "Delete", "Abort"].iter().any(|verb| name.starts_with(verb));
        match self {
            Self::DeleteObjects => true,
            Self::CreateMultipartUpload | Self::CopyObject | Self::UploadPartCopy => false,
            _ => !looks_only,
        }
    }

    /// Whether the body becomes content.
    pub fn stores_body(self) -> bool {
        matches!(self, Self::PutObject | Self::UploadPart)
    }

    /// Whether it reads a second object, which `x-amz-copy-source` names.
    pub fn copies(self) -> bool {
        matches!(self, Self::CopyObject | Self::UploadPartCopy)
    }

    /// Recognises the operation of a request. A change whose parameters could mean another is none.
    pub fn recognise(
        method: &Method,
        scope: Scope,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Self, S3Error> {
        let operation = Self::asked_for(method, scope, query, headers)?;
        if matches!(*method, Method::PUT | Method::POST | Method::DELETE) {
            parameters::check_change(operation, query)?;
        }
        Ok(operation)
    }

    fn asked_for(method: &Method, scope: Scope, query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        match scope {
            // AWS tells the two apart by their hosts; here only what ListBuckets has not says so.
            Scope::Service
                if method == Method::GET
                    && (query.contains("max-directory-buckets")
                        || query.get("x-id") == Some(Self::ListDirectoryBuckets.name())) =>
            {
                Ok(Self::ListDirectoryBuckets)
            }
            Scope::Service if method == Method::GET => Ok(Self::ListBuckets),
            // The identity protocols (STS, IAM) speak POST here.
            Scope::Service if method == Method::POST => Err(S3ErrorCode::NotImplemented.into()),
            Scope::Service => Err(method_not_allowed(method, "SERVICE")),
            // What answers for a function of S3 Object Lambda has a path of its own, which looks like a bucket's.
            _ if method == Method::POST && headers.contains_key("x-amz-request-route") => {
                Ok(Self::WriteGetObjectResponse)
            }
            Scope::Bucket => Self::of_bucket(method, query, headers),
            Scope::Object => Self::of_object(method, query, headers),
        }
    }

    fn of_bucket(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        if method == Method::HEAD {
            return Ok(Self::HeadBucket);
        }
        if let Some(subresource) = find_subresource(query, OF_BUCKET, OF_OBJECT, "bucket")? {
            let operation = subresource.operation(method);
            let operation = operation.ok_or_else(|| method_not_allowed(method, subresource.name))?;
            // Four configurations come in numbers: without an id, GET lists them.
            return Ok(if query.contains("id") {
                operation
            } else {
                operation.listing().unwrap_or(operation)
            });
        }
        match *method {
            Method::GET if query.get("list-type") == Some("2") => Ok(Self::ListObjectsV2),
            Method::GET => Ok(Self::ListObjects),
            Method::PUT => Ok(Self::CreateBucket),
            Method::DELETE => Ok(Self::DeleteBucket),
            Method::POST if is_form(headers) => Ok(Self::PostObject),
            _ => Err(method_not_allowed(method, "BUCKET")),
        }
    }

    fn of_object(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        if method == Method::HEAD {
            return Ok(Self::HeadObject);
        }
        let copies = headers.contains_key(COPY_SOURCE);
        if let Some(subresource) = find_subresource(query, OF_OBJECT, OF_BUCKET, "key")? {
            let operation = subresource.operation(method);
            let operation = operation.ok_or_else(|| method_not_allowed(method, subresource.name))?;
            return Ok(match operation {
                Self::UploadPart if copies => Self::UploadPartCopy,
                // Without a name, GET lists them.
                Self::GetObjectAnnotation if !query.contains("annotationName") => Self::ListObjectAnnotations,
                operation => operation,
            });
        }
        match *method {
            Method::GET => Ok(Self::GetObject),
            Method::PUT if copies => Ok(Self::CopyObject),
            Method::PUT => Ok(Self::PutObject),
            Method::DELETE => Ok(Self::DeleteObject),
            _ => Err(method_not_allowed(method, "OBJECT")),
        }
    }

    fn listing(self) -> Option<Self> {
        match self {
            Self::GetBucketAnalyticsConfiguration => Some(Self::ListBucketAnalyticsConfigurations),
            Self::GetBucketIntelligentTieringConfiguration => {
                Some(Self::ListBucketIntelligentTieringConfigurations)
            }
            Self::GetBucketInventoryConfiguration => Some(Self::ListBucketInventoryConfigurations),
            Self::GetBucketMetricsConfiguration => Some(Self::ListBucketMetricsConfigurations),
            _ => None,
        }
    }

    /// Whether `x-amz-checksum-*` headers of this operation speak of its own body. In `CompleteMultipartUpload` they
    /// speak of the finished object.
    pub fn checksums_cover_body(self) -> bool {
        self != Self::CompleteMultipartUpload
    }
}

/// Whether a parameter of this name can make another operation of a request.
pub fn is_subresource(name: &str) -> bool {
    OF_BUCKET.iter().chain(OF_OBJECT).any(|subresource| subresource.name == name)
}

fn find_subresource(
    query: &Query,
    own: &'static [Subresource],
    foreign: &'static [Subresource],
    scope: &'static str,
) -> Result<Option<&'static Subresource>, S3Error> {
    let mut found: Option<&'static Subresource> = None;
    for (name, _) in query.iter() {
        let Some(subresource) = own.iter().find(|subresource| subresource.name == name) else {
            if foreign.iter().any(|subresource| subresource.name == name) {
                let message = format!("There is no such thing as the ?{name} sub-resource for a {scope}");
                return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
            }
            continue;
        };
        if let Some(first) = found.filter(|first| first.name != subresource.name) {
            let both = format!("Conflicting query string parameters: {}, {}", first.name, subresource.name);
            return Err(S3Error::invalid_argument("ResourceType", subresource.name, both));
        }
        found = Some(subresource);
    }
    Ok(found)
}

fn method_not_allowed(method: &Method, resource_type: &str) -> S3Error {
    S3Error::new(S3ErrorCode::MethodNotAllowed)
        .extra("Method", method.as_str())
        .extra("ResourceType", resource_type)
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("multipart/form-data"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::request::Target;
    use crate::s3::testing::head;
    use std::collections::BTreeSet;

    fn recognise(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Operation, S3ErrorCode> {
        let head = head(method, target, headers);
        let scope = Target::parse(&head.raw_path).unwrap().scope();
        let query = Query::parse(&head.raw_query).unwrap();
        Operation::recognise(&head.method, scope, &query, &head.headers).map_err(|error| error.code)
    }

    #[test]
    fn plain_requests_and_subresources_are_recognised() {
        use Operation as Op;
        for (method, target, operation) in [
            ("GET", "/", Op::ListBuckets),
            ("GET", "/?x-id=ListBuckets", Op::ListBuckets),
            ("PUT", "/b", Op::CreateBucket),
            ("PUT", "/b/", Op::CreateBucket),
            ("HEAD", "/b", Op::HeadBucket),
            ("DELETE", "/b", Op::DeleteBucket),
            ("GET", "/?max-directory-buckets=5", Op::ListDirectoryBuckets),
            ("GET", "/?x-id=ListDirectoryBuckets", Op::ListDirectoryBuckets),
            ("PUT", "/b?metadataAnnotationTable", Op::UpdateBucketMetadataAnnotationTableConfiguration),
            ("GET", "/b/k?annotation", Op::ListObjectAnnotations),
            ("GET", "/b/k?annotation&annotationName=n", Op::GetObjectAnnotation),
            ("PUT", "/b/k?annotation&annotationName=n&versionId=1", Op::PutObjectAnnotation),
            ("DELETE", "/b/k?annotation=&annotationName=n", Op::DeleteObjectAnnotation),
            ("GET", "/b", Op::ListObjects),
            ("GET", "/b?list-type=1", Op::ListObjects),
            ("GET", "/b?prefix=acl", Op::ListObjects),
            ("GET", "/b?list-type=2&prefix=", Op::ListObjectsV2),
            ("GET", "/b?versions", Op::ListObjectVersions),
            ("GET", "/b?uploads", Op::ListMultipartUploads),
            ("GET", "/b?location", Op::GetBucketLocation),
            ("GET", "/b?analytics", Op::ListBucketAnalyticsConfigurations),
            ("GET", "/b?analytics&id=1", Op::GetBucketAnalyticsConfiguration),
            ("POST", "/b?delete", Op::DeleteObjects),
            ("POST", "/b?delete=", Op::DeleteObjects),
            ("PUT", "/b?versioning", Op::PutBucketVersioning),
            ("DELETE", "/b?cors", Op::DeleteBucketCors),
            ("GET", "/b/k", Op::GetObject),
            ("GET", "/b/k?partNumber=1&versionId=null", Op::GetObject),
            ("GET", "/b/k?uploadId=1", Op::ListParts),
            ("GET", "/b/k?attributes", Op::GetObjectAttributes),
            ("HEAD", "/b/k", Op::HeadObject),
            ("PUT", "/b/k", Op::PutObject),
            ("PUT", "/b/k?x-id=PutObject", Op::PutObject),
            ("PUT", "/b//", Op::PutObject),
            ("PUT", "/b/k?partNumber=1&uploadId=u", Op::UploadPart),
            ("PUT", "/b/k?tagging", Op::PutObjectTagging),
            ("POST", "/b/k?uploads", Op::CreateMultipartUpload),
            ("POST", "/b/k?uploadId=u", Op::CompleteMultipartUpload),
            ("POST", "/b/k?select&select-type=2", Op::SelectObjectContent),
            ("DELETE", "/b/k", Op::DeleteObject),
            ("DELETE", "/b/k?versionId=1", Op::DeleteObject),
            ("DELETE", "/b/k?uploadId=u", Op::AbortMultipartUpload),
            ("DELETE", "/b/k?tagging", Op::DeleteObjectTagging),
        ] {
            assert_eq!(recognise(method, target, &[]), Ok(operation), "{method} {target}");
        }
        let copy = [("x-amz-copy-source", "/b/other")];
        assert_eq!(recognise("PUT", "/b/k", &copy), Ok(Op::CopyObject));
        assert_eq!(recognise("PUT", "/b/k?partNumber=1&uploadId=u", &copy), Ok(Op::UploadPartCopy));
        let form = [("content-type", "Multipart/Form-Data; boundary=x")];
        assert_eq!(recognise("POST", "/b", &form), Ok(Op::PostObject));
        let route = [("x-amz-request-route", "r")];
        assert_eq!(recognise("POST", "/WriteGetObjectResponse", &route), Ok(Op::WriteGetObjectResponse));
    }

    #[test]
    fn what_is_no_operation_is_refused() {
        for (method, target, code) in [
            ("DELETE", "/", S3ErrorCode::MethodNotAllowed),
            ("POST", "/", S3ErrorCode::NotImplemented),
            ("POST", "/b", S3ErrorCode::MethodNotAllowed),
            ("PATCH", "/b/k", S3ErrorCode::MethodNotAllowed),
            ("OPTIONS", "/b/k", S3ErrorCode::MethodNotAllowed),
            ("POST", "/b/k", S3ErrorCode::MethodNotAllowed),
            ("DELETE", "/b?location", S3ErrorCode::MethodNotAllowed),
            ("DELETE", "/b/k?acl", S3ErrorCode::MethodNotAllowed),
            ("PUT", "/b/k?uploads", S3ErrorCode::MethodNotAllowed),
            ("PUT", "/b/k?partNumber=1", S3ErrorCode::InvalidArgument),
            ("PUT", "/b/k?versioning", S3ErrorCode::InvalidRequest),
            ("DELETE", "/b?retention", S3ErrorCode::InvalidRequest),
            ("GET", "/b?acl&policy", S3ErrorCode::InvalidArgument),
        ] {
            assert_eq!(recognise(method, target, &[]), Err(code), "{method} {target}");
        }
    }

    #[test]
    fn no_subresource_falls_through_to_a_plain_change() {
        let names: BTreeSet<&str> =
            OF_BUCKET.iter().chain(OF_OBJECT).map(|subresource| subresource.name).collect();
        let plain = [
            Operation::CreateBucket,
            Operation::DeleteBucket,
            Operation::PutObject,
            Operation::DeleteObject,
            Operation::CopyObject,
        ];
        for name in names {
            for method in ["GET", "PUT", "POST", "DELETE"] {
                for target in [format!("/b?{name}"), format!("/b/k?{name}=x"), format!("/b/k?a=b&{name}")] {
                    let operation = recognise(method, &target, &[("x-amz-copy-source", "/b/o")]);
                    assert!(operation.is_err() || !plain.contains(&operation.unwrap()), "{method} {target}");
                }
            }
        }
    }

    #[test]
    fn every_operation_is_reached_or_belongs_to_a_header_and_has_its_own_name() {
        let names: BTreeSet<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
        assert!(Operation::ALL.iter().all(|operation| operation.action().name.starts_with("s3")));
    }
}
