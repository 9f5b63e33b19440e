package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
)

// desk is somebody signed in at one node's console, without a browser.
type desk struct {
	client *http.Client
	base   string
}

// desk signs in at a node's console.
func (l *lab) desk(t *testing.T, node string) *desk {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{base: l.console(t, node), client: &http.Client{Jar: jar, Timeout: time.Minute,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // the lab's consoles sign their own certificates
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if code, text := d.post(t, "/signin", url.Values{"name": {"admin"}, "password": {l.password}}); code != http.StatusSeeOther {
		t.Fatalf("sign-in at %s answers %d: %s", node, code, text)
	}
	return d
}

// post sends a form as a browser does, and returns the answer's code and what it says is wrong.
func (d *desk) post(t *testing.T, path string, form url.Values) (code int, text string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, d.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", d.base)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	r, err := d.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, d.read(t, r).Find("#error-summary, [data-error], #conflict").Text()
}

func (d *desk) read(t *testing.T, r *http.Response) *goquery.Document {
	t.Helper()
	defer r.Body.Close()
	page, err := goquery.NewDocumentFromReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// form reads a page's settings as a browser would post them.
func (d *desk) form(t *testing.T, path string) url.Values {
	t.Helper()
	r, err := d.client.Get(d.base + path)
	if err != nil {
		t.Fatal(err)
	}
	v := url.Values{}
	d.read(t, r).Find("form#settings").Find("input, select, textarea").Each(func(_ int, s *goquery.Selection) {
		name, _ := s.Attr("name")
		switch goquery.NodeName(s) {
		case "select":
			v.Set(name, s.Find("option[selected]").AttrOr("value", s.Find("option").First().AttrOr("value", "")))
		case "textarea":
			v.Set(name, s.Text())
		default:
			if _, on := s.Attr("checked"); s.AttrOr("type", "") != "checkbox" || on {
				v.Set(name, s.AttrOr("value", ""))
			}
		}
	})
	if v.Get("base") == "" {
		t.Fatalf("%s has no form", path)
	}
	return v
}

// update presses Update on a page after the change; it returns the form as it was, which undo posts again.
func (d *desk) update(t *testing.T, path string, change func(url.Values)) (was url.Values) {
	t.Helper()
	was = d.form(t, path)
	next := url.Values{}
	for name, value := range was {
		next[name] = value
	}
	change(next)
	next.Set("do", "update")
	if code, text := d.post(t, path, next); code != http.StatusSeeOther {
		t.Fatalf("Update on %s answers %d: %s", path, code, text)
	}
	return was
}

// undo puts a page's old values back.
func (d *desk) undo(t *testing.T, path string, was url.Values) {
	t.Helper()
	now := d.form(t, path)
	was.Set("base", now.Get("base"))
	was.Set("do", "update")
	if code, text := d.post(t, path, was); code != http.StatusSeeOther {
		t.Fatalf("Update back on %s answers %d: %s", path, code, text)
	}
}

// set returns a change that enters values; "" takes a check mark away.
func set(pairs ...string) func(url.Values) {
	if len(pairs)%2 != 0 {
		panic(fmt.Sprintf("odd number of words: %q", pairs))
	}
	return func(v url.Values) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				v.Del(pairs[i])
			} else {
				v.Set(pairs[i], pairs[i+1])
			}
		}
	}
}
