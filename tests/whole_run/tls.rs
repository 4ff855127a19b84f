//! The connection to the API: through a proxy, and with an own certificate authority. Certificates are always verified.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use simulator::LambdaBuilder;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::rig::{DEADLINE, Rig, failure_of};

const HOST: &str = "api.us.code42.com";

/// A TLS front before the simulated API, and the authority that signed its certificate.
struct Front {
    address: SocketAddr,
    authority: NamedTempFile,
}

impl Front {
    async fn before(api: &str) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority.pem()).unwrap();

        let key = KeyPair::generate().unwrap();
        let names = vec![HOST.to_owned(), "localhost".to_owned()];
        let issuer = Issuer::from_params(&params, &authority_key);
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));

        let api: SocketAddr = api.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut client) = acceptor.accept(client).await {
                        let mut server = TcpStream::connect(api).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, authority: file }
    }
}

/// A proxy that connects every CONNECT to one address and notes the requested host.
async fn proxy(to: SocketAddr) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut client = BufReader::new(client);
                let mut lines = String::new();
                while !lines.ends_with("\r\n\r\n") && client.read_line(&mut lines).await.unwrap() > 0 {}
                log.lock().unwrap().push(lines.lines().next().unwrap_or_default().to_owned());
                let mut server = TcpStream::connect(to).await.unwrap();
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, asked)
}

