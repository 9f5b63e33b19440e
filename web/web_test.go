package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

var pages = []string{"/ha/status", "/ha/general", "/ha/heartbeat", "/ha/replication", "/ha/addresses", "/ha/services", "/ha/logs", "/ha/tools"}

func started(t *testing.T) *console {
	e := newEngine(healthy())
	e.peer = healthyPeer()
	return start(t, e).signIn().settled()
}

func TestEveryPage(t *testing.T) {
	c := started(t)
	for _, path := range pages {
		r, page := c.get(path)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d", path, r.StatusCode)
		}
		title := page.Find(`nav.side a[aria-current="page"]`).Text()
		if got := page.Find("h1").Text(); got != title || title == "" {
			t.Errorf("%s: heading %q, marked in the navigation %q", path, got, title)
		}
		if chips := page.Find(".chip").Length(); chips != 2 {
			t.Errorf("%s shows %d nodes in the top bar, want 2", path, chips)
		}
		if n := page.Find("[style], style, script:not([src]), [onclick]").Length(); n != 0 {
			t.Errorf("%s has %d inline styles or scripts, which the policy forbids", path, n)
		}
		page.Find("input:not([type=hidden]), select, textarea").Each(func(_ int, s *goquerySelection) {
			id, _ := s.Attr("id")
			if page.Find(`label[for="`+id+`"]`).Length() == 0 && s.AttrOr("aria-label", "") == "" {
				t.Errorf("%s: the field %s has no label", path, s.AttrOr("name", "?"))
			}
		})
		ids := map[string]bool{}
		page.Find("[id]").Each(func(_ int, s *goquerySelection) {
			id, _ := s.Attr("id")
			if ids[id] {
				t.Errorf("%s: the id %s stands twice", path, id)
			}
			ids[id] = true
		})
	}
	if r, page := c.get("/ha/nothing"); r.StatusCode != http.StatusNotFound || page.Find("[data-error='404']").Length() == 0 {
		t.Errorf("an unknown page answers %d", r.StatusCode)
	}
}

func TestNothingWithoutSession(t *testing.T) {
	c := start(t, newEngine(healthy()))
	for _, path := range append([]string{"/", "/ha/nothing"}, pages...) {
		r, page := c.get(path)
		if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/signin") {
			t.Errorf("%s without a session answers %d to %q", path, r.StatusCode, r.Header.Get("Location"))
		}
		if strings.Contains(page.Text(), "10.88.") {
			t.Errorf("%s tells an address to a stranger", path)
		}
	}
	if r, _ := c.get("/live?page=/ha/status"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("the live stream answers a stranger %d", r.StatusCode)
	}
	if r, _ := c.post("/ha/tools/armed", url.Values{"on": {"off"}}); r.StatusCode != http.StatusSeeOther || len(c.engine.told()) != 0 {
		t.Errorf("a stranger's order answers %d and the engine was told %v", r.StatusCode, c.engine.told())
	}
	r, page := c.get("/signin")
	if r.StatusCode != http.StatusOK || page.Find("nav.side, .chip").Length() != 0 {
		t.Errorf("the sign-in page answers %d, or shows the pair", r.StatusCode)
	}
	style, _ := page.Find("link[rel=stylesheet]").Attr("href")
	if r, _ := c.get(style); r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("the stylesheet %s answers %d, %q", style, r.StatusCode, r.Header.Get("Cache-Control"))
	}
}

func TestSessionRules(t *testing.T) {
	c := start(t, newEngine(healthy()))
	r, _ := c.post("/signin", url.Values{"name": {"admin"}, "password": {password}, "next": {"/ha/tools"}})
	if r.Header.Get("Location") != "/ha/tools" {
		t.Errorf("after the sign-in one lands on %q", r.Header.Get("Location"))
	}
	cookie := r.Cookies()[0]
	if cookie.Name != "__Host-evenkeel-a" || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("the cookie is %v", cookie)
	}
	if r, _ := c.get("/ha/status"); r.StatusCode != http.StatusOK {
		t.Errorf("with the session Status answers %d", r.StatusCode)
	}
	r, _ = c.post("/signin", url.Values{"name": {"admin"}, "password": {password}})
	if r.Cookies()[0].Value == cookie.Value {
		t.Error("a second sign-in keeps the token of the first")
	}
	old := c.browser()
	u, _ := url.Parse(c.base)
	old.Jar.SetCookies(u, []*http.Cookie{cookie})
	if r, err := old.Get(c.base + "/ha/status"); err != nil || r.StatusCode != http.StatusSeeOther {
		t.Errorf("the token of before the second sign-in still opens Status: %v %v", r, err)
	}
	kept := r.Cookies()[0]
	if r, _ := c.post("/signout", nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("sign-out answers %d", r.StatusCode)
	}
	old.Jar.SetCookies(u, []*http.Cookie{kept})
	if r, err := old.Get(c.base + "/ha/status"); err != nil || r.StatusCode != http.StatusSeeOther {
		t.Errorf("a token lives after sign-out: %v %v", r, err)
	}
	for _, next := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/signout"} {
		r, _ := c.post("/signin", url.Values{"name": {"admin"}, "password": {password}, "next": {next}})
		if got := r.Header.Get("Location"); got != "/ha/status" {
			t.Errorf("next=%s leads to %q", next, got)
		}
	}
}

