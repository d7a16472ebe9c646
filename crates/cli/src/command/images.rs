//! `timonier images`: the images of the store.

use anyhow::Result;
use timonier_meta::Time;
use timonier_oci::ImageStore;

use crate::args::ClusterArgs;

/// Prints the images as `docker images` does.
pub fn run(args: &ClusterArgs) -> Result<()> {
    let store = ImageStore::open(args.paths().images())?;
    let mut rows = vec![["REPOSITORY", "TAG", "IMAGE ID", "SIZE"].map(String::from)];
    for image in store.list()? {
        let id: String =
            image.id.to_string().trim_start_matches("sha256:").chars().take(12).collect();
        let size = human_size(image.size);
        let names = image.repo_tags.iter().map(|tag| match tag.rsplit_once(':') {
            Some((repository, tag)) => (repository.to_owned(), tag.to_owned()),
            None => (tag.clone(), "<none>".to_owned()),
        });
        let mut names: Vec<(String, String)> = names.collect();
        if names.is_empty() {
            names.push(("<none>".into(), "<none>".into()));
        }
        rows.extend(names.into_iter().map(|(r, t)| [r, t, id.clone(), size.clone()]));
    }
    print_table(&rows);
    Ok(())
}

/// Bytes as `12.3MB`, in powers of ten as Docker prints them.
pub fn human_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            let digits = if value < 10.0 { 2 } else { 1 };
            return if unit == "B" {
                format!("{bytes}B")
            } else {
                format!("{value:.digits$}{unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}

fn print_table<const N: usize>(rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", line.join("   ").trim_end());
    }
}

/// Now, for image times.
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |d| d.as_micros() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in
            [(999, "999B"), (1500, "1.50kB"), (12_340_000, "12.3MB"), (2_000_000_000_000, "2.0TB")]
        {
            assert_eq!(human_size(bytes), text);
        }
    }
}
