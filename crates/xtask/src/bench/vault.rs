//! `cargo xtask bench vault`: the vault through the product, beside other deduplicating backup tools.

mod bound;
mod cycle;
mod extents;
mod images;
mod peers;
mod product;
mod rows;

use std::path::Path;

use anyhow::Result;
use model::ByteCount;

use super::{progress, report::Report};
use bound::Rates;
use cycle::{Figures, Places, Tool};
use images::{Images, Recipe, packages};
use product::Product;
use rows::Rows;

/// How much is measured.
struct Scale {
    recipe: Recipe,
    /// How often each tool does everything.
    cycles: usize,
}

const GIB: u64 = 1 << 30;

const QUICK: Scale = Scale {
    recipe: Recipe {
        name: "quick",
        size: ByteCount(GIB),
        packages: [&packages::SMALL_CORE, &packages::SMALL_FIRST, &packages::SMALL_SIBLING],
        database_mib: 32,
        media_mib: 32,
        log_mib: 8,
    },
    cycles: 1,
};

const THOROUGH: Scale = Scale {
    recipe: Recipe {
        name: "full",
        size: ByteCount(8 * GIB),
        packages: [&packages::LARGE_CORE, &packages::LARGE_FIRST, &packages::LARGE_SIBLING],
        database_mib: 256,
        media_mib: 128,
        log_mib: 32,
    },
    cycles: 3,
};

/// Measures this binary and every peer that is installed. Images are kept below this directory, everything else is removed.
pub async fn measure(binary: &Path, quick: bool, directory: &Path) -> Result<Report> {
    let scale = if quick { QUICK } else { THOROUGH };
    let images = Images::obtain(&scale.recipe, &directory.join("data"))?;
    let work = tempfile::Builder::new().prefix("vault-").tempdir_in(directory)?;
    let places = Places::new(work.path())?;
    progress("measuring what this machine can do");
    let rates = Rates::measure(&images, work.path())?;

    let peers = peers::installed();
    let mut ours = Figures::new("holdfast");
    let mut theirs: Vec<Figures> = peers.iter().map(|peer| Figures::new(peer.name())).collect();
    for cycle in 0..scale.cycles {
        let of = format!("cycle {} of {}", cycle + 1, scale.cycles);
        progress(&format!("holdfast, {of}"));
        places.prepare(&images)?;
        let product = Product::start(binary, &places).await?;
        ours.cycle(&Tool::Product(&product), &images, &places).await?;
        drop(product);
        for (peer, figures) in peers.iter().zip(&mut theirs) {
            progress(&format!("{}, {of}", peer.name()));
            places.prepare(&images)?;
            peer.prepare(&places)?;
            figures.cycle(&Tool::Peer(peer.as_ref()), &images, &places).await?;
        }
    }
    let mut report = Report::default();
    let (rivals, yardsticks): (Vec<_>, Vec<_>) =
        peers.iter().zip(&theirs).partition(|(peer, _)| peer.is_rival());
    let figures = |of: Vec<(&Box<dyn peers::Peer>, _)>| of.into_iter().map(|(_, figures)| figures).collect();
    let rows = Rows {
        ours: &ours,
        rivals: figures(rivals),
        yardsticks: figures(yardsticks),
        rates: &rates,
        images: &images,
    };
    report.extend(rows.measurements()?);
    Ok(report)
}
