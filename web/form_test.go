package web_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

type (
	goquerySelection = goquery.Selection
	goqueryDocument  = goquery.Document
)

func conditions(text string) []control.Condition {
	return []control.Condition{{Condition: ha.Condition{Code: "link.quiet", Severity: ha.Warning, Side: "local", Text: text, Remedy: "Look at the cable."}, Since: time.Now()}}
}

// What a form shows and posts back unchanged changes nothing: every field survives the way through the page.
func TestFormsAreFaithful(t *testing.T) {
	c := started(t)
	for _, path := range pages[1:6] {
		form := c.form(path)
		form.Set("do", "update")
		r, page := c.post(path, form)
		if r.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: an unchanged form answers %d: %s", path, r.StatusCode, page.Find("#error-summary").Text())
		}
	}
	if latest, err := c.db.Latest(context.Background()); err != nil || latest.Revision != 1 {
		t.Errorf("unchanged forms made revision %d, %v", latest.Revision, err)
	}
}

// Each field of each page reaches the settings.
func TestUpdate(t *testing.T) {
	for _, c := range []struct {
		name, path string
		set        url.Values
		drop       []string
		holds      func(ha.Settings) bool
	}{
		{"HA off (A21)", "/ha/general", nil, []string{"general.active"}, func(s ha.Settings) bool { return !s.General.Active }},
		{"addresses (A22, A23)", "/ha/general", url.Values{"general.master_address": {"10.88.1.11"}, "general.slave_address": {"10.88.1.12"}}, nil,
			func(s ha.Settings) bool {
				return s.General.MasterAddress.String() == "10.88.1.11" && s.General.SlaveAddress.String() == "10.88.1.12"
			}},
		{"reference point", "/ha/general", url.Values{"general.references[1].name": {"printer"}, "general.references[1].address": {"10.88.1.77"}}, nil,
			func(s ha.Settings) bool {
				return len(s.General.References) == 2 && s.General.References[1].Name == "printer"
			}},
		{"named profile sets its times", "/ha/heartbeat", url.Values{"heartbeat.profile": {"fast"}}, nil,
			func(s ha.Settings) bool {
				return s.Heartbeat.Interval == 100*time.Millisecond && s.Heartbeat.DeadTime == 600*time.Millisecond
			}},
		{"own times (A9)", "/ha/heartbeat", url.Values{"heartbeat.profile": {"custom"}, "heartbeat.interval": {"0,5"}, "heartbeat.dead_time": {"4.5"}}, nil,
			func(s ha.Settings) bool {
				return s.Heartbeat.Interval == 500*time.Millisecond && s.Heartbeat.DeadTime == 4500*time.Millisecond
			}},
		{"serial off (A6)", "/ha/heartbeat", nil, []string{"heartbeat.serial"}, func(s ha.Settings) bool { return !s.Heartbeat.Serial }},
		{"serial devices (A7)", "/ha/heartbeat", url.Values{"heartbeat.master_serial": {"/dev/ttyS1"}, "heartbeat.slave_serial": {"/dev/ttyS2"}, "heartbeat.baud": {"9600"}}, nil,
			func(s ha.Settings) bool {
				return s.Heartbeat.MasterSerial == "/dev/ttyS1" && s.Heartbeat.SlaveSerial == "/dev/ttyS2" && s.Heartbeat.Baud == 9600
			}},
		{"device off (N9)", "/ha/heartbeat", nil, []string{"heartbeat.devices[1].send"}, func(s ha.Settings) bool { return !s.Heartbeat.Devices[1].Send }},
		{"sync device and cluster id (N6, N17)", "/ha/heartbeat", url.Values{"heartbeat.sync_device": {"lan"}, "heartbeat.cluster_id": {"63"}, "heartbeat.boot_wait": {"7.5"}}, nil,
			func(s ha.Settings) bool {
				return s.Heartbeat.SyncDevice == "lan" && s.Heartbeat.ClusterID == 63 && s.Heartbeat.BootWait == 7500*time.Millisecond
			}},
		{"speed (A33)", "/ha/replication", url.Values{"replication.rate": {"12.5"}}, nil, func(s ha.Settings) bool { return s.Replication.Rate == 12_500_000 }},
		{"via LAN (A34)", "/ha/replication", url.Values{"replication.via_lan": {"on"}, "replication.master_address": {""}, "replication.slave_address": {""}}, nil,
			func(s ha.Settings) bool { return s.Replication.ViaLAN && !s.Replication.MasterAddress.IsValid() }},
		{"volume", "/ha/replication", url.Values{"replication.volumes[0].mount_point": {"/srv/other"}}, nil, func(s ha.Settings) bool { return s.Replication.Volumes[0].MountPoint == "/srv/other" }},
		{"virtual address with aliases (A36 to A41)", "/ha/addresses", url.Values{"addresses[0].address": {"10.88.1.120/24"}, "addresses[0].aliases": {"10.88.1.121/24\n10.88.1.122/24"}}, []string{"addresses[1].enabled"},
			func(s ha.Settings) bool {
				return s.Addresses[0].Address.String() == "10.88.1.120/24" && len(s.Addresses[0].Aliases) == 2 && !s.Addresses[1].Enabled
			}},
		{"service (A47)", "/ha/services", url.Values{"services[1].placement": {"slave"}}, nil, func(s ha.Settings) bool { return s.Services[1].Placement == ha.SlaveSide }},
	} {
		t.Run(c.name, func(t *testing.T) {
			console := started(t)
			form := console.form(c.path)
			for name, value := range c.set {
				form[name] = value
			}
			for _, name := range c.drop {
				form.Del(name)
			}
			form.Set("do", "update")
			r, page := console.post(c.path, form)
			if r.StatusCode != http.StatusSeeOther {
				t.Fatalf("Update answers %d: %s", r.StatusCode, page.Find("#error-summary").Text())
			}
			latest, err := console.db.Latest(context.Background())
			must(t, err)
			if latest.Revision != 2 || latest.SavedBy != "admin" || !c.holds(latest) {
				t.Errorf("revision %d by %s does not hold what was entered: %+v", latest.Revision, latest.SavedBy, latest)
			}
			if told := console.engine.told(); !slices.Equal(told, []string{"settings 2ns"}) {
				t.Errorf("the engine was told %v, want revision 2", told)
			}
			if _, page := console.get(c.path); page.Find("[data-notice=ok]").Length() != 1 {
				t.Error("the page does not say that it is saved")
			}
			if audits, _ := console.db.Audits(context.Background(), 1); len(audits) != 1 || audits[0].Action != "settings.save" || audits[0].User != "admin" {
				t.Errorf("the audit log has %v", audits)
			}
		})
	}
}

