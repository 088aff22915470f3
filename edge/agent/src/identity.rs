//! Who we are, by our certificate, which must agree with the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::identity::{CertificateFiles, CertificateMetrics, Credentials};
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::EdgeId;

use crate::config::Config;
use crate::meters::Meters;

const LOOK_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Identity {
    pub edge: EdgeId,
    credentials: Arc<Credentials>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.edge)
    }
}

impl Identity {
    pub fn load(config: &Config) -> Result<Self> {
        let prefix = format!("{}-", config.site);
        let files = CertificateFiles::in_folder(&config.certificates, &prefix)?;
        let credentials = Credentials::load(&files)?;
        let identity = credentials.identity();
        let (site, edge) = identity
            .edge()
            .with_context(|| format!("use {}", files.certificate.display()))?;
        ensure!(
            *site == config.site,
            "{} is of site {site}, and the configuration says site = \"{}\"",
            files.certificate.display(),
            config.site
        );
        Ok(Self { edge, credentials })
    }

    pub fn tls(&self) -> Result<Arc<rustls::ClientConfig>> {
        Ok(Arc::new(self.credentials.client_config()?))
    }

    pub fn days_left(&self) -> i64 {
        self.credentials.facts().days_left(utc_now())
    }
}

/// Follows the files as they change, and warns before the end.
pub fn watch(identity: Identity, meters: Arc<Meters>, metrics: CertificateMetrics, stop: Stop) {
    let watching = Arc::clone(&identity.credentials);
    tokio::spawn(watching.watch(LOOK_EVERY, metrics, stop.clone()));
    tokio::spawn(async move {
        loop {
            meters.certificate_days.set(identity.days_left());
            tokio::select! {
                () = stop.asked() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
}
