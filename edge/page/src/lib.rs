//! The files of the page, in the binary.
//!
//! In:  requests for `/` and the files beside it. Out: HTML, CSS and JavaScript as they are in `assets`, with a policy that
//! lets a browser load nothing from elsewhere.
//!
//! Absent: data: the page asks `/api/v1` and `/status` for them, with the token that it is given.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Name, content.
type Asset = (&'static str, &'static str);

macro_rules! assets {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../assets/", $name)))),+]
    };
}

static ASSETS: [Asset; 21] = assets![
    "index.html",
    "page.css",
    "api.js",
    "board.js",
    "card.js",
    "dom.js",
    "events.js",
    "fields.js",
    "format.js",
    "gestures.js",
    "keyboard.js",
    "lines.js",
    "main.js",
    "plot.js",
    "poll.js",
    "scale.js",
    "state.js",
    "status.js",
    "toolbar.js",
    "topics.js",
    "view.js",
];

/// Text from the bus may be hostile: nothing of it can run, and nothing can be sent elsewhere.
const POLICY: &str = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Without data: no token is asked for.
pub fn routes() -> Router {
    let mut router = Router::new().route("/", get(async || serve(&ASSETS[0])));
    for asset in &ASSETS {
        router = router.route(&format!("/{}", asset.0), get(async || serve(asset)));
    }
    router
}

fn serve((name, content): &Asset) -> Response {
    let content_type = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some(_) | None => "text/html; charset=utf-8",
    };
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    let headers = [
        fixed(header::CONTENT_TYPE, content_type),
        fixed(header::CONTENT_SECURITY_POLICY, POLICY),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        // A new version of the daemon has other files under the same names.
        fixed(header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, *content).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_served_and_all_are_small() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let found: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|(name, _)| (*name).into()).collect();
        assert_eq!(found, served);
        // An old laptop on a slow link.
        let bytes: usize = ASSETS.iter().map(|(_, content)| content.len()).sum();
        assert!(bytes <= 82_000, "{bytes} bytes");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, content) in &ASSETS {
            for foreign in ["http://", "https://", "//cdn", "innerHTML", "eval("] {
                let is_namespace = content.contains("http://www.w3.org/");
                assert!(
                    !content.contains(foreign) || (is_namespace && foreign == "http://"),
                    "{name}: {foreign}"
                );
            }
        }
    }
}