func TestWrongValuesAreNamedAtTheirField(t *testing.T) {
	c := started(t)
	for _, x := range []struct {
		path, field, value, says string
	}{
		{"/ha/general", "general.master_address", "10.88.1", "is not an address"},
		{"/ha/general", "general.slave_address", "10.88.1.1", "Both nodes"},
		{"/ha/general", "general.references[0].address", "10.88.1.2", "reference point"},
		{"/ha/heartbeat", "heartbeat.dead_time", "0.5", "Time-out"},
		{"/ha/heartbeat", "heartbeat.dead_time", "soon", "is not a time in seconds"},
		{"/ha/heartbeat", "heartbeat.cluster_id", "64", "0 to 63"},
		{"/ha/heartbeat", "heartbeat.devices[0].device", "no such/device", "not the name"},
		{"/ha/replication", "replication.rate", "fast", "MB/s"},
		{"/ha/replication", "replication.volumes[0].master_backing", "/etc/passwd", "backing device"},
		{"/ha/replication", "replication.volumes[0].mount_point", "/etc", "mount point"},
		{"/ha/addresses", "addresses[0].address", "10.88.1.100", "prefix length"},
		{"/ha/addresses", "addresses[1].address", "10.88.1.100/24", ""},
		{"/ha/addresses", "addresses[0].aliases", "10.88.1.101/24 nonsense", "nonsense"},
		{"/ha/services", "services[1].name", "guestbook", ""},
		{"/ha/services", "services[0].name", "sh", "catalogue"},
	} {
		form := c.form(x.path)
		form.Set(x.field, x.value)
		form.Set("do", "update")
		r, page := c.post(x.path, form)
		if r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s = %q answers %d", x.field, x.value, r.StatusCode)
			continue
		}
		input := page.Find(`[name="` + x.field + `"]`)
		if input.AttrOr("aria-invalid", "") != "true" {
			t.Errorf("%s = %q: the field is not marked; the summary says %q", x.field, x.value, page.Find("#error-summary").Text())
			continue
		}
		message := page.Find("#" + input.AttrOr("id", "") + "-error").Text()
		if !strings.Contains(message, x.says) || !strings.Contains(input.AttrOr("aria-describedby", ""), input.AttrOr("id", "")+"-error") {
			t.Errorf("%s = %q says %q, want %q, described by %q", x.field, x.value, message, x.says, input.AttrOr("aria-describedby", ""))
		}
		if page.Find(`#error-summary a[href="#`+input.AttrOr("id", "")+`"]`).Length() == 0 || !strings.HasPrefix(strings.TrimSpace(page.Find("title").Text()), "Error:") {
			t.Errorf("%s: the summary does not lead to the field, or the title does not say Error: %q", x.field, page.Find("title").Text())
		}
		kept := input.AttrOr("value", "")
		if goquery.NodeName(input) == "textarea" {
			kept = input.Text()
		}
		if goquery.NodeName(input) == "select" {
			kept = input.Find("option[selected]").AttrOr("value", "")
		}
		if kept != x.value {
			t.Errorf("%s: what was entered is lost: %q", x.field, kept)
		}
	}
	if latest, _ := c.db.Latest(context.Background()); latest.Revision != 1 || len(c.engine.told()) != 0 {
		t.Errorf("wrong values made revision %d and told the engine %v", latest.Revision, c.engine.told())
	}
}

