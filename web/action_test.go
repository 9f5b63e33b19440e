package web_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// troubled starts a console whose engine says what change makes of a healthy pair.
func troubled(t *testing.T, change func(*control.Status)) *console {
	t.Helper()
	s := healthy()
	change(&s)
	e := newEngine(s)
	e.peer = healthyPeer()
	return start(t, e).signIn().settled()
}

func TestSwitchOver(t *testing.T) {
	c := started(t)
	_, page := c.get("/ha/tools")
	if page.Find("#make-slave").AttrOr("href", "") != "/ha/tools/release" || page.Find("#make-master").Length() != 0 {
		t.Error("on the master the tool to become slave is missing, or the one to become master is offered")
	}
	c.engine.set(func(e *engine) {
		e.outcome.Steps = []control.Step{{Name: "services", State: "waiting", MS: ptr(int64(210))}}
		e.outcome.ExpectedGapMS = ptr(int64(640))
	})
	_, page = c.get("/ha/tools/release")
	if page.Find("#verdict").AttrOr("data-verdict", "") != "ok" || page.Find("[data-step=services]").Length() != 1 || !strings.Contains(page.Find("#gap").Text(), "640 ms") {
		t.Errorf("the dry run shows %q", page.Find("main").Text())
	}
	if told := c.engine.told(); len(told) != 0 {
		t.Fatalf("looking at the dry run told the engine %v", told)
	}
	r, _ := c.post("/ha/tools/release", fields(page.Find("#confirm")))
	if told := c.engine.told(); r.StatusCode != http.StatusSeeOther || len(told) != 1 || told[0] != "release digest=d1 confirm= by=admin" {
		t.Errorf("the button answers %d and tells the engine %v", r.StatusCode, told)
	}
	if got, want := c.audited(2), "Make myself the running slave: -> ordered: force=false digest=d1; Make myself the running slave: -> done: a is the running master."; got != want {
		t.Errorf("the audit log has %s, want %s", got, want)
	}
}

// A page of an old tab, for what is so already, or for what force does not help against: it says so, and has no button.
func TestNothingToSwitch(t *testing.T) {
	for name, x := range map[string]struct {
		path string
		dry  control.Outcome
		want string
	}{
		"it is the master":        {"/ha/tools/takeover", control.Outcome{Code: "already_master", Text: "This node is the running master already."}, "already"},
		"the other is the master": {"/ha/tools/release", control.Outcome{Code: "peer_master", Text: "The other node is the running master."}, "is the running master"},
		"a release knows no force": {"/ha/tools/release?force=on", control.Outcome{Code: "not_master", Text: "This node is not the running master.",
			Blockers: []ha.Blocker{{Code: "not_master", Text: "This node is not the running master."}}}, "It cannot be done now"},
		"force does not help": {"/ha/tools/takeover?force=on", control.Outcome{Code: "peer_master", Text: "The other node is the running master.",
			Blockers: []ha.Blocker{{Code: "peer_master", Text: "The other node is the running master."}}}, "Not even by force"},
	} {
		t.Run(name, func(t *testing.T) {
			c := started(t)
			c.engine.set(func(e *engine) { e.outcome = x.dry })
			_, page := c.get(x.path)
			if !strings.Contains(page.Find("#verdict").Text(), x.want) || page.Find("#confirm").Length() != 0 || page.Find("[data-step]").Length() != 0 {
				t.Errorf("%q, %d buttons, %d steps", page.Find("#verdict").Text(), page.Find("#confirm").Length(), page.Find("[data-step]").Length())
			}
		})
	}
}

// What was green when it was looked at and is not any more is refused, with a fresh preview.
func TestSwitchOverRefused(t *testing.T) {
	c := started(t)
	form := c.form("/ha/tools/release")
	c.engine.set(func(e *engine) {
		e.refuse = &control.Error{Exit: control.ExitRefused, Text: "the pair changed since the preview"}
		e.outcome = control.Outcome{Text: "b is not up to date.", Digest: "d2", Blockers: []ha.Blocker{{Code: "peer_outdated", Text: "b misses 3 MB."}}}
	})
	r, page := c.post("/ha/tools/release", form)
	if r.StatusCode != http.StatusConflict || page.Find("[data-blocker=peer_outdated]").Length() != 1 || page.Find("#act").Length() != 0 {
		t.Errorf("a refused order answers %d: %q", r.StatusCode, page.Find("main").Text())
	}
	if got := c.audited(1); !strings.HasSuffix(got, "-> refused: the pair changed since the preview") {
		t.Errorf("the audit log ends with %s", got)
	}
}

