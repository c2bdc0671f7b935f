//! A view as the files of a `WebDAV` server.
//!
//! `WebDAV` knows files and folders. The links `latest` are shown as the folders that they lead to; stored links,
//! devices and pipes are not shown. A read that fails ends the answer before its announced end.

use std::fmt;
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavFileSystem, DavMetaData, FsError, FsFuture, FsResult, FsStream, OpenOptions,
    ReadDirMeta,
};
use futures::stream;
use repo_core::format::NodeKind;
use repo_core::view::{Attributes, Item, Listing, OpenFile, View, ViewError};

use crate::browse;
use crate::session::Session;

/// A view as files.
#[derive(Clone)]
pub(super) struct Files {
    session: Session,
    view: Arc<View>,
}

impl Files {
    pub(super) fn new(session: &Session, view: Arc<View>) -> Self {
        Self { session: session.clone(), view }
    }

    /// Asks the view, which may have to wait for the storage, on a thread for that.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, ViewError> + Send + 'static,
    ) -> FsResult<T> {
        let own = self.clone();
        let answered = tokio::task::spawn_blocking(move || {
            question(&own).map_err(|error| {
                browse::tell(&own.session, &error);
                match error {
                    ViewError::NotFound { .. } | ViewError::NotADirectory { .. } => FsError::NotFound,
                    ViewError::NoContent { .. } => FsError::Forbidden,
                    _ => FsError::GeneralFailure,
                }
            })
        });
        answered.await.unwrap_or(Err(FsError::GeneralFailure))
    }

    /// What a path names, if `WebDAV` can show it.
    fn at(&self, path: &[u8]) -> Result<(Item, Data), ViewError> {
        let item = self.view.resolve(path)?;
        let attributes = self.view.attributes(&item)?;
        match Data::of(&item, &attributes) {
            Some(data) => Ok((item, data)),
            None => Err(ViewError::NotFound { path: self.view.path_of(&item) }),
        }
    }
}

impl DavFileSystem for Files {
    fn open<'a>(&'a self, path: &'a DavPath, options: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        Box::pin(async move {
            if options.write || options.append || options.create || options.create_new || options.truncate {
                return Err(FsError::Forbidden);
            }
            let path = path.as_bytes().to_vec();
            let opened = self.ask(move |files| {
                let (item, data) = files.at(&path)?;
                Ok((Arc::new(files.view.open(&item)?), data))
            });
            let (file, data) = opened.await?;
            Ok(Box::new(Reading { files: self.clone(), file, data, position: 0 }) as Box<dyn DavFile>)
        })
    }

    fn read_dir<'a>(
        &'a self,
        path: &'a DavPath,
        _: ReadDirMeta,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        Box::pin(async move {
            let path = path.as_bytes().to_vec();
            let listed = self.ask(move |files| {
                let (folder, _) = files.at(&path)?;
                Ok((files.view.list(&folder)?, folder))
            });
            let (listing, folder) = listed.await?;
            let view = self.view.clone();
            let entries = (0..listing.len()).filter_map(move |at| entry(&view, &folder, &listing, at));
            Ok(Box::pin(stream::iter(entries.map(Ok))) as FsStream<Box<dyn DavDirEntry>>)
        })
    }

    fn metadata<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, Box<dyn DavMetaData>> {
        Box::pin(async move {
            let path = path.as_bytes().to_vec();
            let data = self.ask(move |files| files.at(&path).map(|(_, data)| data)).await?;
            Ok(Box::new(data) as Box<dyn DavMetaData>)
        })
    }
}

/// An entry of a listing, if `WebDAV` can show it. Everything needed is there already.
fn entry(view: &View, folder: &Item, listing: &Listing, at: usize) -> Option<Box<dyn DavDirEntry>> {
    let item = listing.item(at);
    let data = if item.is_made_up() {
        let item = view.followed(folder, item).ok()?;
        Data::of(&item, &view.attributes(&item).ok()?)?
    } else {
        Data::of(&item, &view.listed_attributes(listing, at).ok()?)?
    };
    Some(Box::new(Entry { name: listing.name(at).to_vec(), data }))
}

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    data: Data,
}

impl DavDirEntry for Entry {
    fn name(&self) -> Vec<u8> {
        self.name.clone()
    }

    fn metadata(&'_ self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let data = Box::new(self.data.clone()) as Box<dyn DavMetaData>;
        Box::pin(std::future::ready(Ok(data)))
    }
}

/// What `WebDAV` tells of a file or folder.
#[derive(Debug, Clone)]
struct Data {
    is_dir: bool,
    len: u64,
    modified: SystemTime,
    executable: bool,
    tag: u128,
}

impl Data {
    fn of(item: &Item, attributes: &Attributes) -> Option<Self> {
        let is_dir = match attributes.kind {
            NodeKind::Dir => true,
            NodeKind::File => false,
            _ => return None,
        };
        let seconds = u64::try_from(attributes.mtime.seconds).unwrap_or(0);
        let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Some(Self {
            is_dir,
            len: attributes.len,
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            executable: attributes.permissions & 0o111 != 0,
            tag: item.identity(),
        })
    }
}

impl DavMetaData for Data {
    fn len(&self) -> u64 {
        self.len
    }

    fn modified(&self) -> FsResult<SystemTime> {
        Ok(self.modified)
    }

    fn is_dir(&self) -> bool {
        self.is_dir
    }

    fn etag(&self) -> Option<String> {
        // The same snapshot and path have the same content for ever.
        Some(format!("{:032x}", self.tag))
    }

    fn executable(&self) -> FsResult<bool> {
        Ok(self.executable)
    }
}

/// A file that is being read.
struct Reading {
    files: Files,
    file: Arc<OpenFile>,
    data: Data,
    position: u64,
}

impl DavFile for Reading {
    fn metadata(&'_ mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let data = Box::new(self.data.clone()) as Box<dyn DavMetaData>;
        Box::pin(std::future::ready(Ok(data)))
    }

    fn read_bytes(&'_ mut self, len: usize) -> FsFuture<'_, Bytes> {
        Box::pin(async move {
            let (file, position) = (self.file.clone(), self.position);
            let bytes = self.files.ask(move |files| files.view.read(&file, position, len)).await?;
            self.position += bytes.len() as u64;
            Ok(Bytes::from(bytes))
        })
    }

    fn seek(&'_ mut self, to: SeekFrom) -> FsFuture<'_, u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.data.len.checked_add_signed(by),
        };
        let moved = position.ok_or(FsError::GeneralFailure);
        self.position = position.unwrap_or(self.position);
        Box::pin(std::future::ready(moved))
    }

    fn write_buf(&'_ mut self, _: Box<dyn Buf + Send>) -> FsFuture<'_, ()> {
        Box::pin(std::future::ready(Err(FsError::Forbidden)))
    }

    fn write_bytes(&'_ mut self, _: Bytes) -> FsFuture<'_, ()> {
        Box::pin(std::future::ready(Err(FsError::Forbidden)))
    }

    fn flush(&'_ mut self) -> FsFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("file", &self.file)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
