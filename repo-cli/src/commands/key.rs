//! `key`: the passwords of a repository.

use anyhow::Result;
use repo_core::format::json::{Array, Object};
use repo_core::id::KeyId;
use repo_core::repository::{KeyError, KeyLabel, LockKind, LockOwner, Password, Repository, StoredKey};

use crate::args::key::{Key, KeyAction, KeyList, KeyRemove, NewKey};
use crate::exit::wrong;
use crate::password::Sources;
use crate::session::Session;
use crate::ui::amount::date_time;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::table::Table;

pub fn run(session: &Session, args: &Key) -> Result<()> {
    match &args.action {
        Some(KeyAction::Add(args)) => add(session, args),
        Some(KeyAction::List(args)) => list(session, args),
        Some(KeyAction::Passwd(args)) => passwd(session, args),
        Some(KeyAction::Remove(args)) => remove(session, args),
        None => {
            super::help::page(session, &["key".to_owned()]);
            Ok(())
        }
    }
}

fn add(session: &Session, args: &NewKey) -> Result<()> {
    refuse("add", &args.extra)?;
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let password = new_password(session, args)?;
    let id = repository.add_key(&session.context, &password, &label(args), None)?;
    session.screen.say(Level::Normal, format!("saved new key with ID {id}"));
    tell_json(session, "key_added", id);
    Ok(())
}

fn passwd(session: &Session, args: &NewKey) -> Result<()> {
    refuse("passwd", &args.extra)?;
    let (repository, _lock) = session.open_locked(LockKind::Exclusive)?;
    let password = new_password(session, args)?;
    let changed = repository.change_password(&session.context, &password, &label(args), None)?;
    session.screen.say(Level::Normal, format!("saved new key with ID {}", changed.key_id()));
    tell_json(session, "password_changed", changed.key_id());
    Ok(())
}

fn remove(session: &Session, args: &KeyRemove) -> Result<()> {
    let [wanted] = &args.ids[..] else {
        return Err(wrong(
            "key remove expects one argument as the key id",
            "`larder key list` shows the ids.",
        ));
    };
    let (repository, _lock) = session.open_locked(LockKind::Exclusive)?;
    let id = find(&repository, wanted)?;
    match repository.remove_key(id) {
        Err(KeyError::InUse { .. }) => {
            return Err(wrong(
                "refusing to remove key currently used to access repository",
                "Open the repository with another password, then remove this one.",
            ));
        }
        other => other?,
    }
    session.screen.say(Level::Normal, format!("removed key {id}"));
    tell_json(session, "key_removed", id);
    Ok(())
}

fn find(repository: &Repository, wanted: &str) -> Result<KeyId> {
    let mut ids: Vec<KeyId> = repository.keys()?.into_iter().map(|(id, _)| id).collect();
    ids.retain(|id| id.to_string().starts_with(wanted));
    let help = "`larder key list` shows the ids.";
    match ids[..] {
        [id] => Ok(id),
        [] => Err(wrong(format!("no matching ID found for prefix {wanted:?}"), help)),
        _ => Err(wrong(format!("multiple IDs with prefix {wanted:?} found"), help)),
    }
}

fn list(session: &Session, args: &KeyList) -> Result<()> {
    refuse("list", &args.extra)?;
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let mut keys = Vec::new();
    for (id, key) in repository.keys()? {
        match key {
            Ok(key) => keys.push(key),
            Err(error) => session.screen.warn(format!("cannot read key {id}: {error}")),
        }
    }
    keys.sort_by_key(|key| (key.file.created.map(|time| time.instant), key.id));
    if session.settings.json {
        print_json(session, &repository, &keys);
    } else {
        print_table(session, &repository, &keys);
    }
    Ok(())
}

fn created(session: &Session, key: &StoredKey) -> String {
    key.file.created.map(|time| date_time(session.settings.zone.at(time.instant))).unwrap_or_default()
}

fn print_table(session: &Session, repository: &Repository, keys: &[StoredKey]) {
    let mut table = Table::default();
    table.column(" ID").column("User").column("Host").column("Created");
    for key in keys {
        let mark = if key.id == repository.key_id() { '*' } else { ' ' };
        let (user, host) = (visible_text(&key.file.username), visible_text(&key.file.hostname));
        table.row([format!("{mark}{}", key.id.short()), user, host, created(session, key)]);
    }
    session.screen.lines(table.lines());
}

fn print_json(session: &Session, repository: &Repository, keys: &[StoredKey]) {
    let mut out = Vec::new();
    let mut array = Array::begin(&mut out);
    for key in keys {
        let mut object = Object::begin(array.element());
        object.bool("current", key.id == repository.key_id()).id("id", key.id);
        object.string("userName", &key.file.username).string("hostName", &key.file.hostname);
        object.string("created", created(session, key));
        object.end();
    }
    array.end();
    session.screen.line(String::from_utf8_lossy(&out));
}

fn new_password(session: &Session, args: &NewKey) -> Result<Password> {
    let sources = Sources {
        file: args.new_password_file.clone(),
        empty: args.new_insecure_no_password,
        empty_flag: "--new-insecure-no-password",
        ..Sources::default()
    };
    let (password, _) = sources.new_one("enter new password: ", &session.keyboard(false))?;
    Ok(Password::new(password.as_bytes()))
}

fn label(args: &NewKey) -> KeyLabel {
    let here = LockOwner::this_process();
    KeyLabel {
        username: args.user.clone().unwrap_or(here.username),
        hostname: args.host.clone().unwrap_or(here.hostname),
    }
}

fn refuse(action: &str, extra: &[String]) -> Result<()> {
    if extra.is_empty() {
        return Ok(());
    }
    Err(wrong(
        format!("the key {action} command expects no arguments, only flags"),
        format!("See `larder help key {action}`."),
    ))
}

fn tell_json(session: &Session, what: &str, id: KeyId) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", what).id("id", id);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    }
}
