//! The public API of the engine and of its storage, as a list that a change must be seen in.
//!
//! In: the sources. Out: one line per public function, field, variant, constant and trait implementation, compared
//! with `tests/api/<crate>.txt`. What is `pub` in a private module is listed where that module stands, because the
//! lint `unreachable_pub` makes sure that it is re-exported there. Moving code between private files changes nothing.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::{
    Attribute, Fields, ImplItem, Item, ItemImpl, ItemMod, Meta, Signature, TraitItem, UseTree, Visibility,
};

/// Set, the lists are written anew instead of compared.
const ACCEPT: &str = "LARDER_ACCEPT_API";

#[test]
fn the_public_api_of_the_engine_is_as_listed() {
    compare("repo-core");
}

#[test]
fn the_public_api_of_the_storage_is_as_listed() {
    compare("backends");
}

#[expect(clippy::disallowed_methods, reason = "who runs the tests says so in the environment")]
fn compare(package: &str) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = top.join("api").join(package).with_extension("txt");
    let found = api_of(&top.join("..").join(package).join("src/lib.rs"));
    if env::var_os(ACCEPT).is_some() {
        return fs::write(&list, found.into_iter().map(|line| line + "\n").collect::<String>()).unwrap();
    }
    let listed = fs::read_to_string(&list).unwrap_or_default();
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    let gone = listed.difference(&found).map(|line| format!("- {line}\n"));
    let new = found.difference(&listed).map(|line| format!("+ {line}\n"));
    let changes: String = gone.chain(new).collect();
    assert!(
        changes.is_empty(),
        "the public API of {package} has changed:\n\n{changes}\nWhat is gone (-) breaks programs that use it: keep \
         it if you can, and say so in the changelog if not.\nTo accept the change, run `{ACCEPT}=1 cargo nextest run \
         -p tests api` and commit tests/api/{package}.txt",
    );
}

/// Users name some fields and take the rest from `Default`; the language forbids that for `non_exhaustive`.
#[test]
fn options_can_be_built_from_outside() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lines = ["repo-core", "backends"].map(|package| api_of(&top.join(package).join("src/lib.rs")));
    let closed = |line: &&String| line.contains("Options struct") && line.contains("non_exhaustive");
    assert_eq!(lines.iter().flatten().find(closed), None);
}

/// Every line of a crate.
fn api_of(lib: &Path) -> BTreeSet<String> {
    let mut api = Api::default();
    api.file(lib, "", true);
    for (name, line) in api.implementations {
        if !api.private.contains(&name) {
            api.lines.insert(line);
        }
    }
    api.lines
}

#[derive(Default)]
struct Api {
    lines: BTreeSet<String>,
    /// Types that nobody outside can name.
    private: BTreeSet<String>,
    /// Traits that types have, by the type's name; listed in the end, unless the type is private.
    implementations: Vec<(String, String)>,
}

impl Api {
    /// The items of a file; `at` is the path of the public module they appear in, empty for the root.
    fn file(&mut self, file: &Path, at: &str, is_top: bool) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let is_folder = is_top || file.file_name().is_some_and(|name| name == "mod.rs");
        let folder = if is_folder { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        self.items(&parsed.items, at, &folder);
    }

    fn items(&mut self, items: &[Item], at: &str, folder: &Path) {
        let public: Vec<_> = items.iter().filter_map(public_module).collect();
        for item in items {
            self.item(item, at, folder, &public);
        }
    }

