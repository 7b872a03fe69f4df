//! The init container: HAProxy starts from a file of the shared folder, and that file has to be there first.

use anyhow::{Context, bail};

use crate::args::Places;
use crate::check::check;
use crate::folder::{Folder, SET_KEY, TEXT_KEY};
use wsc_haproxy::Published;

/// Copies the mounted configuration if there is none yet. One that is there was written by the agent in an earlier life of this
/// pod and is at least as new as the mounted copy, which the kubelet refreshes only about once a minute; it stays if HAProxy takes it.
pub async fn init(places: &Places) -> anyhow::Result<()> {
    let folder = Folder::new(&places.run_folder);
    folder.remove_state()?;
    if let Some(text) = folder.configuration().context("read haproxy.cfg")? {
        let candidate = folder.save_candidate(&text)?;
        match check(places, &candidate).await {
            Ok(()) => {
                tracing::info!("haproxy.cfg is there already");
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, "haproxy.cfg is there but cannot be used"),
        }
    }
    let read = |name| {
        let path = places.config_folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let published = Published::parse(&read(TEXT_KEY)?, &read(SET_KEY)?)?;
    let candidate = folder.save_candidate(published.text())?;
    if let Err(error) = check(places, &candidate).await {
        bail!("the published configuration cannot be used: {error}");
    }
    folder.save_configuration(published.text())?;
    folder.save_published(&published)?;
    tracing::info!(
        hash = published.set().hash,
        servers = published.set().servers.len(),
        "haproxy.cfg written"
    );
    Ok(())
}