// audited lists the newest n rows of the audit log, oldest first.
func (c *console) audited(n int) string {
	c.t.Helper()
	audits, err := c.db.Audits(context.Background(), n)
	must(c.t, err)
	slices.Reverse(audits)
	var rows []string
	for _, a := range audits {
		rows = append(rows, strings.TrimSpace(a.Action+": "+a.Old)+" -> "+a.New)
	}
	return strings.Join(rows, "; ")
}

// An order that fails is in the audit log too, with the value that was, not with the opposite of what was ordered.
func TestFailedOrdersAreAudited(t *testing.T) {
	c := troubled(t, func(s *control.Status) { s.Volumes[0].Holding = true })
	c.engine.set(func(e *engine) { e.refuse = errors.New("the engine stopped") })
	c.post("/ha/tools/armed", url.Values{"on": {"on"}}) // it is armed already
	if got, want := c.audited(2), "armed: on -> ordered: on; armed: on -> failed: the engine stopped"; got != want {
		t.Errorf("the audit log has %s, want %s", got, want)
	}
	c.post("/ha/tools/standby", url.Values{"on": {"off"}})
	if got, want := c.audited(2), "standby: off -> ordered: off; standby: off -> failed: the engine stopped"; got != want {
		t.Errorf("the audit log has %s, want %s", got, want)
	}
	c.post("/ha/tools/continue/data", url.Values{"confirm": {"b"}})
	if got, want := c.audited(2), "volume.continue: data -> ordered: discard= confirm=b; volume.continue: data -> failed: the engine stopped"; got != want {
		t.Errorf("the audit log has %s, want %s", got, want)
	}
}

// What cannot be read whole, or does not say what is wanted, is no order.
func TestUnreadableOrderDoesNothing(t *testing.T) {
	c := troubled(t, split)
	huge := strings.Repeat("x", 300<<10)
	for _, x := range []struct {
		path string
		form url.Values
		want int
	}{
		{"/ha/tools/armed", nil, http.StatusBadRequest},
		{"/ha/tools/armed", url.Values{"on": {"yes"}}, http.StatusBadRequest},
		{"/ha/tools/armed", url.Values{"a": {huge}, "on": {"on"}}, http.StatusRequestEntityTooLarge},
		{"/ha/tools/standby", nil, http.StatusBadRequest},
		{"/ha/tools/takeover", nil, http.StatusBadRequest},
		{"/ha/tools/release", url.Values{"a": {huge}, "digest": {"d1"}}, http.StatusRequestEntityTooLarge},
		{"/ha/tools/takeover", url.Values{"force": {"on"}, "confirm": {"a"}}, http.StatusBadRequest},
		{"/ha/tools/resolve/data", url.Values{"discard": {"b"}, "confirm": {"b"}, "z": {huge}}, http.StatusRequestEntityTooLarge},
	} {
		if r, page := c.post(x.path, x.form); r.StatusCode != x.want || !strings.Contains(page.Find("[data-error]").Text(), "nothing was done") {
			t.Errorf("%s with %.60v answers %d, want %d: %q", x.path, x.form, r.StatusCode, x.want, page.Find("main").Text())
		}
	}
	r, err := c.client.Post(c.base+"/ha/tools/armed", "text/plain", strings.NewReader("on=off"))
	must(t, err)
	r.Body.Close()
	if told := c.engine.told(); r.StatusCode != http.StatusBadRequest || len(told) != 0 {
		t.Errorf("an order as plain text answers %d, and the engine was told %v", r.StatusCode, told)
	}
}

func TestForceTakesThisNodesName(t *testing.T) {
	c := troubled(t, blocked)
	_, page := c.get("/ha/tools")
	if page.Find("#start-here").AttrOr("href", "") != "/ha/tools/takeover?force=on" {
		t.Error("a blocked node does not offer to start with its data")
	}
	form := c.form("/ha/tools/takeover?force=on")
	form.Set("confirm", "b")
	r, page := c.post("/ha/tools/takeover", form)
	if r.StatusCode != http.StatusUnprocessableEntity || page.Find("#f-confirm").AttrOr("aria-invalid", "") != "true" || len(c.engine.told()) != 0 {
		t.Errorf("the wrong name answers %d, engine told %v", r.StatusCode, c.engine.told())
	}
	form.Set("confirm", "a")
	c.post("/ha/tools/takeover", form)
	if told := c.engine.told(); len(told) != 1 || !strings.Contains(told[0], "confirm=a") {
		t.Errorf("the engine was told %v", told)
	}
}