    fn item(&mut self, item: &Item, at: &str, folder: &Path, public: &[String]) {
        match item {
            Item::Mod(module) if !is_test(&module.attrs) => self.module(module, at, folder),
            Item::Use(item) if is_public(&item.vis) => self.re_export(&item.tree, at, public),
            Item::Fn(item) if is_public(&item.vis) => self.add(at, &signature(&item.sig)),
            Item::Const(item) if is_public(&item.vis) => {
                self.add(at, &format!("const {}: {} = {}", item.ident, text(&item.ty), text(&item.expr)));
            }
            Item::Type(item) if is_public(&item.vis) => {
                self.add(at, &format!("type {} = {}", item.ident, text(&item.ty)));
            }
            Item::Struct(item) if is_public(&item.vis) => {
                let name = format!("{}{}", item.ident, text(&item.generics));
                self.add(at, &format!("{name} struct{}", marks(&item.attrs)));
                self.fields(&item.fields, &at.join_with(&name));
            }
            Item::Enum(item) if is_public(&item.vis) => {
                let name = format!("{}{}", item.ident, text(&item.generics));
                self.add(at, &format!("{name} enum{}", marks(&item.attrs)));
                for variant in &item.variants {
                    let fields = variant.fields.iter().map(|field| match &field.ident {
                        Some(ident) => format!("{ident}: {}", text(&field.ty)),
                        None => text(&field.ty),
                    });
                    let fields = fields.collect::<Vec<_>>().join(", ");
                    let fields = match variant.fields {
                        Fields::Named(_) => format!(" {{ {fields} }}"),
                        Fields::Unnamed(_) => format!("({fields})"),
                        Fields::Unit => String::new(),
                    };
                    self.add(&at.join_with(&name), &format!("{}{fields}", variant.ident));
                }
            }
            Item::Trait(item) if is_public(&item.vis) => {
                let name = format!("{}{}", item.ident, text(&item.generics));
                self.add(at, &format!("{name} trait: {}", text(&item.supertraits)));
                for method in &item.items {
                    self.trait_item(method, &at.join_with(&name));
                }
            }
            Item::Struct(item) => drop(self.private.insert(item.ident.to_string())),
            Item::Enum(item) => drop(self.private.insert(item.ident.to_string())),
            Item::Impl(item) => self.implementation(item, at),
            Item::Macro(item) => self.made_by_macro(item, at),
            _ => {}
        }
    }

    fn module(&mut self, module: &ItemMod, at: &str, folder: &Path) {
        let name = module.ident.to_string();
        let at = if is_public(&module.vis) { at.join_with(&name) } else { at.to_owned() };
        if let Some((_, items)) = &module.content {
            return self.items(items, &at, folder);
        }
        let file = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
        let file: &PathBuf = file.iter().find(|file| file.is_file()).expect("a module has a file");
        self.file(file, &at, false);
    }

    /// Names from public modules that are given a second place; those of private ones are listed here anyway.
    fn re_export(&mut self, tree: &UseTree, at: &str, public: &[String]) {
        let first = match tree {
            UseTree::Path(path) => path.ident.to_string(),
            _ => return,
        };
        if public.contains(&first) {
            for name in leaves(tree) {
                self.add(at, &format!("use {name}"));
            }
        }
    }

    fn fields(&mut self, fields: &Fields, at: &str) {
        for (number, field) in fields.iter().enumerate() {
            if is_public(&field.vis) {
                let name = field.ident.as_ref().map_or_else(|| number.to_string(), ToString::to_string);
                self.lines.insert(format!("{at}.{name}: {}", text(&field.ty)));
            }
        }
    }

    fn trait_item(&mut self, item: &TraitItem, at: &str) {
        match item {
            TraitItem::Fn(method) => {
                let provided = if method.default.is_some() { " (provided)" } else { "" };
                self.add(at, &format!("{}{provided}", signature(&method.sig)));
            }
            TraitItem::Const(item) => self.add(at, &format!("const {}: {}", item.ident, text(&item.ty))),
            TraitItem::Type(item) => self.add(at, &format!("type {}: {}", item.ident, text(&item.bounds))),
            _ => {}
        }
    }

    fn implementation(&mut self, item: &ItemImpl, at: &str) {
        let (generics, this) = (text(&item.generics), text(&item.self_ty));
        if let Some((of, _)) = &item.trait_ {
            let place = text(&item.generics.where_clause);
            let types = item.items.iter().filter_map(|item| match item {
                ImplItem::Type(item) => Some(format!(" {} = {}", item.ident, text(&item.ty))),
                _ => None,
            });
            let types: String = types.collect();
            let line = format!("{this}: impl{generics} {}{types} {place}", text(of));
            let name = this.split('<').next().unwrap_or_default().to_owned();
            return self.implementations.push((name, at.join_with(line.trim_end())));
        }
        let at = at.join_with(&this);
        for item in &item.items {
            match item {
                ImplItem::Fn(method) if is_public(&method.vis) => self.add(&at, &signature(&method.sig)),
                ImplItem::Const(item) if is_public(&item.vis) => {
                    self.add(
                        &at,
                        &format!("const {}: {} = {}", item.ident, text(&item.ty), text(&item.expr)),
                    );
                }
                _ => {}
            }
        }
    }

    /// What macros define is listed as the public lines of the macro, and once per use of it.
    fn made_by_macro(&mut self, item: &syn::ItemMacro, at: &str) {
        let body = item.mac.tokens.span().source_text().unwrap_or_default();
        let code = body.lines().map(|line| line.trim().split("//").next().unwrap_or_default().trim());
        if let Some(name) = &item.ident {
            for line in code.filter(|line| line.starts_with("pub ") || line.starts_with("impl")) {
                self.add(at, format!("macro {name}: {line}").trim_end_matches([' ', '{']));
            }
            return;
        }
        let code: Vec<_> = code.filter(|line| !line.is_empty()).collect();
        let (name, code) = (text(&item.mac.path), code.join(" "));
        if self.lines.iter().any(|line| line.contains(&format!("macro {name}: "))) {
            self.add(at, &format!("{name}! {{ {code} }}"));
        }
    }

