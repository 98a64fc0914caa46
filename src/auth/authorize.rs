use super::authenticate::Authenticated;
use siltstone_log::id::AccountId;

/// What kind of effect an action has; the built-in policies are written in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Shows names.
    List,
    /// Shows content or configuration.
    Read,
    /// Stores content.
    Write,
    /// Removes content.
    Delete,
    /// Makes, removes or configures a bucket.
    Manage,
    /// Administers the server: users, keys, policies, settings.
    Administer,
}

impl Class {
    /// Every class there is.
    pub const ALL: [Self; 6] =
        [Self::List, Self::Read, Self::Write, Self::Delete, Self::Manage, Self::Administer];
}

/// Something that can be allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Its name in policies, for example `s3:PutObject` or `admin:CreateUser`.
    pub name: &'static str,
    /// What kind of effect it has.
    pub class: Class,
}

/// The policies that exist from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuiltinPolicy {
    /// Everything on the account's buckets and objects.
    ReadWrite,
    /// Listing and reading.
    ReadOnly,
    /// Storing objects, and nothing else.
    WriteOnly,
    /// Everything, administration of the server included.
    ConsoleAdmin,
}

impl BuiltinPolicy {
    /// Every built-in policy.
    pub const ALL: [Self; 4] = [Self::ReadWrite, Self::ReadOnly, Self::WriteOnly, Self::ConsoleAdmin];

    /// The name it is attached by.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "readwrite",
            Self::ReadOnly => "readonly",
            Self::WriteOnly => "writeonly",
            Self::ConsoleAdmin => "consoleAdmin",
        }
    }

    /// Finds a policy by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether the policy allows actions of this class in the identity's own account.
    pub fn allows(self, class: Class) -> bool {
        match (self, class) {
            (Self::ConsoleAdmin, _) => true,
            (Self::ReadWrite, class) => class != Class::Administer,
            (Self::ReadOnly, class) => matches!(class, Class::List | Class::Read),
            (Self::WriteOnly, class) => class == Class::Write,
        }
    }
}

/// The answer to "may they?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

impl Decision {
    /// Whether it is [`Decision::Allow`].
    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}

/// Decides whether a caller may do something to what `owner` owns; `None` where nobody owns it (listing one's own
/// buckets, a name that is not taken). Denies unless something allows: the caller's account must own the resource, and
/// the caller must be its root or have a policy for the action. An unknown policy allows nothing.
pub fn authorize(caller: &Authenticated, action: Action, owner: Option<AccountId>) -> Decision {
    let identity = &caller.identity;
    let own = owner.is_none_or(|owner| owner == identity.account);
    let granted = identity.root
        || identity
            .policies
            .iter()
            .filter_map(|name| BuiltinPolicy::parse(name))
            .any(|policy| policy.allows(action.class));
    if own && granted { Decision::Allow } else { Decision::Deny }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;
    use crate::s3::operation::Operation;

    const OWN: AccountId = AccountId([1; 16]);
    const FOREIGN: AccountId = AccountId([2; 16]);
    const ADMINISTER: Action = Action { name: "admin:CreateUser", class: Class::Administer };

    fn caller(root: bool, policies: &[&str]) -> Authenticated {
        let policies = policies.iter().map(|name| (*name).to_owned()).collect();
        let identity = Identity { account: OWN, user: "u".to_owned(), root, policies };
        Authenticated { identity, access_key: "k".to_owned() }
    }

    fn may(policies: &[&str], operation: Operation) -> bool {
        authorize(&caller(false, policies), operation.action(), Some(OWN)).is_allowed()
    }

    /// What each policy should allow, from the operations' names and not from their classes.
    fn expected(policy: &str, operation: Operation) -> bool {
        let name = operation.name();
        let reads = ["Get", "List", "Head", "Select"].iter().any(|verb| name.starts_with(verb));
        let stores = matches!(
            name,
            "PutObject"
                | "PostObject"
                | "CopyObject"
                | "RenameObject"
                | "RestoreObject"
                | "UpdateObjectEncryption"
                | "PutObjectTagging"
                | "DeleteObjectTagging"
                | "PutObjectAnnotation"
                | "DeleteObjectAnnotation"
                | "WriteGetObjectResponse"
                | "CreateMultipartUpload"
                | "UploadPart"
                | "UploadPartCopy"
                | "CompleteMultipartUpload"
                | "AbortMultipartUpload"
        );
        match policy {
            "readwrite" | "consoleAdmin" => true,
            "readonly" => reads,
            "writeonly" => stores,
            _ => false,
        }
    }

    #[test]
    fn each_built_in_policy_allows_exactly_its_operations() {
        for policy in ["readwrite", "readonly", "writeonly", "consoleAdmin", "", "ReadWrite", "unknown"] {
            for operation in Operation::ALL {
                let found = may(&[policy], *operation);
                assert_eq!(found, expected(policy, *operation), "{policy} {}", operation.name());
            }
        }
    }

    #[test]
    fn policies_add_up_and_without_one_nothing_is_allowed() {
        for operation in Operation::ALL {
            assert!(!may(&[], *operation), "{}", operation.name());
            let both = expected("readonly", *operation) || expected("writeonly", *operation);
            assert_eq!(may(&["readonly", "writeonly"], *operation), both, "{}", operation.name());
        }
    }

    #[test]
    fn root_may_do_everything_in_its_account_and_nobody_anything_in_another() {
        for operation in Operation::ALL {
            let action = operation.action();
            let root = caller(true, &[]);
            assert_eq!(authorize(&root, action, Some(OWN)), Decision::Allow);
            assert_eq!(authorize(&root, action, None), Decision::Allow);
            for caller in [root, caller(false, &["consoleAdmin"]), caller(false, &["readwrite"])] {
                assert_eq!(authorize(&caller, action, Some(FOREIGN)), Decision::Deny, "{}", operation.name());
            }
        }
    }

    #[test]
    fn only_console_administrators_and_root_administer() {
        for (root, policies, allowed) in [
            (true, &[][..], true),
            (false, &["consoleAdmin"][..], true),
            (false, &["readwrite"][..], false),
            (false, &["readonly", "writeonly"][..], false),
        ] {
            let decision = authorize(&caller(root, policies), ADMINISTER, None);
            assert_eq!(decision.is_allowed(), allowed, "{root} {policies:?}");
        }
    }

    #[test]
    fn policies_are_found_by_their_own_names_only() {
        for policy in BuiltinPolicy::ALL {
            assert_eq!(BuiltinPolicy::parse(policy.name()), Some(policy));
        }
        assert_eq!(BuiltinPolicy::parse("READWRITE"), None);
    }
}
