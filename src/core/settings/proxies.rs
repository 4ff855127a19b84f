//! Chooses the proxy for a request, by the same rules as curl and for all clients alike. Loopback addresses are never
//! reached through a proxy.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use crate::core::settings::error::SettingsError;

#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<Url>,
    http: Option<Url>,
    /// Hosts that are reached directly.
    except: Vec<Exception>,
}

#[derive(Clone, Debug, PartialEq)]
struct Exception {
    what: Target,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Everything,
    /// A domain and its subdomains.
    Name(String),
    /// The addresses that share this many leading bits.
    Network(IpAddr, u8),
}

/// Their URLs may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxies({} exceptions)", self.except.len())
    }
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` (for a scheme without its own) and `NO_PROXY`. The same names in
    /// lower case take precedence.
    pub fn from_vars(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let find = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, look_up(name)?)));
        let read = |names| find(names).map(|(name, held)| proxy(name, &held)).transpose();
        let all = read(["all_proxy", "ALL_PROXY"])?;
        let except = find(["no_proxy", "NO_PROXY"]).map(|(_, held)| held).unwrap_or_default();
        Ok(Self {
            https: read(["https_proxy", "HTTPS_PROXY"])?.or_else(|| all.clone()),
            http: read(["http_proxy", "HTTP_PROXY"])?.or(all),
            except: except.split([',', ' ']).filter_map(Exception::parse).collect(),
        })
    }

    /// Returns the proxy for a URL, or none if it is reached directly.
    pub fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let port = url.port_or_known_default();
        let is_direct = is_loopback || self.except.iter().any(|exception| exception.holds(&host, address, port));
        (!is_direct).then_some(proxy)
    }

    /// Returns all proxies.
    pub fn all(&self) -> impl Iterator<Item = &Url> {
        self.https.iter().chain(&self.http)
    }
}

impl Exception {
    fn parse(held: &str) -> Option<Self> {
        let held = held.trim().to_ascii_lowercase();
        if held.is_empty() {
            return None;
        }
        if held == "*" {
            return Some(Self { what: Target::Everything, port: None });
        }
        if let Some(what) = network(&held) {
            return Some(Self { what, port: None });
        }
        let (name, port) = match held.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name.to_owned(), port.parse().ok()),
            _ => (held, None),
        };
        let name = name.trim_start_matches("*.").trim_matches('.');
        Some(Self { what: network(name).unwrap_or_else(|| Target::Name(name.to_owned())), port })
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        match &self.what {
            Target::Everything => true,
            Target::Name(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            Target::Network(network, bits) => address.is_some_and(|address| agree(*network, address, *bits)),
        }
    }
}

/// Parses an address or a network: `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`, `[::1]`.
fn network(held: &str) -> Option<Target> {
    let (address, bits) = held.split_once('/').map_or((held, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), str::parse).ok().filter(|bits| *bits <= most)?;
    Some(Target::Network(address, bits))
}

fn agree(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let differ = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(bits)
}

/// Parses a proxy's URL. The error doesn't quote it, because it may hold a password.
fn proxy(name: &'static str, held: &str) -> Result<Url, SettingsError> {
    let url = if held.contains("://") { Url::parse(held) } else { Url::parse(&format!("http://{held}")) };
    url.ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        let why = "it takes http://<host>:<port>, or the same with https".to_owned();
        SettingsError::Bad { name, held: "<withheld>".into(), why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(vars: &[(&str, &str)], url: &str) -> Option<String> {
        let look_up = |name: &str| vars.iter().find(|(set, _)| *set == name).map(|(_, held)| (*held).to_owned());
        let proxies = Proxies::from_vars(look_up).expect("good");
        proxies.of(&Url::parse(url).expect("a URL")).map(|proxy| proxy.as_str().to_owned())
    }

    #[test]
    fn a_request_goes_through_the_proxy_for_its_scheme() {
        let vars = [("HTTPS_PROXY", "proxy:3128"), ("ALL_PROXY", "http://other:80"), ("https_proxy", "http://p:1")];
        assert_eq!(through(&vars, "https://api.us.code42.com").as_deref(), Some("http://p:1/"));
        assert_eq!(through(&vars[..2], "https://api.us.code42.com").as_deref(), Some("http://proxy:3128/"));
        assert_eq!(through(&vars, "http://minio.internal:9000").as_deref(), Some("http://other/"));
        assert_eq!(through(&vars[..1], "http://minio.internal:9000"), None, "HTTPS_PROXY is for https");
        for loopback in ["http://127.0.0.1:9000", "https://localhost", "https://[::1]:1", "http://127.8.8.8"] {
            assert_eq!(through(&vars, loopback), None, "{loopback}");
        }
    }

    #[test]
    fn no_proxy_takes_names_suffixes_ports_and_addresses() {
        let is_direct = |no_proxy: &str, url: &str| {
            through(&[("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", no_proxy)], url).is_none()
        };
        for (no_proxy, url) in [
            ("code42.com", "https://api.us.code42.com"),
            (".amazonaws.com", "https://bucket.s3.us-east-1.amazonaws.com"),
            ("*.amazonaws.com", "https://s3.us-east-1.amazonaws.com"),
            ("other, API.US.Code42.com", "https://api.us.code42.com"),
            ("other api.us.code42.com.", "https://api.us.code42.com"),
            ("api.us.code42.com:443", "https://api.us.code42.com"),
            ("*", "https://api.us.code42.com"),
            ("10.0.0.0/8", "https://10.1.2.3:9000"),
            ("10.1.2.3", "https://10.1.2.3:9000"),
            ("10.1.2.3:9000", "https://10.1.2.3:9000"),
            ("[fd00::1]:9000", "https://[fd00::1]:9000"),
            ("fd00::/8", "https://[fd12::1]"),
        ] {
            assert!(is_direct(no_proxy, url), "{no_proxy}: {url}");
        }
        for (no_proxy, url) in [
            ("", "https://api.us.code42.com"),
            ("ode42.com", "https://api.us.code42.com"),
            ("api.us.code42.com:8443", "https://api.us.code42.com"),
            ("10.0.0.0/8", "https://11.1.2.3"),
            ("10.1.2.3:80", "https://10.1.2.3:9000"),
            ("fd00::/8", "https://[fe00::1]"),
            ("10.0.0.0/99", "https://10.1.2.3"),
        ] {
            assert!(!is_direct(no_proxy, url), "{no_proxy}: {url}");
        }
    }

    #[test]
    fn a_proxy_that_can_t_be_read_is_refused_and_not_told() {
        for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
            let look_up = |asked: &str| (asked == name).then(|| "socks5://u:hunter2@proxy".to_owned());
            let error = Proxies::from_vars(look_up).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("{name} is \"<withheld>\"")) && !error.contains("hunter2"), "{error}");
        }
    }
}