async fn world(
    settings: impl FnOnce(LambdaBuilder, &Front, String) -> LambdaBuilder,
) -> (Rig, simulator::Lambda, Arc<Mutex<Vec<String>>>, Front) {
    let rig = Rig::new().await;
    rig.populate();
    let front = Front::before(&rig.sim.api.url()).await;
    let (proxy, asked) = proxy(front.address).await;
    let lambda = rig.container(|lambda| settings(lambda, &front, proxy));
    (rig, lambda, asked, front)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_reached_through_a_proxy_and_by_an_authority_of_one_s_own() {
    let (rig, lambda, asked, _front) = world(|lambda, front, proxy| {
        lambda
            .env("INCYDR_BASE_URL", format!("https://{HOST}"))
            .env("HTTPS_PROXY", proxy)
            .env("INCYDR_CA_BUNDLE", front.authority.path().to_str().unwrap())
    })
    .await;
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    rig.assert_holds_everything().await;
    let asked = asked.lock().unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line.starts_with(&format!("CONNECT {HOST}:443 "))),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_named_in_no_proxy_is_reached_directly() {
    let (rig, lambda, asked, _front) = world(|lambda, front, proxy| {
        lambda
            .env("INCYDR_BASE_URL", format!("https://localhost:{}", front.address.port()))
            .env("HTTPS_PROXY", proxy)
            .env("NO_PROXY", "localhost")
            .env("INCYDR_CA_BUNDLE", front.authority.path().to_str().unwrap())
    })
    .await;
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    rig.assert_holds_everything().await;
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_ends_it_before_anything_is_sent() {
    let (rig, lambda, _, _front) =
        world(|lambda, _, proxy| lambda.env("INCYDR_BASE_URL", format!("https://{HOST}")).env("HTTPS_PROXY", proxy))
            .await;
    let (error_type, answer) = failure_of(lambda.invoke(json!({}), DEADLINE).await);
    assert_eq!(error_type, "ThirdPartyGenericError");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("certificate"), "{message}");
    assert!(rig.sim.api.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_not_there_or_holds_no_certificate_is_a_bad_setting() {
    let empty = NamedTempFile::new().unwrap();
    for path in ["/nowhere/ca.pem", empty.path().to_str().unwrap()] {
        let rig = Rig::with(|lambda| lambda.env("INCYDR_CA_BUNDLE", path)).await;
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyConfigError");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("INCYDR_CA_BUNDLE is {path:?}")) && message.contains("PEM"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_and_secrets_manager_are_reached_by_an_authority_of_one_s_own_and_through_the_proxy_too() {
    let rig = Rig::new().await;
    rig.populate();
    let s3 = Front::before(&rig.sim.s3.endpoint()).await;
    let secrets = Front::before(&rig.sim.secrets.endpoint()).await;
    let both = NamedTempFile::new().unwrap();
    let pem = |front: &Front| std::fs::read_to_string(front.authority.path()).unwrap();
    std::fs::write(both.path(), pem(&s3) + &pem(&secrets)).unwrap();
    let (proxy, asked) = proxy(s3.address).await;
    let reached = |front: &Front, name: &str| format!("https://{name}:{}", front.address.port());
    let through = |lambda: LambdaBuilder, host: &str, no_proxy: &str| {
        lambda
            .env("AWS_ENDPOINT_URL_S3", reached(&s3, host))
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", reached(&secrets, "localhost"))
            .env("HTTPS_PROXY", proxy.clone())
            .env("NO_PROXY", no_proxy)
            .env("INCYDR_CA_BUNDLE", both.path().to_str().unwrap())
    };
    let lambda = rig.container(|lambda| through(lambda, HOST, ""));
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    rig.assert_holds_everything().await;
    let connected = format!("CONNECT {HOST}:{} ", s3.address.port());
    let count = asked.lock().unwrap().len();
    assert!(
        count > 0 && asked.lock().unwrap().iter().all(|line| line.starts_with(&connected)),
        "the API is on loopback"
    );
    // Loopback is reached directly, even though there is a proxy.
    let lambda = rig.container(|lambda| through(lambda, "localhost", ""));
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    assert_eq!(asked.lock().unwrap().len(), count);
    // As an exception it would be reached directly, where nothing listens.
    let lambda = rig.container(|lambda| through(lambda, HOST, "other.com, .code42.com"));
    let (error_type, _) = failure_of(lambda.invoke(json!({}), std::time::Duration::from_secs(8)).await);
    assert_eq!((error_type.as_str(), asked.lock().unwrap().len()), ("FirstPartyGenericError", count));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_on_loopback_are_reached_directly_whatever_proxies_there_are() {
    let rig = Rig::new().await;
    rig.populate();
    let (proxy, asked) = proxy(rig.sim.s3.endpoint().trim_start_matches("http://").parse().unwrap()).await;
    let lambda = rig.container(|lambda| {
        ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "http_proxy"]
            .into_iter()
            .fold(lambda, |lambda, name| lambda.env(name, proxy.clone()))
    });
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    rig.assert_holds_everything().await;
    assert!(asked.lock().unwrap().is_empty(), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_any_authorities_is_told_what_is_missing() {
    let rig = Rig::with(|lambda| lambda.env("SSL_CERT_FILE", "/nowhere/ca.pem").env("SSL_CERT_DIR", "/nowhere")).await;
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyConfigError");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("INCYDR_CA_BUNDLE is not set; it takes the path of a PEM file"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_address_in_other_capitals_or_with_a_slash_is_the_same_tenant_s() {
    let (rig, lambda, _, front) = world(|lambda, front, _| {
        lambda
            .env("INCYDR_BASE_URL", format!("https://localhost:{}", front.address.port()))
            .env("INCYDR_CA_BUNDLE", front.authority.path().to_str().unwrap())
    })
    .await;
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
    let held = format!("https://localhost:{}", front.address.port());
    assert_eq!(rig.checkpoint().await["identity"]["base_url"], held);
    let other = |written: String| {
        rig.container(|lambda| {
            lambda.env("INCYDR_BASE_URL", written).env("INCYDR_CA_BUNDLE", front.authority.path().to_str().unwrap())
        })
    };
    for written in [held.replace("localhost", "LocalHost"), format!("{held}/"), held.replace("https", "HTTPS")] {
        let answer = other(written.clone()).invoke(json!({}), DEADLINE).await.answer();
        assert_eq!(answer["status"], "complete", "{written}: {answer:#}");
    }
    // In the form of an older version.
    rig.edit_checkpoint(|checkpoint| checkpoint["identity"]["base_url"] = json!(format!("{}/", held.to_uppercase())))
        .await;
    assert_eq!(lambda.invoke(json!({}), DEADLINE).await.answer()["status"], "complete");
}
