//! Writes the seed corpus: segments that the library's own tables made.
//!
//!     cargo run --bin seeds -- DIRECTORY

#[path = "../tests/image/mod.rs"]
mod image;

use image::plan::Plan;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.expect("the directory to write to, as the only argument");
    std::fs::create_dir_all(&directory)?;
    for n in [0, 1, 4, 12, 30] {
        // The ring alone would be most of the bytes, and no reader looks at it.
        let plan = Plan {
            events: 0,
            ..Plan::sample(n)
        };
        std::fs::write(directory.join(format!("sample-{n}")), plan.write().bytes)?;
    }
    Ok(())
}
