//! The whole door in process: signed requests, a real engine on a folder of its own.

use super::*;
use crate::auth::{Credentials, Secret};
use crate::config::Environment;
use crate::engine::{Engine, EngineConfig};
use crate::keys::StoredCredentials;
use crate::s3::sigv4::{PayloadHash, Scope, sign};
use http::HeaderMap;
use http::header::HOST;
use serde_json::json;
use siltstone_log::event::Status;
use siltstone_log::host::Clock;
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

const ROOT: (&str, &str) = ("test-root", "test-root-secret");

/// Every answer of these tests must be what the API's description says of its route.
fn must_be_described((method, path): &(Method, String), status: u16, answer: &Value) {
    let document = &*openapi::DOCUMENT;
    let schema = if status >= 400 {
        document["components"]["schemas"]["Problem"].clone()
    } else if path == openapi::PATH {
        return;
    } else {
        let action = Route::parse(method, path).unwrap().action().name;
        let (template, operation) = openapi::operation_of(action).unwrap();
        assert_eq!(template.split('/').count(), path.split('/').count(), "{path}");
        operation["responses"][status.to_string()]["content"]["application/json"]["schema"].clone()
    };
    assert!(schema.is_object(), "{method} {path} answers {status}, which is not described");
    openapi::conforms(answer, &schema).unwrap_or_else(|why| panic!("{method} {path}: {why} in {answer}"));
}

/// An engine that remembers what was denied.
struct Recorder {
    engine: Engine,
    denied: Mutex<Vec<(Actor, AccessDenied)>>,
}

impl Backend for Recorder {
    fn submit(&self, command: Command) -> Submitted<'_> {
        Box::pin(self.engine.submit(command))
    }

    fn preview(&self, action: crate::engine::Action) -> Result<(), EngineError> {
        self.engine.preview(action)
    }

    fn rows(&self) -> Arc<dyn Rows + Send + Sync> {
        Arc::new(self.engine.view())
    }

    fn note_denied(&self, actor: Actor, denied: AccessDenied) {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).push((actor, denied));
    }
}

struct Door {
    console: Console,
    recorder: Arc<Recorder>,
    credentials: Arc<StoredCredentials>,
    _folder: tempfile::TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.recorder.engine.shutdown();
    }
}

type Reply = (u16, Value);

impl Door {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = EngineConfig::new(folder.path());
        config.writer.segment_bytes = 1 << 20;
        config.packs.pack_bytes = 8 << 20;
        config.limits.free_floor = 0;
        let engine = Engine::open(config).unwrap();
        let env = [("SILTSTONE_ROOT_ACCESS_KEY", ROOT.0), ("SILTSTONE_ROOT_SECRET_KEY", ROOT.1)];
        let env = Environment::from(env);
        let keys = Arc::new(Keys::open(&RealDisk::new(folder.path()), &env, &RealEntropy).unwrap());
        let (view, changes) = (Arc::new(engine.view()), engine.view().changes());
        let credentials = Arc::new(StoredCredentials::new(keys.clone(), view, changes));
        let clock = Arc::new(RealClock::default());
        let authenticator = Authenticator::new(credentials.clone(), clock, Scope::console("us-east-1"));
        let recorder = Arc::new(Recorder { engine, denied: Mutex::default() });
        let entropy = Arc::new(RealEntropy);
        let console = Console { backend: recorder.clone(), authenticator, keys, entropy };
        Self { console, recorder, credentials, _folder: folder }
    }

    fn head(method: &str, path: &str) -> RequestHead {
        let (raw_path, raw_query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("console"));
        RequestHead {
            method: method.parse().unwrap(),
            raw_path: raw_path.to_owned(),
            raw_query: raw_query.to_owned(),
            headers,
            address: Ipv4Addr::LOCALHOST.into(),
            host_bucket: None,
        }
    }

    fn signed(method: &str, path: &str, body: &[u8], (id, secret): (&str, &str)) -> RequestHead {
        let mut head = Self::head(method, path);
        let now = i64::try_from(RealClock::default().wall_millis() / 1000).unwrap();
        sign(&mut head, id, &Secret::new(secret), &Scope::console("us-east-1"), now, &PayloadHash::of(body))
            .unwrap();
        head
    }

    async fn send(&self, head: RequestHead, body: impl Into<Bytes>) -> Reply {
        let query = if head.raw_query.is_empty() { String::new() } else { format!("?{}", head.raw_query) };
        let mut request = Request::new(Full::new(body.into()));
        let asked = (head.method.clone(), head.raw_path.clone());
        *request.method_mut() = head.method;
        *request.uri_mut() = format!("{}{query}", head.raw_path).parse().unwrap();
        *request.headers_mut() = head.headers;
        let response = self.console.handle(head.address, request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let answer = serde_json::from_slice(&body).unwrap();
        must_be_described(&asked, status, &answer);
        (status, answer)
    }

    async fn as_key(&self, key: (&str, &str), method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(Self::signed(method, path, body.as_bytes(), key), body.clone()).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.as_key(ROOT, method, path, body).await
    }

    /// A user with one key.
    async fn user(&self, name: &str, key: (&str, &str)) {
        assert_eq!(self.call("POST", "/api/v1/users", json!({ "name": name })).await.0, 201);
        let body = json!({ "access_key": key.0, "secret_key": key.1 });
        assert_eq!(self.call("POST", &format!("/api/v1/users/{name}/keys"), body).await.0, 201);
    }
}

