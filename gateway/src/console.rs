//! The console: one page, plain JavaScript, server-sent events; no build step and no outside request.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::api::Api;

/// `(path, media type, content)`.
static FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("console/index.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
    ("/console.js", "text/javascript; charset=utf-8", include_str!("console/console.js")),
];

/// The console's files. They hold no data: that comes from `/v1`, which asks for a key where one is needed.
pub(crate) fn routes() -> Router<Arc<Api>> {
    let mut router = Router::new();
    for (path, kind, content) in FILES {
        let answer = move || async move { ([(header::CONTENT_TYPE, kind)], content).into_response() };
        router = router.route(path, get(answer));
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_small_and_asks_nobody_else() {
        let bytes: usize = FILES.iter().map(|file| file.2.len()).sum();
        assert!(bytes < 200_000, "{bytes} bytes");
        for (path, _, content) in FILES {
            for word in ["http://", "https://", "//cdn", "@import", "innerHTML"] {
                let allowed = word == "http://" && content.contains("http://www.w3.org/2000/svg");
                assert!(allowed || !content.contains(word), "{path} has {word}");
            }
        }
    }
}
