package web_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// save posts a page with one field changed.
func (c *console) save(path, field, value string) (*http.Response, *goqueryDocument) {
	form := c.form(path)
	form.Set(field, value)
	form.Set("do", "update")
	return c.post(path, form)
}

// One fault has one message, at its field, with the value and the unit that were typed.
func TestOneMessageAtTheField(t *testing.T) {
	c := started(t)
	for _, x := range []struct{ path, field, value, says string }{
		{"/ha/general", "general.master_address", "10.88.1.100", "10.88.1.100 is a virtual address"},
		{"/ha/general", "general.master_address", strings.Repeat("x", 500), "xxx..."},
		{"/ha/heartbeat", "heartbeat.interval", "", "Nothing is entered: enter a number"},
		{"/ha/heartbeat", "heartbeat.interval", "6", "choose Custom"},
		{"/ha/heartbeat", "heartbeat.dead_time", "99999", "99999 is too much"},
		{"/ha/heartbeat", "heartbeat.dead_time", "3 s", "is not a time in seconds"},
		{"/ha/heartbeat", "heartbeat.dead_time", "1_000", "is not a time in seconds"},
		{"/ha/heartbeat", "heartbeat.cluster_id", "", "Nothing is entered: enter a whole number from 0 to 63"},
		{"/ha/heartbeat", "heartbeat.devices[0].device", "", "missing: enter one such as eth1"},
		{"/ha/replication", "replication.rate", "0", "0 MB/s would never end"},
		{"/ha/replication", "replication.rate", "0.005", "0.005 MB/s is out of range"},
		{"/ha/replication", "replication.volumes[0].name", "-a", "letter or digit first"},
		{"/ha/addresses", "addresses[0].address", "10.88.1.254/24", "the reference point"},
		{"/ha/addresses", "addresses[0].aliases", strings.Repeat("10.88.1.7/24\n", 40), "more than 32 aliases"},
	} {
		r, page := c.save(x.path, x.field, x.value)
		errors := page.Find("p.error")
		id := page.Find(`[name="`+x.field+`"]`).AttrOr("id", "?") + "-error"
		if r.StatusCode != http.StatusUnprocessableEntity || errors.Length() != 1 || errors.AttrOr("id", "") != id || !strings.Contains(errors.Text(), x.says) {
			t.Errorf("%s = %.30q answers %d, %d messages: %q", x.field, x.value, r.StatusCode, errors.Length(), errors.Text())
		}
		if lines := page.Find("#error-summary li"); lines.Length() != 1 || len(errors.Text()) > 250 || strings.Contains(errors.Text(), "(A") {
			t.Errorf("%s = %.30q: the summary has %d lines: %q", x.field, x.value, lines.Length(), lines.Text())
		}
	}
}

func TestHugeFormIsOneSentence(t *testing.T) {
	c := started(t)
	r, page := c.save("/ha/general", "general.references[0].name", strings.Repeat("x", 300<<10))
	if text := page.Find("[data-error]").Text(); r.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(text, "256 KB") {
		t.Errorf("a form of 300 KB answers %d: %q", r.StatusCode, text)
	}
}

// The comparison speaks of fields, also of those in a row that somebody else added.
func TestConflictNamesFields(t *testing.T) {
	c := started(t)
	form := c.form("/ha/general")
	other := labSettings()
	other.General.Active = false
	other.General.References = append(other.General.References, ha.Reference{Name: "printer", Address: netip.MustParseAddr("10.88.1.77")})
	_, err := c.db.Save(t.Context(), other, 1, "eve")
	must(t, err)
	form.Set("do", "update")
	_, page := c.post("/ha/general", form)
	var rows []string
	page.Find("#conflict tbody tr").Each(func(_ int, s *goquerySelection) {
		rows = append(rows, strings.Join(s.Children().Map(func(_ int, cell *goquerySelection) string { return cell.Text() }), " "))
	})
	if want := "High Availability Active on off; printer, Address (empty) 10.88.1.77; printer, Name (empty) printer"; strings.Join(rows, "; ") != want {
		t.Errorf("the comparison shows %q, want %q", rows, want)
	}
}

// A form of an old revision does not bear the newest one's author.
func TestOldFormHasNoAuthor(t *testing.T) {
	c := started(t)
	form := c.form("/ha/general")
	form.Set("do", "add:general.references")
	if _, page := c.post("/ha/general", form); !strings.Contains(page.Find(".buttons").Text(), "Revision 1, saved by lab") {
		t.Errorf("the form of the newest revision says %q", page.Find(".buttons").Text())
	}
	_, err := c.db.Save(t.Context(), labSettings(), 1, "eve")
	must(t, err)
	if _, page := c.post("/ha/general", form); strings.Contains(page.Find(".buttons").Text(), "saved by") || page.Find("[name=base]").AttrOr("value", "") != "1" {
		t.Errorf("the form of revision 1 says %q", page.Find(".buttons").Text())
	}
}