// A time typed under a named profile is not dropped without a word.
func TestTimeOfAnotherProfileIsRefused(t *testing.T) {
	c := started(t)
	form := c.form("/ha/heartbeat")
	form.Set("heartbeat.dead_time", "8")
	form.Set("do", "update")
	_, page := c.post("/ha/heartbeat", form)
	if text := page.Find("#f-heartbeat-dead-time-error").Text(); !strings.Contains(text, "Custom") {
		t.Errorf("a time-out of 8 s under Standard says %q", text)
	}
}

func TestStaleFormShowsBothValues(t *testing.T) {
	c := started(t)
	form := c.form("/ha/heartbeat")
	other := labSettings()
	other.Heartbeat.ClusterID = 9
	_, err := c.db.Save(context.Background(), other, 1, "eve")
	must(t, err)
	form.Set("heartbeat.cluster_id", "11")
	form.Set("do", "update")
	r, page := c.post("/ha/heartbeat", form)
	text := page.Find("#conflict").Text()
	if r.StatusCode != http.StatusConflict || !strings.Contains(text, "eve") || !strings.Contains(text, "11") || !strings.Contains(text, "9") {
		t.Fatalf("a stale form answers %d: %s", r.StatusCode, text)
	}
	if page.Find(`[name="heartbeat.cluster_id"]`).AttrOr("value", "") != "11" {
		t.Error("what was entered is lost")
	}
	again := fields(page.Find("form#settings"))
	again.Set("do", "update")
	if r, _ := c.post("/ha/heartbeat", again); r.StatusCode != http.StatusSeeOther {
		t.Errorf("saving again after the comparison answers %d", r.StatusCode)
	}
	if latest, _ := c.db.Latest(context.Background()); latest.Revision != 3 || latest.Heartbeat.ClusterID != 11 {
		t.Errorf("revision %d has cluster id %d", latest.Revision, latest.Heartbeat.ClusterID)
	}
}

// What was entered while the session ended comes back after the sign-in, and is not carried out by itself.
func TestFormSurvivesTheSignIn(t *testing.T) {
	c := started(t)
	form := c.form("/ha/heartbeat")
	form.Set("heartbeat.cluster_id", "11")
	form.Set("do", "update")
	c.client = c.browser()
	r, page := c.post("/ha/heartbeat", form)
	if r.StatusCode != http.StatusUnauthorized || page.Find("#kept").Length() != 1 || page.Find("nav.side, .chip").Length() != 0 {
		t.Fatalf("a form without a session answers %d: %q", r.StatusCode, page.Text())
	}
	door := fields(page.Find("#sign-in"))
	door.Set("name", "admin")
	door.Set("password", "a wrong password")
	_, page = c.post("/signin", door)
	door = fields(page.Find("#sign-in"))
	door.Set("password", password)
	r, page = c.post("/signin", door)
	if r.StatusCode != http.StatusOK || page.Find(`[name="heartbeat.cluster_id"]`).AttrOr("value", "") != "11" || page.Find("[data-unsaved]").Length() != 1 || page.Find(".user").Text() != "admin" {
		t.Fatalf("after the sign-in stands %d: %q", r.StatusCode, page.Find("main").Text())
	}
	if latest, err := c.db.Latest(t.Context()); err != nil || latest.Revision != 1 || len(c.engine.told()) != 0 {
		t.Errorf("the sign-in alone made revision %d, %v, and told the engine %v", latest.Revision, err, c.engine.told())
	}
	again := fields(page.Find("form#settings"))
	again.Set("do", "update")
	if r, _ = c.post(page.Find("form#settings").AttrOr("action", ""), again); r.StatusCode != http.StatusSeeOther {
		t.Errorf("Update answers %d", r.StatusCode)
	}
	if latest, err := c.db.Latest(t.Context()); err != nil || latest.Revision != 2 || latest.Heartbeat.ClusterID != 11 {
		t.Errorf("revision %d has cluster id %d, %v", latest.Revision, latest.Heartbeat.ClusterID, err)
	}
}

