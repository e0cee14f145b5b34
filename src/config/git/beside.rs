//! The same rules for a command that runs beside the gate, whose cache is the gate's alone.

use std::sync::Arc;

use super::{GitRules, Repository};

impl GitRules {
    /// These rules, fetched into a cache of the command's own, which stands beside the gate's.
    #[must_use]
    pub fn beside(self, command: &str) -> Self {
        let mut dir = self.repository.dir.clone().into_os_string();
        dir.push(format!(".{command}"));
        let repository = Arc::new(Repository::new(self.repository.remote.clone(), dir.into()));
        Self { repository, ..self }
    }
}
