//! Keeps other people's web pages out: a browser would send their requests to this server too.
//!
//! A page of another site may post to `http://127.0.0.1:8080` without asking (`text/plain` needs no preflight), but its
//! browser says where it is from (`Origin`). And a site whose name suddenly points at 127.0.0.1 (DNS rebinding) has the
//! same origin, but its name is in `Host`.

use super::error::Refusal;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use std::net::IpAddr;

/// Under which names a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Only as this machine: the server listens on a loopback address, which no other name should lead to.
    Loopback,
    /// Under any name: in a network there are names that a server cannot know.
    Any,
}

impl Names {
    /// For a server that listens on `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_loopback() { Names::Loopback } else { Names::Any }
    }

    /// Refuses a request that another site's page made. Programs send no `Origin`, and old ones no `Host`.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = headers.get(HOST).map(text);
        if self == Names::Loopback
            && let Some(host) = &host
            && !is_this_machine(host)
        {
            return Err(Refusal::Host(host.chars().take(200).collect()));
        }
        let Some(origin) = headers.get(ORIGIN).map(text) else { return Ok(()) };
        let of_page = origin.split_once("://").map(|(_, rest)| rest);
        if of_page.is_some() && of_page == host.as_deref() {
            return Ok(());
        }
        Err(Refusal::Origin(origin.chars().take(200).collect()))
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()
}

/// Whether `host` (with or without a port) is a name of the machine itself.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    if name == "localhost" {
        return true;
    }
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: Names, host: Option<&'static str>, origin: Option<&'static str>) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        host.map(|host| headers.insert(HOST, HeaderValue::from_static(host)));
        origin.map(|origin| headers.insert(ORIGIN, HeaderValue::from_static(origin)));
        names.check(&headers)
    }

    #[test]
    fn a_loopback_server_goes_by_this_machines_names_only() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"] {
            check(Names::Loopback, Some(host), None).unwrap();
        }
        check(Names::Loopback, None, None).unwrap();
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "192.168.1.2", ""] {
            assert!(matches!(check(Names::Loopback, Some(host), None), Err(Refusal::Host(_))), "{host}");
            check(Names::Any, Some(host), None).unwrap();
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for names in [Names::Loopback, Names::Any] {
            check(names, Some("127.0.0.1:8080"), Some("http://127.0.0.1:8080")).unwrap();
            for origin in ["http://evil.example", "http://127.0.0.1:3000", "null", ""] {
                let got = check(names, Some("127.0.0.1:8080"), Some(origin));
                assert!(matches!(got, Err(Refusal::Origin(_))), "{origin}");
            }
            assert!(check(names, None, Some("http://evil.example")).is_err());
        }
        check(Names::Any, Some("loco.local"), Some("https://loco.local")).unwrap();
    }
}
