//! What a command runs in: its settings, the screen, the context of the core, the signals.

use std::sync::Arc;

use anyhow::Result;
use repo_core::context::{Cancel, Context};

use crate::args::Typed;
use crate::config::{Access, Environment, Settings};
use crate::signals::Signals;
use crate::ui::progress::Progress;
use crate::ui::screen::Screen;

/// One run of the program. Cheap enough to clone.
#[derive(Clone)]
pub struct Session {
    /// What was typed and set.
    pub settings: Settings,
    /// The variables, for what only one command needs.
    pub environment: Environment,
    /// Where to write.
    pub screen: Arc<Screen>,
    /// What is seen while a command runs.
    pub progress: Arc<Progress>,
    /// What the core is given.
    pub context: Context,
    /// What the system told us.
    pub signals: Signals,
}

impl Session {
    /// The same run on another repository.
    pub fn on(&self, repository: Access) -> Self {
        Self { settings: Settings { repository, ..self.settings.clone() }, ..self.clone() }
    }

    /// Begins a run: merges the settings and listens for signals.
    pub fn begin(typed: &Typed, environment: Environment) -> Result<Self> {
        let settings = Settings::new(&typed.global, &environment)?;
        let cancel = Cancel::new();
        let dumb = environment.raw("TERM").is_some_and(|term| term == "dumb");
        let screen = Arc::new(Screen::new(settings.level, settings.json, dumb, cancel.clone()));
        let context = Context {
            cancel: cancel.clone(),
            zone: settings.zone.clone(),
            memory: settings.memory,
            ..Context::new()
        };
        let progress = Progress::new(screen.clone(), context.clock.clone(), settings.progress_per_second);
        let context = context.with_observer(progress.clone());
        let on_request = progress.clone();
        let signals = Signals::listen(cancel, move || on_request.print_now());
        Ok(Self { settings, environment, screen, progress, context, signals })
    }
}