const ANNA: (&str, &str) = ("ANNAKEY", "anna-secret");

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_for_the_other_door_and_one_in_the_query_are_refused() {
    let door = Door::open();
    let now = i64::try_from(RealClock::default().wall_millis() / 1000).unwrap();
    let mut head = Door::head("GET", "/api/v1/users");
    sign(&mut head, ROOT.0, &Secret::new(ROOT.1), &Scope::s3("us-east-1"), now, &PayloadHash::of(b""))
        .unwrap();
    let (status, problem) = door.send(head, "").await;
    assert_eq!((status, &problem["code"]), (401, &json!("InvalidSignature")));
    let link = "/api/v1/users?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=b";
    let (status, problem) = door.send(Door::head("GET", link), "").await;
    assert_eq!((status, &problem["code"]), (401, &json!("InvalidSignature")));
    assert!(problem["detail"].as_str().unwrap().contains("signed query"), "{problem}");
}

#[tokio::test]
async fn no_route_lets_anybody_in_who_may_not_administer() {
    let door = Door::open();
    door.user("anna", ANNA).await;
    for policy in ["readwrite", "readonly", "writeonly"] {
        let attached = door.call("POST", "/api/v1/users/anna/policies", json!({ "policy": policy })).await;
        assert_eq!(attached.0, 200);
    }
    door.user("gone", ("GONEKEY", "gone-secret")).await;
    let suspended = door.call("PATCH", "/api/v1/users/gone", json!({ "status": "suspended" })).await;
    assert_eq!(suspended.0, 200);
    let every = route::every();
    for (method, path) in &every {
        let (status, problem) = door.send(Door::head(method, path), "").await;
        assert_eq!((status, &problem["code"]), (401, &json!("NotSigned")), "{method} {path}");
        let (status, problem) = door.as_key(ANNA, method, path, Value::Null).await;
        assert_eq!((status, &problem["code"]), (403, &json!("AccessDenied")), "{method} {path}");
        for stranger in [("GONEKEY", "gone-secret"), ("NOKEY", "no-secret"), (ANNA.0, "wrong-secret")] {
            let (status, _) = door.as_key(stranger, method, path, Value::Null).await;
            assert_eq!(status, 401, "{method} {path} as {stranger:?}");
        }
    }
    let denied = door.recorder.denied.lock().unwrap();
    assert_eq!(denied.len(), every.len() * 5);
    let by_anna =
        denied.iter().filter(|(actor, denied)| actor.user == "anna" && denied.code == "AccessDenied");
    assert_eq!(by_anna.count(), every.len());
    for (key, code) in
        [("GONEKEY", "InvalidAccessKey"), (ANNA.0, "SignatureDoesNotMatch"), ("", "InvalidAccessKey")]
    {
        let kept = denied.iter().filter(|(actor, denied)| actor.access_key == key && denied.code == code);
        assert_eq!(kept.count(), every.len(), "{key}");
    }
}

