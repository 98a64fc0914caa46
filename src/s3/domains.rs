//! Virtual-host style: the host names the bucket.

/// The server's own names. Hosts below them name buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domains(Vec<String>);

impl Domains {
    /// Names in lower case, without ports.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// The bucket that a `Host` names; none for the server's own names and for every other host, where the path does. Of
    /// domains one inside the other the inner one counts.
    pub fn bucket_of(&self, host: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
        });
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if self.0.contains(&name) {
            return None;
        }
        let below = |domain: &String| name.strip_suffix(domain.as_str())?.strip_suffix('.');
        // The shortest rest is that of the longest domain.
        let bucket = self.0.iter().filter_map(below).min_by_key(|bucket| bucket.len())?;
        Some(bucket.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_hosts_below_a_domain_name_buckets() {
        let domains = Domains::new(vec!["example.org".into(), "s3.example.org".into(), "localhost".into()]);
        for (host, bucket) in [
            ("bkt.s3.example.org", Some("bkt")),
            ("my.bkt.s3.example.org:8080", Some("my.bkt")),
            ("BKT.S3.Example.Org.", Some("bkt")),
            ("bkt.example.org", Some("bkt")),
            ("bkt.localhost:80", Some("bkt")),
            ("s3.example.org", None),
            ("s3.example.org:8080", None),
            ("example.org.", None),
            ("bkts3.example.com", None),
            ("xs3example.org", None),
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("[::1]", None),
            (".localhost", Some("")),
            ("", None),
        ] {
            assert_eq!(domains.bucket_of(host).as_deref(), bucket, "{host}");
        }
        assert_eq!(Domains::default().bucket_of("bkt.localhost"), None);
    }

    proptest! {
        #[test]
        fn a_bucket_before_a_domain_is_found_and_any_host_is_read(bucket in "[a-z0-9.-]{3,20}", host in ".{0,30}") {
            let domains = Domains::new(vec!["s3.test".into()]);
            prop_assert_eq!(domains.bucket_of(&format!("{bucket}.s3.test:9")), Some(bucket));
            if let Some(bucket) = domains.bucket_of(&host) {
                prop_assert!(host.to_ascii_lowercase().starts_with(&bucket));
            }
        }
    }
}
