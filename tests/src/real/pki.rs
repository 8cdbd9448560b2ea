//! A throw-away certificate authority: one server certificate, and client certificates by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::process::write_private;

/// An authority that lives in a folder. Certificates of another [`Pki`] are strangers to it.
pub struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    server: Identity,
}

/// A certificate and its key as PEM files that only this user may read.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
}

impl Pki {
    /// Makes the authority and the server's certificate for `localhost` and `127.0.0.1`.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut params = CertificateParams::new([]).context("describing the authority")?;
        params.distinguished_name.push(DnType::CommonName, "Stockwire test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("making the authority's key")?;
        let certificate = params.self_signed(&key).context("signing the authority")?;
        write_private(&folder.join("ca.crt"), certificate.pem().as_bytes())?;

        let issuer = Issuer::new(params, key);
        let names = ["localhost", "127.0.0.1"];
        let server = sign(folder, &issuer, "server", &names, ExtendedKeyUsagePurpose::ServerAuth)?;
        Ok(Self { folder: folder.to_owned(), issuer, server })
    }

    /// A client certificate whose common name is `name`: the MQTT user.
    pub fn client(&self, name: &str) -> Result<Identity> {
        sign(&self.folder, &self.issuer, name, &[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The server's certificate.
    pub fn server(&self) -> &Identity {
        &self.server
    }
}

fn sign(
    folder: &Path,
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    alternative_names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<Identity> {
    let names: Vec<String> = alternative_names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).with_context(|| format!("describing {name}"))?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
    let certificate = params.signed_by(&key, issuer).with_context(|| format!("signing {name}"))?;
    let identity =
        Identity { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
    write_private(&identity.certificate, certificate.pem().as_bytes())?;
    write_private(&identity.key, key.serialize_pem().as_bytes())?;
    Ok(identity)
}