func TestSignInIsSlowedDown(t *testing.T) {
	c := start(t, newEngine(healthy()))
	wrong := url.Values{"name": {"admin"}, "password": {"a wrong password"}}
	for i := range 5 {
		r, page := c.post("/signin", wrong)
		if r.StatusCode != http.StatusUnauthorized || page.Find("#sign-in-error").Length() != 1 {
			t.Fatalf("try %d answers %d", i+1, r.StatusCode)
		}
	}
	r, page := c.post("/signin", url.Values{"name": {"admin"}, "password": {password}})
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("after five failures the next try answers %d: %s", r.StatusCode, page.Find("#sign-in-error").Text())
	}
	if page.Find("#name").AttrOr("value", "") != "admin" || strings.Contains(page.Text(), password) {
		t.Error("the name is lost, or the password comes back")
	}
}

// Of many tries at once no more are looked at than may fail one after the other.
func TestParallelTriesAreCounted(t *testing.T) {
	c := start(t, newEngine(healthy()))
	const tries = 100
	answers := make(chan int, tries)
	for i := range tries {
		go func() {
			r, err := c.client.PostForm(c.base+"/signin", url.Values{"name": {"admin"}, "password": {fmt.Sprintf("wrong password %d", i)}})
			if err != nil {
				t.Error(err)
				answers <- 0
				return
			}
			r.Body.Close()
			answers <- r.StatusCode
		}()
	}
	counts := map[int]int{}
	for range tries {
		counts[<-answers]++
	}
	if most := 8; counts[http.StatusUnauthorized] > most || counts[http.StatusUnauthorized]+counts[http.StatusTooManyRequests]+counts[http.StatusServiceUnavailable] != tries {
		t.Errorf("%d wrong passwords at once are answered %v, want at most %d with 401", tries, counts, most)
	}
}

// What a stranger sends is neither kept nor given back in full; a name or a password that nobody can have counts as a wrong one.
func TestHugeNameAndPassword(t *testing.T) {
	c := start(t, newEngine(healthy()))
	huge := strings.Repeat("n", 120<<10)
	for i, form := range []url.Values{{"name": {huge}, "password": {password}}, {"name": {"admin"}, "password": {huge}}, {"name": {huge}, "password": {huge}}, {"name": {"x"}, "password": {huge}}, {"name": {huge}, "password": {""}}} {
		r, page := c.post("/signin", form)
		if html, _ := page.Html(); r.StatusCode != http.StatusUnauthorized || len(html) > 10<<10 {
			t.Errorf("try %d answers %d with %d bytes", i+1, r.StatusCode, len(html))
		}
	}
	if r, _ := c.post("/signin", url.Values{"name": {"admin"}, "password": {password}}); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after five such tries the next one answers %d", r.StatusCode)
	}
	audits, err := c.db.Audits(t.Context(), 10)
	must(t, err)
	if len(audits) != 5 {
		t.Errorf("the audit log has %d rows, want 5", len(audits))
	}
	for _, a := range audits {
		if len(a.User) > 70 || a.Action != "sign-in refused" {
			t.Errorf("the audit log keeps a name of %d bytes for %q", len(a.User), a.Action)
		}
	}
}

func TestHeadersAndForgedRequests(t *testing.T) {
	c := started(t)
	r, _ := c.get("/ha/status")
	csp := r.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("the policy lacks %s: %s", part, csp)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "nonce") {
		t.Errorf("the policy is not strict: %s", csp)
	}
	if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", r.Header)
	}
	forged, _ := http.NewRequest(http.MethodPost, c.base+"/ha/tools/armed", strings.NewReader("on=off"))
	forged.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	forged.Header.Set("Origin", "https://evil.example")
	forged.Header.Set("Sec-Fetch-Site", "cross-site")
	if r, err := c.client.Do(forged); err != nil || r.StatusCode != http.StatusForbidden || len(c.engine.told()) != 0 {
		t.Errorf("a forged order: %v %v, engine told %v", r, err, c.engine.told())
	}
	big := url.Values{"base": {"1"}, "do": {"update"}, "x": {strings.Repeat("y", 300<<10)}}
	if r, _ := c.post("/ha/general", big); r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 300 kB answers %d", r.StatusCode)
	}
	for _, path := range []string{"/ha/tools/armed", "/ha/tools/standby", "/signout"} { // a link must never act
		if r, _ := c.get(path); r.StatusCode == http.StatusOK || len(c.engine.told()) != 0 {
			t.Errorf("GET %s answers %d, engine told %v", path, r.StatusCode, c.engine.told())
		}
	}
}

func TestTamperedEngine(t *testing.T) {
	s := healthy()
	s.Conditions = conditions(`<script>alert(1)</script>`)
	e := newEngine(s)
	e.peer = healthyPeer()
	c := start(t, e).signIn().settled()
	_, page := c.get("/ha/status")
	if page.Find("main script").Length() != 0 || !strings.Contains(page.Find("#conditions").Text(), "<script>") {
		t.Error("a text of the engine became an element")
	}
}

func TestUnreadableSettingsAreAnError(t *testing.T) {
	c := started(t)
	c.db.Close()
	r, page := c.get("/ha/general")
	if r.StatusCode < 500 || page.Text() == "" {
		t.Errorf("with a closed database General answers %d", r.StatusCode)
	}
	c.client = c.browser()
	r, page = c.post("/signin", url.Values{"name": {"admin"}, "password": {password}})
	if text := page.Find("[data-error]").Text(); r.StatusCode < 500 || !strings.Contains(text, "its log says why") || strings.Contains(text, "database") {
		t.Errorf("with a closed database the sign-in answers a stranger %d: %q", r.StatusCode, text)
	}
}