// What the contract has as null is not known, and no number.
func TestUnknownIsNoNumber(t *testing.T) {
	c := troubled(t, func(s *control.Status) {
		s.Volumes[0] = control.Volume{Name: "data", Role: "Secondary", Disk: "Diskless", PeerDisk: "DUnknown", Connection: "StandAlone", SplitBrain: true}
		s.Processes[3] = control.Process{Name: "web", Restarts: 2}
	})
	cells := func(path, row string) string {
		_, page := c.get(path)
		texts := page.Find(row).First().Find("td").Map(func(_ int, s *goquerySelection) string { return strings.Join(strings.Fields(s.Text()), "") })
		return strings.Join(texts, " ")
	}
	for _, x := range []struct{ path, row, want string }{
		{"/ha/replication", "#volumes tr[data-row=data]", "data ✕Split-brain Secondary DUnknown StandAlone - - - -"},
		{"/ha/tools/resolve/data", "#both-sides tr[data-row=a]", "a Diskless Secondary - - -"},
		{"/ha/status", "#processes tr[data-row=web]", "web - 2 -"},
	} {
		if got := cells(x.path, x.row); got != x.want {
			t.Errorf("%s shows %q, want %q", x.path, got, x.want)
		}
	}
}

// An engine that hangs makes no page hang, and is ordered nothing.
func TestEngineHangs(t *testing.T) {
	c := started(t)
	c.engine.set(func(e *engine) { e.silent = true })
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, page := c.get("/ha/tools"); page.Find("#bar").AttrOr("data-stale", "") == "true" {
			if n := page.Find("main button, main a.button").Length(); n != 0 {
				t.Errorf("%d tools are offered while the engine does not answer", n)
			}
			if worst := page.Find("[data-worst]").AttrOr("data-worst", ""); worst != "unknown" || strings.Contains(page.Find("[data-worst]").Text(), "well") {
				t.Errorf("the top bar says %q", page.Find("[data-worst]").Text())
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the status never became old")
		}
	}
	if r, page := c.get("/ha/tools/release"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(page.Find("[data-error]").Text(), "does not answer") {
		t.Errorf("the dry run answers %d: %q", r.StatusCode, page.Find("main").Text())
	}
	for path, form := range map[string]url.Values{"/ha/tools/release": {"digest": {"d1"}}, "/ha/tools/standby": {"on": {"on"}}, "/ha/tools/armed": {"on": {"off"}}} {
		if r, _ := c.post(path, form); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s answers %d", path, r.StatusCode)
		}
	}
	if told := c.engine.told(); len(told) != 0 {
		t.Errorf("the engine was told %v", told)
	}
}

// The lamps of the top bar live on every page, and on none that needs no session.
func TestEveryPageIsLive(t *testing.T) {
	c := troubled(t, split)
	for _, path := range append([]string{"/ha/tools/takeover", "/ha/tools/takeover?force=on", "/ha/tools/resolve/data", "/ha/nothing"}, pages...) {
		if _, page := c.get(path); page.Find("body").AttrOr("data-live", "") == "" || page.Find("#old").Length() != 1 {
			t.Errorf("%s is not live", path)
		}
	}
	if _, page := c.get("/signin"); page.Find("[data-live]").Length() != 0 {
		t.Error("the sign-in page asks for the live stream, which needs a session")
	}
}

// The sentence is as good as what is known, in one breath.
func TestSentence(t *testing.T) {
	for _, x := range []struct {
		name string
		own  func(*control.Status)
		peer func(*control.Status)
		kind string
		says string
	}{
		{"slave starts", func(s *control.Status) { s.Peer.State = ptr("starting") }, nil, "warning", "b is starting"},
		{"slave outdated", nil, func(s *control.Status) {
			s.Takeover = control.Takeover{Blockers: []ha.Blocker{{Code: string(ha.ReasonDiskOutdated), Text: ha.ReasonDiskOutdated.Text()}}}
		}, "warning", "b cannot take over: its copy of the data is outdated."},
		{"beats missing", func(s *control.Status) { s.Peer.Alive, s.Peer.Verdict = false, "suspect" }, nil, "warning", "misses the beats of b"},
		{"dead", alone, nil, "critical", "a serves as master alone: b is dead."},
	} {
		t.Run(x.name, func(t *testing.T) {
			s, p := healthy(), healthyPeer()
			if x.own != nil {
				x.own(&s)
			}
			if x.peer != nil {
				x.peer(p)
			}
			e := newEngine(s)
			e.peer = p
			c := start(t, e).signIn()
			var text string
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				_, page := c.get("/ha/status")
				sentence := page.Find("#sentence")
				if text = sentence.Text(); sentence.AttrOr("data-sentence", "") == x.kind && strings.Contains(text, x.says) {
					return
				}
			}
			t.Errorf("the sentence is %q", text)
		})
	}
}

// A node that waits for a person says so in the top bar and leads there.
func TestBlockedLeadsToTheTool(t *testing.T) {
	c := troubled(t, blocked)
	_, page := c.get("/ha/status")
	if page.Find("#takeover a[href='/ha/tools#person']").Length() != 1 || page.Find("[data-worst=critical]").Length() != 1 {
		t.Errorf("Status says %q, the bar %q", page.Find("#takeover").Text(), page.Find("[data-worst]").Text())
	}
	if text := page.Find(".pair.wide").Text(); strings.Contains(text, "never heard, never heard") {
		t.Errorf("the drawing stammers: %q", text)
	}
}
