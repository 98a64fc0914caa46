//! Who is calling, and may they: one answer for every door.
//!
//! [`authenticate`] finds the identity behind a signed request, [`authorize`] decides what it may do. Both doors (S3 and
//! the console API) call these two and nothing else.

mod authenticate;
mod authorize;
mod claim;
mod credentials;

pub use authenticate::{AuthError, Authenticated, Authenticator, Verified};
pub use authorize::{Action, BuiltinPolicy, Class, Decision, authorize};
pub use claim::Claim;
pub use credentials::{Credential, Credentials, CredentialsError, Identity, Secret};
