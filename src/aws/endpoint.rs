//! Which endpoint the gate's own AWS clients call, and how they keep from calling the gate itself.
//!
//! A producer beside the gate sets `AWS_ENDPOINT_URL_KINESIS` to the gate's listener, and the gate often shares that
//! environment. Taken at its word, the gate would forward every record to itself, for ever.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

/// Where a client is to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// This URL: the gate's own settings name it, or the standard chain does.
    Url(String),
    /// The region's own.
    Regional,
    /// The region's own, although the standard chain names `ignored`, because that is the gate itself.
    RegionalNotSelf { ignored: String },
}

impl Endpoint {
    /// Chooses: `explicit` wins; else what the standard chain says (`AWS_ENDPOINT_URL_…`, `AWS_ENDPOINT_URL`, the
    /// profile) unless it is one of `own` addresses. `service_id` is as the SDKs spell it (`Kinesis`, `SQS`).
    pub fn choose(explicit: Option<&str>, sdk: &SdkConfig, service_id: &str, own: &[SocketAddr]) -> Self {
        if let Some(url) = explicit {
            return Self::Url(url.to_owned());
        }
        match configured(sdk, service_id) {
            None => Self::Regional,
            Some(url) if is_self(&url, own) => Self::RegionalNotSelf { ignored: url },
            Some(url) => Self::Url(url),
        }
    }

    /// The URL to set on the client, `None` for the region's own.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Url(url) => Some(url),
            Self::Regional | Self::RegionalNotSelf { .. } => None,
        }
    }
}

/// What the standard chain says, found as the SDK's own clients find it: set in code, else the service's own setting,
/// else the one for all services.
fn configured(sdk: &SdkConfig, service_id: &str) -> Option<String> {
    let for_all = || sdk.endpoint_url().map(str::to_owned);
    if sdk.get_origin("endpoint_url").is_client_config() {
        return for_all();
    }
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    sdk.service_config().and_then(|service| service.load_config(key)).or_else(for_all)
}

/// Whether `url` leads to one of the addresses this process listens on: the same port, and a host that is `localhost`,
/// loopback, unspecified, the listener's own IP, or, for a listener on all interfaces, any IP of this machine. Names
/// other than `localhost` are not resolved; the `x-meshgate-instance` header catches what they hide.
pub fn is_self(url: &str, own: &[SocketAddr]) -> bool {
    let Some((host, port)) = host_and_port(url) else { return false };
    let own_on_port = own.iter().filter(|address| address.port() == port);
    let Ok(ip) = host.parse::<IpAddr>().map(|ip| ip.to_canonical()) else {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        return (name == "localhost" || name.ends_with(".localhost")) && own_on_port.count() > 0;
    };
    own_on_port.map(|address| address.ip().to_canonical()).any(|own_ip| {
        ip.is_loopback() || ip.is_unspecified() || own_ip == ip || (own_ip.is_unspecified() && is_local(ip))
    })
}

/// Only an address of this machine can be bound to.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// The authority of an `http` or `https` URL; an IPv6 host without its brackets.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) if !port.is_empty() => Some((host, port.parse().ok()?)),
            _ => Some((host, default_port)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.is_empty() => Some((host, port.parse().ok()?)),
        Some((host, _)) => Some((host, default_port)),
        None => Some((authority, default_port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn the_gate_recognises_itself() {
        let own = own(&["127.0.0.1:4570"]);
        for url in [
            "http://127.0.0.1:4570",
            "http://localhost:4570/",
            "http://LOCALHOST.:4570",
            "http://gate.localhost:4570",
            "https://127.0.0.1:4570/prefix?x",
            "http://user:secret@localhost:4570",
            "http://[::1]:4570",
            "http://[::ffff:127.0.0.1]:4570",
            "http://0.0.0.0:4570",
            "http://127.9.9.9:4570",
        ] {
            assert!(is_self(url, &own), "{url}");
        }
    }

    #[test]
    fn others_are_not_the_gate() {
        let own = own(&["127.0.0.1:4570"]);
        for url in [
            "http://127.0.0.1:4566",
            "http://localhost",
            "http://192.0.2.7:4570",
            "https://kinesis.eu-west-1.amazonaws.com",
            "http://localhost.example.com:4570",
            "localhost:4570",
            "",
            "http://",
            "http://[::1",
        ] {
            assert!(!is_self(url, &own), "{url}");
        }
        assert!(!is_self("http://127.0.0.1:4570", &[]));
    }

    #[test]
    fn a_listener_on_one_address_or_on_all_of_them() {
        assert!(is_self("http://192.0.2.7:4570", &own(&["192.0.2.7:4570"])));
        let all = own(&["0.0.0.0:4570"]);
        assert!(is_self("http://localhost:4570", &all));
        assert!(!is_self("http://192.0.2.7:4570", &all), "a documentation address is no machine's own");
        assert!(is_self("http://localhost:80", &own(&["[::]:80"])));
        assert!(is_self("http://localhost", &own(&["[::]:80"])), "http is port 80");
        assert!(is_self("https://localhost", &own(&["[::]:443"])), "https is port 443");
    }

    #[test]
    fn an_explicit_endpoint_wins() {
        let sdk = SdkConfig::builder().endpoint_url("http://127.0.0.1:4570").build();
        let own = own(&["127.0.0.1:4570"]);
        assert_eq!(Endpoint::choose(Some("http://a:1"), &sdk, "Kinesis", &own), Endpoint::Url("http://a:1".into()));
        let chosen = Endpoint::choose(None, &sdk, "Kinesis", &own);
        assert_eq!(chosen, Endpoint::RegionalNotSelf { ignored: "http://127.0.0.1:4570".into() });
        assert_eq!(chosen.url(), None);
        assert_eq!(Endpoint::choose(None, &sdk, "Kinesis", &[]).url(), Some("http://127.0.0.1:4570"));
        assert_eq!(Endpoint::choose(None, &SdkConfig::builder().build(), "SQS", &own), Endpoint::Regional);
    }
}