#[tokio::test]
async fn a_key_works_from_its_creation_until_it_or_its_user_is_suspended_or_removed() {
    let door = Door::open();
    door.user("anna", ANNA).await;
    let status = || door.credentials.find(ANNA.0).unwrap().map(|found| found.status);
    assert_eq!(status(), Some(Status::Active));
    assert_eq!(door.credentials.find(ANNA.0).unwrap().unwrap().secret.expose(), ANNA.1);
    for path in ["/api/v1/keys/ANNAKEY", "/api/v1/users/anna"] {
        assert_eq!(door.call("PATCH", path, json!({ "status": "suspended" })).await.0, 200);
        assert_eq!(status(), Some(Status::Suspended), "{path}");
        assert_eq!(door.call("PATCH", path, json!({ "status": "active" })).await.0, 200);
        assert_eq!(status(), Some(Status::Active), "{path}");
    }
    assert_eq!(door.call("DELETE", "/api/v1/keys/ANNAKEY", Value::Null).await.0, 200);
    assert_eq!(status(), None);
    assert_eq!(door.call("DELETE", "/api/v1/keys/ANNAKEY", Value::Null).await.0, 404);
    door.user("bert", ("BERTKEY", "bert-secret")).await;
    assert_eq!(door.call("DELETE", "/api/v1/users/bert", Value::Null).await.0, 200);
    assert!(door.credentials.find("BERTKEY").unwrap().is_none());
}

