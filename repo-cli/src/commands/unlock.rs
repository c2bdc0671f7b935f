//! `unlock`: removes locks that were left behind.

use anyhow::Result;

use crate::args::unlock::Unlock;
use crate::session::Session;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Unlock) -> Result<()> {
    let repository = session.open()?;
    let removed = if args.remove_all {
        repository.remove_all_locks()?
    } else {
        repository.remove_stale_locks(&session.context)?
    };
    if removed > 0 {
        session.screen.say(Level::Normal, format!("successfully removed {removed} locks"));
    }
    Ok(())
}