func TestResolveTakesTheNameTwice(t *testing.T) {
	c := troubled(t, split)
	_, page := c.get("/ha/status")
	if page.Find("[data-sentence=critical]").Length() != 1 || page.Find("#conditions a[href='/ha/tools#split-brain']").Length() != 1 {
		t.Error("Status does not open with the split-brain, or does not lead to where it is resolved")
	}
	path := "/ha/tools/resolve/data"
	for _, wrong := range []url.Values{{}, {"discard": {"b"}}, {"discard": {"b"}, "confirm": {"a"}}, {"discard": {"c"}, "confirm": {"c"}}} {
		if r, page := c.post(path, wrong); r.StatusCode != http.StatusUnprocessableEntity || page.Find("#error-summary").Length() != 1 {
			t.Errorf("%v answers %d", wrong, r.StatusCode)
		}
	}
	if told := c.engine.told(); len(told) != 0 {
		t.Fatalf("half a confirmation told the engine %v", told)
	}
	c.post(path, url.Values{"discard": {"b"}, "confirm": {"b"}})
	if told := c.engine.told(); len(told) != 1 || told[0] != "resolve data discard=b confirm=b" {
		t.Errorf("the engine was told %v", told)
	}
	if r, _ := c.get("/ha/tools/resolve/nothing"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a volume that does not exist answers %d", r.StatusCode)
	}
}

func TestGoOnAlone(t *testing.T) {
	c := troubled(t, func(s *control.Status) { s.Volumes[0].Holding = true })
	if _, page := c.get("/ha/tools"); page.Find("#continue-data").Length() != 1 {
		t.Error("a holding volume does not offer to go on alone")
	}
	if r, _ := c.post("/ha/tools/continue/data", url.Values{"confirm": {"a"}}); r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("the wrong name answers %d", r.StatusCode)
	}
	c.post("/ha/tools/continue/data", url.Values{"confirm": {"b"}})
	if told := c.engine.told(); len(told) != 1 || told[0] != "continue data discard= confirm=b" {
		t.Errorf("the engine was told %v", told)
	}
}

func TestStandbyAndArming(t *testing.T) {
	c := started(t)
	c.post("/ha/tools/standby", url.Values{"on": {"on"}})
	c.post("/ha/tools/armed", url.Values{"on": {"off"}})
	if _, page := c.get("/ha/tools"); !strings.Contains(page.Find("[data-notice=ok]").Text(), "a is the running master") { // what the made-up engine says
		t.Errorf("the notice is %q", page.Find("[data-notice]").Text())
	}
	c.engine.set(func(e *engine) { e.outcome.Text = ha.ReasonDone.Text() })
	c.post("/ha/tools/standby", url.Values{"on": {"off"}})
	if _, page := c.get("/ha/tools"); !strings.Contains(page.Find("[data-notice=ok]").Text(), "Standby has ended.") {
		t.Errorf("the notice is %q", page.Find("[data-notice]").Text())
	}
	if told := strings.Join(c.engine.told(), ", "); told != "standby on, armed off, standby off" {
		t.Errorf("the engine was told %s", told)
	}
}

func TestHealthyToolsOfferNothingDangerous(t *testing.T) {
	_, page := started(t).get("/ha/tools")
	for _, id := range []string{"#split-brain", "#alone", "#person"} {
		if page.Find(id).Length() != 0 {
			t.Errorf("a healthy pair shows %s", id)
		}
	}
}

func TestLogs(t *testing.T) {
	c := started(t)
	codes := func(query string) string {
		_, page := c.get("/ha/logs?" + query)
		var list []string
		page.Find("[data-event]").Each(func(_ int, s *goquerySelection) {
			list = append(list, s.AttrOr("data-node", "")+":"+s.AttrOr("data-event", ""))
		})
		return strings.Join(list, " ")
	}
	for query, want := range map[string]string{
		"log=heartbeat&node=a":                  "a:link.up a:link.quiet",
		"log=heartbeat&node=a&severity=warning": "a:link.quiet",
		"log=failover&node=a&text=DEAD":         "a:role a:peer.dead",
		"log=failover&node=b":                   "b:role",
		"log=failover":                          "b:role a:role a:role a:peer.dead",
	} {
		if got := codes(query); got != want {
			t.Errorf("%s shows %q, want %q", query, got, want)
		}
	}
	c.engine.set(func(e *engine) { e.peer = nil })
	_, page := c.get("/ha/logs?log=failover")
	if page.Find("[data-event]").Length() != 3 || !strings.Contains(page.Find("#log .notice").Text(), "b cannot be read") {
		t.Errorf("with the peer away the log shows %q", page.Find("#log").Text())
	}
	if _, page = c.get("/ha/logs?follow=on"); page.Find("body").AttrOr("data-live", "") == "" || !strings.Contains(page.Find("noscript").Text(), "refresh") {
		t.Error("follow does not work without JavaScript, or with it")
	}
}

