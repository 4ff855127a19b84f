//! The operator's own certificate authorities, read once for all clients.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::core::settings::{Settings, SettingsError};

/// Returns PEM that was checked: every client can read it. None if `INCYDR_CA_BUNDLE` is not set.
pub fn read(settings: &Settings) -> Result<Option<Vec<u8>>, SettingsError> {
    let Some(path) = &settings.ca_bundle else { return Ok(None) };
    let bad = |why: String| {
        let (name, held) = ("INCYDR_CA_BUNDLE", path.display().to_string());
        SettingsError::Bad { name, held, why: format!("{why}; it takes the path of a PEM file") }
    };
    let pem = std::fs::read(path).map_err(|error| bad(format!("that file can't be read ({error})")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(format!("that file is damaged ({error})")))?;
        roots.add(certificate).map_err(|error| bad(format!("a certificate in that file can't be used ({error})")))?;
    }
    if roots.is_empty() {
        return Err(bad("that file holds no certificate".into()));
    }
    Ok(Some(pem))
}
