//! Pages for people, and the contract.

use super::{Access, BARE, Content, Formats, Given, Method, NOT_MODIFIED, Row, Tag, built_in, ok};

pub(super) static CONSOLE: Row = Row {
    name: "console",
    method: Method::Get,
    path: "/console",
    access: Access::Public,
    formats: Formats::Any,
    id: "getConsole",
    tag: Tag::Console,
    summary: "Open the console",
    description: "A page that shows sales as they run and lets operators change them. The page itself needs no \
                  key; its calls use the key that its reader enters.",
    answers: &[built_in(Content::Page, "The page"), NOT_MODIFIED],
    ..BARE
};

pub(super) static CONSOLE_FILE: Row = Row {
    name: "console_file",
    method: Method::Get,
    path: "/console/{file}",
    access: Access::Public,
    formats: Formats::Any,
    id: "getConsoleFile",
    tag: Tag::Console,
    summary: "Get a file of the console",
    description: "A file that the page loads.",
    answers: &[built_in(Content::Files(&["text/css", "text/javascript", "image/svg+xml"]), "The file"), NOT_MODIFIED],
    ..BARE
};

pub(super) static DOCS: Row = Row {
    name: "docs",
    method: Method::Get,
    path: "/docs",
    access: Access::Public,
    formats: Formats::Any,
    id: "getDocs",
    tag: Tag::Contract,
    summary: "Read this document in a browser",
    description: "Swagger UI, built in: it shows this document and sends requests only to this service.",
    answers: &[built_in(Content::Page, "The page"), NOT_MODIFIED],
    ..BARE
};

pub(super) static DOCS_FILE: Row = Row {
    name: "docs_file",
    method: Method::Get,
    path: "/docs/{docs_file}",
    access: Access::Public,
    formats: Formats::Any,
    id: "getDocsFile",
    tag: Tag::Contract,
    summary: "Get a file of that page",
    description: "A file that the page loads.",
    answers: &[built_in(Content::Files(&["text/css", "text/javascript"]), "The file"), NOT_MODIFIED],
    ..BARE
};

pub(super) static PROBLEM: Row = Row {
    name: "problem",
    method: Method::Get,
    path: "/problems/{slug}",
    access: Access::Public,
    formats: Formats::Any,
    id: "getProblem",
    tag: Tag::Contract,
    summary: "Read what a problem means and what to do",
    description: "HTML for a client that accepts `text/html`, JSON for all others.",
    answers: &[Given {
        content: Content::JsonOrPage("ProblemPage"),
        ..ok("ProblemPage", "What it means and what to do")
    }],
    ..BARE
};

pub(super) static OPEN_API: Row = Row {
    name: "openapi",
    method: Method::Get,
    path: "/openapi.json",
    access: Access::Public,
    id: "getContract",
    tag: Tag::Contract,
    summary: "Read this document",
    description: "The OpenAPI document of this service, with the limits of its configuration.",
    answers: &[ok("Contract", "This document")],
    ..BARE
};
