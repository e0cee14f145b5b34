use super::*;

fn headers(accept: &[&str]) -> HeaderMap {
    accept.iter().map(|value| (ACCEPT, HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn browsers_get_the_page_and_others_the_list() {
    for (accept, is_page) in [
        (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"][..], true),
        (&["application/json", "Text/HTML;q=0.5"], true),
        (&["*/*"], false),
        (&["application/json"], false),
        (&[], false),
    ] {
        assert_eq!(is_browser(&headers(accept)), is_page, "{accept:?}");
    }
}

#[test]
fn the_page_stands_alone_under_a_policy_that_fits_it() {
    let response = page();
    let header = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header(CACHE_CONTROL), header(X_CONTENT_TYPE_OPTIONS)), ("no-store".into(), "nosniff".into()));
    let policy = header(CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let page = String::from_utf8(PAGE.0.to_vec()).unwrap();
    for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let inside = page.split_once(open).unwrap().1.split_once(close).unwrap().0;
        let hash = BASE64.encode(Sha256::digest(inside));
        assert!(policy.contains(&hash), "{open} is not what the policy allows");
    }
    // Names of namespaces lead nowhere.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["src=\"", "http://", "https://fonts", "@import", "url(", "innerHTML ="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains(" style=\"") && !page.contains(" onclick"), "the policy would not have it");
}
