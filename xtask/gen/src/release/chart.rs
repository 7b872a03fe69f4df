//! The chart's manifests, as Helm renders them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::folder::{Folder, variable};

/// File, and the values that differ from the defaults.
const VALUES: [(&str, &[&str]); 2] = [
    ("default", &[]),
    (
        "namespaces",
        &["watchNamespaces={a,b}", "metrics.service.enabled=true"],
    ),
];

pub(super) fn write(root: &Path, folder: &Folder) -> Result<()> {
    let helm: PathBuf = variable("WSC_HELM")?.into();
    for (name, values) in VALUES {
        let mut command = Command::new(&helm);
        command.args(["template", "websocket-operator"]);
        command.arg(root.join("charts/websocket-operator"));
        command.args(["--namespace", "websocket-operator"]);
        // The CRD is in a file of its own.
        command.args(["--set", "crds.enabled=false"]);
        for value in values {
            command.args(["--set", value]);
        }
        let output = command
            .output()
            .with_context(|| format!("starting {}", helm.display()))?;
        ensure!(
            output.status.success(),
            "helm template: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        folder.write(
            &format!("chart/{name}.yaml"),
            &String::from_utf8_lossy(&output.stdout),
        )?;
    }
    Ok(())
}
