//! `init`: a new repository.

use anyhow::{Result, anyhow};
use repo_core::format::json::Object;
use repo_core::repository::{InitChunker, InitError, InitOptions, KeyLabel, LockOwner, Password, Repository};

use crate::args::init::Init;
use crate::config::Access;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Init) -> Result<()> {
    let repository = make(session, args)?;
    let location = Session::location(&session.settings.repository)?.to_string();
    tell(session, &repository, &location);
    Ok(())
}

/// Makes the repository and says nothing.
pub fn make(session: &Session, args: &Init) -> Result<Repository> {
    if !args.extra.is_empty() {
        return Err(wrong("the init command expects no arguments, only flags", "See `larder help init`."));
    }
    let version = version(&args.repository_version)?;
    let chunker = chunker(session, args)?;
    session.settings.pack_size()?;
    let access = &session.settings.repository;
    let location = Session::location(access)?;
    let backend = session.backend(access)?;
    let keyboard = session.keyboard(false);
    let (password, _) = access.password.new_one("enter password for new repository: ", &keyboard)?;

    let here = LockOwner::this_process();
    let label = KeyLabel { username: here.username, hostname: here.hostname };
    let cache = session.cache_base(&location);
    let options = InitOptions { version, chunker, label, cache, ..InitOptions::default() };
    let password = Password::new(password.as_bytes());
    Repository::init(&session.context, backend, &password, &options)
        .map_err(|error| explained(error, &location.to_string()))
}

fn version(text: &str) -> Result<u32> {
    let hint = "--repository-version is 1, 2, latest or stable; 2 is the usual one.";
    match text {
        "latest" | "stable" => Ok(2),
        number => match number.parse() {
            Ok(version @ 1..=2) => Ok(version),
            Ok(_) => Err(wrong("only repository versions between 1 and 2 are allowed", hint)),
            Err(_) => Err(wrong("invalid repository version", hint)),
        },
    }
}

fn chunker(session: &Session, args: &Init) -> Result<InitChunker> {
    let typed = args.from.from_repo.is_some() || args.from.from_repository_file.is_some();
    if args.copy_chunker_params {
        let (other, _) = Access::other(&args.from, &session.environment)?;
        let repository = session.open_with(&other, &session.keyboard(false))?;
        return Ok(InitChunker::SameAs(repository.chunker_params()?));
    }
    if typed {
        return Err(wrong(
            "secondary repository must only be specified when copying the chunker parameters",
            "Add --copy-chunker-params, or leave out the --from-… flags.",
        ));
    }
    match args.chunker.as_str() {
        "rabin" => Ok(InitChunker::Rabin),
        "fastcdc" => Ok(InitChunker::FastCdc),
        other => Err(wrong(format!("unknown chunker {other:?}"), "--chunker is rabin or fastcdc.")),
    }
}

fn explained(error: InitError, location: &str) -> anyhow::Error {
    let remedy = match error {
        InitError::Exists => "Use the repository that is there, or choose another location.",
        InitError::Remains { .. } => {
            "Choose another location, or remove what is there if you are sure that nobody needs it."
        }
        _ => return anyhow!(error).context(format!("create repository at {location} failed")),
    };
    wrong(format!("create repository at {location} failed: {error}"), remedy)
}

fn tell(session: &Session, repository: &Repository, location: &str) {
    let id = repository.config().id;
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "initialized").id("id", id).string("repository", location);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    let short: String = id.to_string().chars().take(10).collect();
    session
        .screen
        .say(Level::Normal, visible_text(&format!("created restic repository {short} at {location}\n")));
    session.screen.say(
        Level::Normal,
        "Please note that knowledge of your password is required to access\n\
         the repository. Losing your password means that your data is\n\
         irrecoverably lost.",
    );
}
