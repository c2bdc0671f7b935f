//! `repair`: what was typed.

use clap::{Args, Subcommand};

use super::filter::SnapshotFilter;
use super::init::FromRepository;

/// Mend a damaged repository
///
/// With --from-repo and no action: whatever snapshots here need and this repository has lost is fetched from another one,
/// such as one that `larder copy` has made. Pieces are the same wherever they are stored, so the other repository may have
/// another key and other snapshots.
#[derive(Debug, Args)]
pub struct Repair {
    #[command(flatten)]
    pub from: FromRepository,

    /// Change nothing, only say what is lost and what of it is there
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    #[command(subcommand)]
    pub action: Option<RepairAction>,
}

/// What to mend.
#[derive(Debug, Subcommand)]
pub enum RepairAction {
    /// Rebuild the index from the packs
    Index(RepairIndex),
    /// Save what is readable of damaged packs, and remove these
    Packs(RepairPacks),
    /// Make new snapshots without what is lost for good
    Snapshots(RepairSnapshots),
    /// Make the hot half of a split repository anew from the cold one
    ///
    /// Copies what the storage given by --repo-hot lacks (everything but packs of data), and removes there what the
    /// repository does not have. The storage given by --repo decides, and is not changed.
    Hot,
}

/// How to rebuild the index.
#[derive(Debug, Args)]
pub struct RepairIndex {
    /// Read every pack's header instead of those that the index lists wrongly or not at all
    #[arg(long)]
    pub read_all_packs: bool,

    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// Save what is readable of damaged packs, and remove these
///
/// `larder check --read-data` names such packs. What is still sound in them goes into new packs. A copy of each damaged
/// pack is kept in the current folder, under the name pack-ID: it may hold what only somebody with patience can get out.
/// Do this before `repair index`, which forgets what it cannot read.
#[derive(Debug, Args)]
pub struct RepairPacks {
    /// The packs, by their full ids
    #[arg(value_name = "PACK")]
    pub ids: Vec<String>,

    /// Change nothing, only say what can be saved and what is lost
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Make new snapshots without what is lost for good
///
/// Lost chunks are cut out of files, lost folders are emptied. Try first to bring back what is lost: `larder repair index`
/// finds what is only not listed, and the next backup of the same files stores their content again. New snapshots get the
/// tag `repaired` and stand beside the old ones.
#[derive(Debug, Args)]
pub struct RepairSnapshots {
    /// Only these; `latest` and the start of an id will do
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Change nothing, only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Remove the old snapshots that have a new version, and those of which nothing can be read
    #[arg(long)]
    pub forget: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Outdated name of `repair index`
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct RebuildIndex {
    #[command(flatten)]
    pub index: RepairIndex,
}
