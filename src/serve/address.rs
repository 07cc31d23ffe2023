//! Where people reach the server: its addresses in the local network, and a QR code for phones.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// This machine's addresses in the local network: those that it would send from, best first.
///
/// Connecting a UDP socket sends nothing; it asks the routing table. The destinations are the
/// ranges kept for documentation (RFC 5737, RFC 3849), and the usual private networks for machines without a default route.
pub fn lan_addresses() -> Vec<IpAddr> {
    let destinations: [IpAddr; 5] = [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv4Addr::new(192, 168, 255, 254).into(),
        Ipv4Addr::new(10, 255, 255, 254).into(),
        Ipv4Addr::new(172, 31, 255, 254).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    ];
    let mut found = Vec::new();
    for destination in destinations {
        let any: IpAddr =
            if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let source = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect((destination, 9))?;
            socket.local_addr()
        });
        if let Ok(source) = source.as_ref().map(SocketAddr::ip)
            && !source.is_loopback()
            && !source.is_unspecified()
            && !found.contains(&source)
        {
            found.push(source);
        }
    }
    found
}

/// Colours of a QR code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// Black on white, whatever the terminal's colours: phones' cameras want that.
    BlackOnWhite,
    /// As it comes: for what is no terminal.
    None,
}

/// A QR code in text, two modules per character; `None` if the text is too long for one.
pub fn qr_code(text: &str, colours: Colours) -> Option<String> {
    // Black on white, then the terminal's own colours.
    let (before, after) = match colours {
        Colours::BlackOnWhite => ("\x1b[30;107m", "\x1b[0m"),
        Colours::None => ("", ""),
    };
    let code = QrCode::new(text).ok()?;
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    Some(image.lines().map(|line| format!("{before}{line}{after}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_such_that_others_can_reach() {
        for address in lan_addresses() {
            assert!(!address.is_loopback() && !address.is_unspecified(), "{address}");
        }
    }

    #[test]
    fn a_qr_code_is_square_with_a_quiet_zone() {
        let code = qr_code("http://192.168.1.20:8080/", Colours::BlackOnWhite).unwrap();
        let widths: Vec<usize> =
            code.lines().map(|line| line.chars().filter(|c| " ▀▄█".contains(*c)).count()).collect();
        // 25 or 29 modules and 4 quiet ones on each side, two rows to a line.
        assert!(widths.iter().all(|&w| w == widths[0]), "{widths:?}");
        assert_eq!(widths.len(), widths[0].div_ceil(2));
        assert!(code.lines().next().unwrap().contains("    "));
        assert!(!qr_code("http://192.168.1.20:8080/", Colours::None).unwrap().contains('\x1b'));
        assert_eq!(qr_code(&"x".repeat(10_000), Colours::None), None);
    }
}
