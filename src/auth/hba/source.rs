//! Files that name other files: `@file` for a list of names, `include`, `include_if_exists` and
//! `include_dir` for whole lines, as PostgreSQL 16 reads them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::HbaError;
use super::line::{Line, Word, lines};

/// How deep files may name files, as in PostgreSQL.
const DEPTH_MAX: usize = 10;
/// How many files may be read: files that name each other are many before they are deep.
const FILES_MAX: usize = 1000;

/// How files are read: the caller's, since this room does no I/O.
pub struct Files<'a> {
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The names of the files in a directory, in any order.
    pub list: &'a dyn Fn(&Path) -> io::Result<Vec<String>>,
}

/// Everything that one file says, with those that it names.
#[derive(Default)]
pub(super) struct Text {
    pub lines: Vec<Line>,
    /// What was read: files, those that were not there, and directories.
    pub seen: Vec<PathBuf>,
}

impl Text {
    /// # Errors
    /// The first mistake, or the first file that cannot be read.
    pub fn read(path: &Path, files: &Files<'_>) -> Result<Self, HbaError> {
        let mut reading = Reading {
            files,
            seen: Vec::new(),
        };
        let mut found = Vec::new();
        let nobody = Place {
            file: path.into(),
            number: 0,
        };
        reading.file(path, &nobody, 0, &mut found)?;
        Ok(Self {
            lines: found,
            seen: reading.seen,
        })
    }
}

/// Where a file is named.
struct Place {
    file: Arc<Path>,
    number: usize,
}

impl Place {
    fn error(&self, why: impl Into<String>) -> HbaError {
        HbaError {
            file: self.file.to_path_buf(),
            line: self.number,
            why: why.into(),
        }
    }

    /// A file's name counts from the directory of the file that names it.
    fn resolve(&self, name: &str) -> PathBuf {
        let folder = self.file.parent();
        folder.map_or_else(|| name.into(), |folder| folder.join(name))
    }
}

struct Reading<'a> {
    files: &'a Files<'a>,
    seen: Vec<PathBuf>,
}

impl Reading<'_> {
    fn file(
        &mut self,
        path: &Path,
        from: &Place,
        depth: usize,
        found: &mut Vec<Line>,
    ) -> Result<(), HbaError> {
        if depth > DEPTH_MAX {
            let path = path.display();
            return Err(from.error(format!("files name files too deep: {path}")));
        }
        if self.seen.len() >= FILES_MAX {
            return Err(from.error("too many files"));
        }
        self.seen.push(path.to_owned());
        let text = (self.files.read)(path)
            .map_err(|error| from.error(format!("cannot read {}: {error}", path.display())))?;
        let file: Arc<Path> = path.into();
        for (number, fields) in lines(&text) {
            let place = Place {
                file: Arc::clone(&file),
                number,
            };
            let fields = fields.map_err(|why| place.error(why))?;
            if self.include(&fields, &place, depth, found)? {
                continue;
            }
            let fields = fields
                .into_iter()
                .map(|field| self.expand(field, &place, depth));
            found.push(Line {
                file: Arc::clone(&file),
                number,
                fields: fields.collect::<Result<_, _>>()?,
            });
        }
        Ok(())
    }

    /// Reads what the line includes; false if it is another line.
    fn include(
        &mut self,
        fields: &[Vec<Word>],
        place: &Place,
        depth: usize,
        found: &mut Vec<Line>,
    ) -> Result<bool, HbaError> {
        let [what, name] = fields else {
            return Ok(false);
        };
        let ([what], [name]) = (&what[..], &name[..]) else {
            return Ok(false);
        };
        let path = place.resolve(&name.text);
        match what.text.as_str() {
            "include" => self.file(&path, place, depth + 1, found)?,
            "include_if_exists" => match (self.files.read)(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.seen.push(path),
                _ => self.file(&path, place, depth + 1, found)?,
            },
            "include_dir" => {
                let mut names = (self.files.list)(&path).map_err(|error| {
                    place.error(format!("cannot read {}: {error}", path.display()))
                })?;
                names.retain(|name| name.ends_with(".conf") && !name.starts_with('.'));
                names.sort_unstable();
                self.seen.push(path.clone());
                for name in names {
                    self.file(&path.join(name), place, depth + 1, found)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Puts the words of the files that a field names in their place.
    fn expand(
        &mut self,
        field: Vec<Word>,
        place: &Place,
        depth: usize,
    ) -> Result<Vec<Word>, HbaError> {
        let mut words = Vec::new();
        for word in field {
            let Some(name) = word.list() else {
                words.push(word);
                continue;
            };
            let mut found = Vec::new();
            self.file(&place.resolve(name), place, depth + 1, &mut found)?;
            let listed = found.into_iter().flat_map(|line| line.fields).flatten();
            words.extend(listed);
        }
        match words.is_empty() {
            // A field that is not there would make the next one mean something else.
            true => Err(place.error("a list in another file (@file) that names nobody")),
            false => Ok(words),
        }
    }
}