// A node that is not heard is not asked for its log: the page says so at once. One that hangs holds the live page up for a second at
// most, or this node would look silent.
func TestLogsOfAPeerThatIsAway(t *testing.T) {
	c := started(t)
	c.engine.set(func(e *engine) { alone(&e.status) })
	c.until("/ha/status", `[data-condition="peer.dead"]`)
	_, page := c.get("/ha/logs?log=failover")
	if text := page.Find("#log .notice").Text(); page.Find("[data-event]").Length() != 3 || !strings.Contains(text, "b is dead: its log is shown again") {
		t.Errorf("the log shows %q", page.Find("#log").Text())
	}
	c.engine.set(func(e *engine) {
		if len(e.waits) != 0 {
			t.Errorf("a dead node was asked for its log %d times", len(e.waits))
		}
		e.status = healthy()
	})
	c.until("/ha/status", "[data-sentence=ok]")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/live?page=%2Fha%2Flogs&log=failover", nil)
	must(t, err)
	r, err := c.client.Do(request)
	must(t, err)
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "data-node=\"b\"") {
	}
	c.engine.set(func(e *engine) {
		if len(e.waits) == 0 || e.waits[0] > time.Second {
			t.Errorf("a live page waits %v for the log of b: %v", e.waits, lines.Err())
		}
	})
}

// A green lamp on a dead node is the worst fault that a console can have.
func TestOldStatusTurnsGrey(t *testing.T) {
	c := started(t)
	c.engine.set(func(e *engine) { e.silent = true })
	for deadline := time.Now().Add(15 * time.Second); ; {
		_, page := c.get("/ha/status")
		if page.Find("#bar").AttrOr("data-stale", "") == "true" {
			if n := page.Find("#drawing .is-ok, #links .is-ok, #bar .chip.is-ok, #takeover .is-ok").Length(); n != 0 {
				t.Errorf("%d lamps are green although nothing is heard", n)
			}
			if !strings.Contains(page.Find("#sentence").Text(), "No word") {
				t.Errorf("the sentence is %q", page.Find("#sentence").Text())
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an old status never turned grey")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// The live stream sends the whole page at first, and what changed soon after it changed.
func TestLive(t *testing.T) {
	c := started(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/live?page=%2Fha%2Fstatus", nil)
	must(t, err)
	r, err := c.client.Do(request)
	must(t, err)
	defer r.Body.Close()
	if r.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream is %q", r.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	await := func(text string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("the stream ended without %q: %v", text, lines.Err())
	}
	await("event: hello")
	await("data-sentence=\"ok\"")
	c.engine.set(func(e *engine) { alone(&e.status); e.peer = nil })
	began := time.Now()
	await("data-condition=\"peer.dead\"")
	t.Logf("a change was on the page's stream after %v", time.Since(began).Round(time.Millisecond))
}

// A page on which nothing changes hears every second that its node lives: it turns grey after three.
func TestQuietPageStaysAlive(t *testing.T) {
	c := started(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/live?page=none", nil)
	must(t, err)
	r, err := c.client.Do(request)
	must(t, err)
	defer r.Body.Close()
	began, events := time.Now(), 0
	for lines := bufio.NewScanner(r.Body); lines.Scan() && events < 5; {
		if strings.HasPrefix(lines.Text(), "event: ") {
			events++
		}
	}
	if took := time.Since(began); events < 5 || took > 15*time.Second {
		t.Errorf("%d events in %v on a page where nothing changes", events, took)
	}
}

// The status page works as long as nobody ever heard of the engine.
func TestEngineNeverAnswered(t *testing.T) {
	e := newEngine(healthy())
	e.silent = true
	c := start(t, e).signIn()
	for _, path := range pages {
		if r, page := c.get(path); r.StatusCode != http.StatusOK || page.Find(".badge.is-ok").Length() != 0 {
			t.Errorf("%s without an engine answers %d with %d green lamps", path, r.StatusCode, page.Find(".badge.is-ok").Length())
		}
	}
}

func TestEngineAwayIsOneSentence(t *testing.T) {
	c := started(t)
	c.engine.set(func(e *engine) { e.refuse = errors.New("Evenkeel is not running here") })
	if r, page := c.post("/ha/tools/release", url.Values{"digest": {"d1"}}); r.StatusCode < 500 || !strings.Contains(page.Find("[data-error]").Text(), "not running") {
		t.Errorf("an order without an engine answers %d: %q", r.StatusCode, page.Find("main").Text())
	}
}
