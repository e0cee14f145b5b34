//! The spool as written.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::SpoolSettings;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenSpool {
    size_mib: u64,
    path: Option<PathBuf>,
}

impl Default for WrittenSpool {
    fn default() -> Self {
        Self { size_mib: 1_024, path: None }
    }
}

impl WrittenSpool {
    /// Settings as run. `data` is the store's file: beside it is where there is a disk.
    pub fn into_settings(self, data: &Path) -> SpoolSettings {
        let path = self.path.unwrap_or_else(|| data.with_extension("spool"));
        SpoolSettings { path, bytes_max: self.size_mib.saturating_mul(1024 * 1024) }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::config::{self, ConfigError, Overrides, SpoolSettings};

    fn parsed(text: &str) -> Result<Option<SpoolSettings>, String> {
        match config::parse(Some(text.as_bytes()), "meshgate.yaml".as_ref(), &Overrides::default()) {
            Ok(config) => Ok(config.spool),
            Err(ConfigError::Faulty { faults, .. }) => Err(faults.iter().map(|fault| format!("{fault}\n")).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn it_is_off_unless_written_and_lies_beside_the_store() {
        assert_eq!(parsed("backend: aws\n"), Ok(None));
        let settings = parsed("backend: aws\nspool: {}\n").unwrap().unwrap();
        assert_eq!(settings, SpoolSettings { path: "data/meshgate.spool".into(), bytes_max: 1 << 30 });
        let settings = parsed("backend: aws\nspool: {size_mib: 3, path: /disk/spool}\n").unwrap().unwrap();
        assert_eq!(settings, SpoolSettings { path: "/disk/spool".into(), bytes_max: 3 << 20 });
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_its_place() {
        expect![[r#"
            meshgate.yaml:2:8: error[invalid-value]: with the embedded store there is nothing to spool: it is the far end, and it is here (leave `spool` out, or write `backend: aws`)
        "#]].assert_eq(&parsed("dlq: q\nspool: {size_mib: 8}\n").unwrap_err());
        expect![[r#"
            meshgate.yaml:2:19: error[invalid-value]: `size_mib`: value is less than the minimum of 1 (The most it holds. Default 1024)
            meshgate.yaml:2:22: error[unknown-key]: the format has no key `size` here (keys here are size_mib, path)
        "#]].assert_eq(&parsed("backend: aws\nspool: {size_mib: 0, size: 1}\n").unwrap_err());
    }
}
