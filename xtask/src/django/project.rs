//! The small project that comes with the tool, its tests, and what records their outcomes.

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Every file, by its place.
const FILES: [(&str, &str); 11] = [
    ("manage.py", include_str!("../../django/manage.py")),
    ("suite_settings.py", include_str!("../../django/suite_settings.py")),
    ("project/__init__.py", include_str!("../../django/project/__init__.py")),
    ("project/settings.py", include_str!("../../django/project/settings.py")),
    ("trading/__init__.py", include_str!("../../django/trading/__init__.py")),
    ("trading/models.py", include_str!("../../django/trading/models.py")),
    ("trading/tests.py", include_str!("../../django/trading/tests.py")),
    ("trading/migrations/__init__.py", include_str!("../../django/trading/migrations/__init__.py")),
    (
        "trading/migrations/0001_initial.py",
        include_str!("../../django/trading/migrations/0001_initial.py"),
    ),
    (
        "trading/migrations/0002_index_without_a_lock.py",
        include_str!("../../django/trading/migrations/0002_index_without_a_lock.py"),
    ),
    ("recorder/sitecustomize.py", include_str!("../../django/recorder/sitecustomize.py")),
];
/// The recorder for pytest.
const PYTEST: (&str, &str) =
    ("recorder/xtask_pytest.py", include_str!("../../django/recorder/xtask_pytest.py"));

/// Writes it into a folder that is removed at the end.
pub(super) fn unpack() -> Result<TempDir> {
    let folder = tempfile::tempdir().context("make a folder for the project")?;
    for (name, text) in FILES.iter().chain([&PYTEST]) {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).context("make a folder of the project")?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {name}"))?;
    }
    Ok(folder)
}