    fn add(&mut self, at: &str, line: &str) {
        self.lines.insert(at.join_with(line));
    }
}

/// Puts `::` between two names, unless the first is empty.
trait JoinWith {
    fn join_with(&self, name: &str) -> String;
}

impl JoinWith for str {
    fn join_with(&self, name: &str) -> String {
        if self.is_empty() { name.to_owned() } else { format!("{self}::{name}") }
    }
}

fn public_module(item: &Item) -> Option<String> {
    match item {
        Item::Mod(module) if is_public(&module.vis) => Some(module.ident.to_string()),
        _ => None,
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| text(attr) == "#[cfg(test)]")
}

/// What else a user can rely on: derived traits, and whether more may come.
fn marks(attrs: &[Attribute]) -> String {
    let marks =
        attrs.iter().filter(|attr| attr.path().is_ident("derive") || attr.path().is_ident("non_exhaustive"));
    marks
        .map(|attr| match &attr.meta {
            Meta::List(list) => format!(", {}", text(list)),
            meta => format!(", {}", text(meta)),
        })
        .collect()
}

/// A function without its body and the names of patterns that only the body sees.
fn signature(signature: &Signature) -> String {
    let text = text(signature);
    text.strip_prefix("fn ").unwrap_or(&text).replace("(mut ", "(").replace(", mut ", ", ")
}

/// A piece of source as it stands there, in one line.
fn text(piece: &impl Spanned) -> String {
    let text = piece.span().source_text().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.replace("( ", "(").replace(", )", ")").replace(", >", ">");
    if text.contains("<< ") { text } else { text.replace("< ", "<") }
}

fn leaves(tree: &UseTree) -> Vec<String> {
    match tree {
        UseTree::Path(path) => {
            leaves(&path.tree).into_iter().map(|leaf| format!("{}::{leaf}", path.ident)).collect()
        }
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Name(name) => vec![name.ident.to_string()],
        UseTree::Rename(rename) => vec![format!("{} as {}", rename.ident, rename.rename)],
        UseTree::Glob(_) => vec!["*".to_owned()],
    }
}

/// Every kind of change that breaks a user changes a line.
#[test]
fn functions_fields_variants_and_implementations_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let lib = folder.path().join("lib.rs");
    let check = |source: &str, expected: &[&str]| {
        fs::write(&lib, source).unwrap();
        assert_eq!(api_of(&lib).into_iter().collect::<Vec<_>>(), expected, "{source}");
    };
    check(
        "pub fn f<'a>(\n    a: &'a mut u8,\n    mut b: &mut u8,\n) {}",
        &["f<'a>(a: &'a mut u8, b: &mut u8)"],
    );
    check("pub(crate) fn f() {} fn g() {}", &[]);
    check(
        "#[derive(Clone)] pub struct S<T> { pub a: Vec<T>, b: u8 }",
        &["S<T> struct, derive(Clone)", "S<T>.a: Vec<T>"],
    );
    check("pub struct N(pub u8, u8);", &["N struct", "N.0: u8"]);
    check(
        "#[non_exhaustive] pub enum E { A, B(u8), C { d: u8 } }",
        &["E enum, non_exhaustive", "E::A", "E::B(u8)", "E::C { d: u8 }"],
    );
    check(
        "pub trait T: Send { fn a(&self); fn b(&self) {} }",
        &["T trait: Send", "T::a(&self)", "T::b(&self) (provided)"],
    );
    check(
        "impl S { pub const fn f(mut self) {} fn g() {} pub fn h(&mut self) {} } impl Default for S { fn default() -> S { S } } struct P; impl Drop for P {}",
        &["S: impl Default", "S::const fn f(self)", "S::h(&mut self)"],
    );
    check(
        "mod a { pub struct A; } pub mod b { pub const C: u8 = 1; } pub use a::A; pub use b::{C, D as E};",
        &["A struct", "b::const C: u8 = 1", "use b::C", "use b::D as E"],
    );
    check("#[cfg(test)] mod tests { pub fn f() {} }", &[]);
    check(
        "macro_rules! m { ($n:ident) => {\n /// Doc.\n pub struct $n;\n}; }\nm! {\n /// Doc.\n A }",
        &["m! { A }", "macro m: pub struct $n;"],
    );
}
