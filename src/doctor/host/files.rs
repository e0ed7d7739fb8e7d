//! The files of `/proc` and `/sys`, below a root.

use std::fs;
use std::path::Path;
use std::str::FromStr;

/// Files below a root: `/` on the host itself.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a>(&'a Path);

impl Files<'_> {
    /// Those of this host.
    pub fn of_this_host() -> Files<'static> {
        Files(Path::new("/"))
    }

    /// The content of a file, by its path from the root; `None` where it does not exist or is not readable.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    /// The content as one value.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.trim().parse().ok()
    }

    /// The value of `/proc/sys`, by its name with dots.
    pub(super) fn sysctl<T: FromStr>(&self, name: &str) -> Option<T> {
        self.value(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    /// The names in a directory, in order.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether there is such a file or directory.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::Files;

    /// The files of another host.
    pub(in crate::doctor::host) struct Root(TempDir);

    impl Root {
        pub(in crate::doctor::host) fn with(files: &[(&str, &str)]) -> Self {
            let root = Self(TempDir::new().expect("a temporary directory"));
            for (path, text) in files {
                root.write(Path::new(path), text);
            }
            root
        }

        pub(in crate::doctor::host) fn write(&self, path: &Path, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
            fs::write(path, text).expect("a file");
        }

        pub(in crate::doctor::host) fn files(&self) -> Files<'_> {
            Files(self.0.path())
        }
    }
}