#[tokio::test]
async fn a_change_answers_where_its_event_is_and_a_console_admin_may_make_it() {
    let door = Door::open();
    door.user("anna", ANNA).await;
    assert_eq!(door.as_key(ANNA, "GET", "/api/v1/users", Value::Null).await.0, 403);
    let body = json!({ "policy": "consoleAdmin" });
    let (status, answer) = door.call("POST", "/api/v1/users/anna/policies", body).await;
    assert_eq!(status, 200);
    let position = answer["position"].as_u64().unwrap();
    assert!(answer["event_id"].as_str().unwrap().starts_with("system-") && position > 0);
    assert_eq!(answer["request_id"].as_str().unwrap().len(), 16);
    let (status, answer) = door.as_key(ANNA, "POST", "/api/v1/tenants", json!({ "name": "acme" })).await;
    assert_eq!((status, answer["position"].as_u64() > Some(position)), (201, true));
    let (_, policies) = door.call("GET", "/api/v1/users/anna/policies", Value::Null).await;
    assert_eq!(policies["items"][0]["policy"], "consoleAdmin");
    let (status, _) = door.call("DELETE", "/api/v1/users/anna/policies/consoleAdmin", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(door.as_key(ANNA, "GET", "/api/v1/users", Value::Null).await.0, 403);
}

#[tokio::test]
async fn only_the_body_that_was_signed_is_carried_out() {
    let door = Door::open();
    let body = json!({ "name": "acme" }).to_string();
    let head = Door::signed("POST", "/api/v1/tenants", body.as_bytes(), ROOT);
    let (status, problem) = door.send(head, body.replace("acme", "evil")).await;
    assert_eq!((status, &problem["code"]), (400, &json!("BodyMismatch")));
    let large = vec![b' '; MAX_BODY_BYTES + 1];
    let head = Door::signed("POST", "/api/v1/tenants", &large, ROOT);
    assert_eq!(door.send(head, large).await.0, 413);
    let (_, tenants) = door.call("GET", "/api/v1/tenants", Value::Null).await;
    assert_eq!(tenants["items"], json!([{ "tenant": "default" }]));
}

#[tokio::test]
async fn names_that_are_taken_or_break_the_rules_are_refused() {
    let door = Door::open();
    door.user("anna", ANNA).await;
    let table = [
        ("/api/v1/users", json!({ "name": "anna" }), 409, "UserExists"),
        ("/api/v1/users", json!({ "name": "root" }), 409, "UserExists"),
        ("/api/v1/users", json!({ "name": "a b" }), 400, "InvalidField"),
        ("/api/v1/users", json!({ "name": "b", "display_name": "B" }), 400, "InvalidField"),
        ("/api/v1/users", json!({ "name": "b", "tenant": "nowhere" }), 404, "NoSuchTenant"),
        ("/api/v1/users", json!({ "nmae": "b" }), 400, "InvalidBody"),
        ("/api/v1/tenants", json!({ "name": "default" }), 409, "TenantExists"),
        ("/api/v1/users/anna/keys", json!({ "access_key": ANNA.0 }), 409, "AccessKeyExists"),
        ("/api/v1/users/anna/keys", json!({ "access_key": ROOT.0 }), 409, "AccessKeyExists"),
        ("/api/v1/users/anna/keys", json!({ "secret_key": "short" }), 400, "InvalidField"),
        ("/api/v1/users/nobody/keys", json!({}), 404, "NoSuchUser"),
        ("/api/v1/users/anna/policies", json!({ "policy": "nope" }), 404, "NoSuchPolicy"),
    ];
    for (path, body, status, code) in table {
        let (found, problem) = door.call("POST", path, body.clone()).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{path} {body}");
    }
    let (status, problem) = door.call("GET", "/api/v1/nothing", Value::Null).await;
    assert_eq!((status, &problem["code"]), (404, &json!("NoSuchRoute")));
    assert_eq!(door.send(Door::head("PUT", "/api/v1/users"), "").await.0, 405);
}

#[tokio::test]
async fn a_dry_run_answers_as_the_change_would_and_changes_nothing() {
    let door = Door::open();
    door.user("anna", ANNA).await;
    assert_eq!(
        door.call("POST", "/api/v1/users/anna/policies", json!({ "policy": "readonly" })).await.0,
        200
    );
    let changes = [
        ("POST", "/api/v1/tenants", json!({ "name": "acme" })),
        ("POST", "/api/v1/users", json!({ "name": "bert" })),
        ("POST", "/api/v1/users", json!({ "name": "carl", "id": "C1", "display_name": "C", "email": "c@d" })),
        ("POST", "/api/v1/users", json!({ "name": "dora", "tenant": "default" })),
        ("PATCH", "/api/v1/users/anna", json!({ "status": "suspended" })),
        ("POST", "/api/v1/users/anna/keys", json!({})),
        (
            "POST",
            "/api/v1/users/anna/keys",
            json!({ "access_key": "KEYOFMINE", "secret_key": "not-to-be-told" }),
        ),
        ("POST", "/api/v1/users/anna/policies", json!({ "policy": "readwrite" })),
        ("DELETE", "/api/v1/users/anna/policies/readonly", Value::Null),
        ("PATCH", "/api/v1/keys/ANNAKEY", json!({ "status": "suspended" })),
        ("DELETE", "/api/v1/keys/ANNAKEY", Value::Null),
        ("DELETE", "/api/v1/users/anna", Value::Null),
    ];
    let of = |method: &str, path| Route::parse(&method.parse().unwrap(), path).unwrap().action().name;
    let paths: BTreeSet<_> = changes.iter().map(|(method, path, _)| of(method, path)).collect();
    let every = route::ROUTES.iter().filter(|info| matches!(info.answer, openapi::Answer::Changed(_)));
    assert_eq!(paths, every.map(|info| info.action).collect());
    let before = door.recorder.engine.status().durable;
    for (method, path, body) in &changes {
        let asked = format!("{path}?dry_run=true");
        let (status, answer) = door.call(method, &asked, body.clone()).await;
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
        assert_eq!(
            (&answer["dry_run"], &answer["position"]),
            (&json!(true), &Value::Null),
            "{method} {path}"
        );
        assert!(!answer.to_string().contains("not-to-be-told"));
    }
    for query in
        ["dry_run=ture", "dry-run=true", "DryRun=true", "dry_run", "dry_run=false&dry_run=true", "x=y"]
    {
        let asked = format!("/api/v1/tenants?{query}");
        assert_eq!(door.call("POST", &asked, json!({ "name": "acme" })).await.0, 400, "{query}");
    }
    let taken = door.call("POST", "/api/v1/users?dry_run=true", json!({ "name": "anna" })).await;
    assert_eq!((taken.0, &taken.1["code"]), (409, &json!("UserExists")));
    let absent = door.call("DELETE", "/api/v1/keys/GONE?dry_run=true", Value::Null).await;
    assert_eq!((absent.0, &absent.1["code"]), (404, &json!("NoSuchAccessKey")));
    assert_eq!(door.recorder.engine.status().durable, before);
    // And each of them can be done afterwards, with the same answer but for what is drawn anew.
    for (method, path, body) in changes {
        let (status, answer) = door.call(method, path, body).await;
        assert!((200..300).contains(&status) && answer["dry_run"] == false, "{method} {path}: {answer}");
    }
    assert!(door.recorder.engine.status().durable > before);
}

#[tokio::test]
async fn an_id_makes_an_account_that_further_users_join_within_its_tenant() {
    let door = Door::open();
    let new = |name: &str| json!({ "name": name, "id": "C1", "display_name": "C" });
    let (status, first) = door.call("POST", "/api/v1/users", new("one")).await;
    assert_eq!((status, &first["id"], &first["display_name"]), (201, &json!("C1"), &json!("C")));
    let (status, second) = door.call("POST", "/api/v1/users", new("two")).await;
    assert_eq!((status, &second["account"]), (201, &first["account"]));
    let (_, plain) = door.call("POST", "/api/v1/users", json!({ "name": "three" })).await;
    assert_ne!(plain["account"], first["account"]);
    assert_eq!(door.call("POST", "/api/v1/tenants", json!({ "name": "acme" })).await.0, 201);
    let elsewhere = json!({ "name": "four", "id": "C1", "tenant": "acme" });
    assert_eq!(door.call("POST", "/api/v1/users", elsewhere).await.0, 409);
    let (_, own) = door.call("POST", "/api/v1/users", json!({ "name": "five", "tenant": "acme" })).await;
    assert_eq!((&own["tenant"], own["id"].as_str().map(str::len)), (&json!("acme"), Some(64)));
}

#[tokio::test]
async fn a_list_is_read_page_by_page_to_its_end() {
    let door = Door::open();
    for number in 0..5 {
        let body = json!({ "name": format!("u{number}") });
        assert_eq!(door.call("POST", "/api/v1/users", body).await.0, 201);
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/users?limit=2".to_owned();
    loop {
        let (status, page) = door.call("GET", &path, Value::Null).await;
        assert_eq!(status, 200);
        names.extend(page["items"].as_array().unwrap().iter().map(|user| user["user"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/users?limit=2&after={next}");
    }
    assert_eq!(names, ["u0", "u1", "u2", "u3", "u4"]);
    assert_eq!(door.call("GET", "/api/v1/users?limit=0", Value::Null).await.0, 400);
    assert_eq!(door.call("GET", "/api/v1/users?limit=x", Value::Null).await.0, 400);
}

#[tokio::test]
async fn anybody_can_read_the_description_of_the_api_and_nobody_can_do_more_there() {
    let door = Door::open();
    let (status, document) = door.send(Door::head("GET", openapi::PATH), "").await;
    assert_eq!((status, &document), (200, &*openapi::DOCUMENT));
    assert_eq!(door.send(Door::head("POST", openapi::PATH), "").await.0, 404);
    assert!(door.recorder.denied.lock().unwrap().is_empty());
}