// Nothing but a form of settings is carried through the sign-in.
func TestOrdersDoNotSurviveTheSignIn(t *testing.T) {
	c := start(t, newEngine(healthy()))
	for _, path := range []string{"/ha/tools/armed", "/ha/tools/takeover", "/signout"} {
		if r, page := c.post(path, url.Values{"on": {"off"}, "digest": {"d1"}}); r.StatusCode != http.StatusSeeOther || page.Find("[name=kept]").Length() != 0 {
			t.Errorf("%s without a session answers %d", path, r.StatusCode)
		}
		door := url.Values{"name": {"admin"}, "password": {password}, "next": {path}, "kept": {"on=off&digest=d1"}}
		if r, _ := c.post("/signin", door); r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/ha/") {
			t.Errorf("a sign-in with an order for %s answers %d", path, r.StatusCode)
		}
		c.client = c.browser()
	}
	if told := c.engine.told(); len(told) != 0 {
		t.Errorf("the engine was told %v", told)
	}
}

func TestRowsWithoutSaving(t *testing.T) {
	c := started(t)
	for path, list := range map[string]string{"/ha/general": "general.references", "/ha/heartbeat": "heartbeat.devices", "/ha/replication": "replication.volumes", "/ha/addresses": "addresses", "/ha/services": "services"} {
		form := c.form(path)
		_, page := c.get(path)
		before := page.Find("[data-item]").Length()
		form.Set("do", "add:"+list)
		_, page = c.post(path, form)
		if got := page.Find("[data-item]").Length(); got != before+1 || page.Find("[data-unsaved]").Length() != 1 {
			t.Errorf("%s: %d rows after adding one to %d", path, got, before)
		}
		first, _ := page.Find("[data-item]").First().Attr("data-item")
		form = fields(page.Find("form#settings"))
		form.Set("do", "remove:"+list+":0")
		_, page = c.post(path, form)
		if got := page.Find("[data-item]").Length(); got != before || page.Find("[data-item]").First().AttrOr("data-item", "") == first {
			t.Errorf("%s: removing the first of %d rows leaves %d", path, before+1, got)
		}
		if r, _ := c.post(path, url.Values{"base": {"1"}, "do": {"remove:" + list + ":77"}}); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: removing a row that is not there answers %d", path, r.StatusCode)
		}
	}
	if latest, _ := c.db.Latest(context.Background()); latest.Revision != 1 {
		t.Errorf("adding and removing rows made revision %d", latest.Revision)
	}
}

func TestSavedButNotInForce(t *testing.T) {
	c := started(t)
	c.engine.set(func(e *engine) {
		e.refuse = &control.Error{Exit: control.ExitRefused, Text: "the device eth9 does not exist here"}
	})
	form := c.form("/ha/heartbeat")
	form.Set("heartbeat.cluster_id", "12")
	form.Set("do", "update")
	c.post("/ha/heartbeat", form)
	if _, page := c.get("/ha/heartbeat"); !strings.Contains(page.Find("[data-notice=warning]").Text(), "eth9") {
		t.Errorf("the engine's refusal is not shown: %q", page.Find("[data-notice]").Text())
	}
}

// A checkbox is on or absent; anything else is refused at its field, and not taken for off.
func TestCheckboxIsOnOrAbsent(t *testing.T) {
	c := started(t)
	form := c.form("/ha/general")
	form.Set("do", "update")
	form.Set("general.active", "xyz")
	r, page := c.post("/ha/general", form)
	if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(page.Find("#error-summary").Text(), "neither on nor off") {
		t.Errorf("answers %d: %q", r.StatusCode, page.Find("#error-summary").Text())
	}
	if latest, err := c.db.Latest(context.Background()); err != nil || latest.Revision != 1 {
		t.Errorf("revision %d was saved, %v", latest.Revision, err)
	}
}
