package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"evenkeel/ha/control"
)

// consolePages are the eight pages, as the navigation names them, with something that only that page has.
var consolePages = []struct{ path, name, has string }{
	{"/ha/status", "status", "#sentence[data-sentence=ok]"},
	{"/ha/general", "general", "#f-general-active"},
	{"/ha/heartbeat", "heartbeat", "#f-heartbeat-dead-time"},
	{"/ha/replication", "replication", "#f-replication-rate"},
	{"/ha/addresses", "addresses", "#f-addresses-0-address"},
	{"/ha/services", "services", "#f-services-0-name"},
	{"/ha/logs", "logs", "#filter"},
	{"/ha/tools", "tools", "#make-slave"},
}

// TestBrowser goes through both consoles of a real pair with a real browser, with and without JavaScript.
func TestBrowser(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	chromium := startChromium(t)
	t.Run("every page", func(t *testing.T) { l.testPages(t, l.open(t, chromium, "a", true)) })
	for _, mode := range []struct {
		name   string
		script bool
	}{{"with JavaScript", true}, {"without JavaScript", false}} {
		t.Run(mode.name, func(t *testing.T) {
			a, b := l.open(t, chromium, "a", mode.script), l.open(t, chromium, "b", mode.script)
			a.signIn(t)
			b.signIn(t)
			t.Run("time-out", func(t *testing.T) { l.testTimeOut(t, a) })
			t.Run("virtual address", func(t *testing.T) { l.testVirtualAddress(t, a) })
			t.Run("logs", func(t *testing.T) { l.testLogPage(t, a) })
			if mode.script {
				t.Run("web", func(t *testing.T) { l.testWebKill(t, a) })
			}
			t.Run("switch-over", func(t *testing.T) { l.testButtons(t, a) })
			t.Run("kill", func(t *testing.T) { l.testWatchKill(t, b) })
			b.complains.none(t)
			b.click(t, "#sign-out", "#sign-in-button")
		})
		if t.Failed() {
			return
		}
	}
}

// testPages opens every page through the navigation in light, in dark and on a telephone, and leaves a picture of each.
func (l *lab) testPages(t *testing.T, b *browser) {
	b.signIn(t)
	b.shows(t, 10*time.Second, "#sentence[data-sentence=ok]")
	grounds := map[string]string{}
	for _, look := range []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 360}} {
		b.view(t, look.width, look.scheme)
		for _, p := range consolePages {
			b.menu(t, p.path)
			b.shows(t, 10*time.Second, p.has)
			if s, err := b.evaluate("String(document.documentElement.scrollWidth > document.documentElement.clientWidth)"); err != nil || s != "false" {
				t.Errorf("%s on %d px scrolls sideways", p.path, look.width)
			}
			b.picture(t, p.name+"-"+look.name)
			b.save(t, p.name+"-"+look.name+"-top", chromedp.CaptureScreenshot()) // what is seen without scrolling
		}
		grounds[look.name], _ = b.evaluate("getComputedStyle(document.body).backgroundColor")
	}
	if grounds["light"] == grounds["dark"] {
		t.Errorf("light and dark have the same ground %s", grounds["dark"])
	}
	b.complains.none(t)
}

// testTimeOut enters a time-out that is too short, which changes nothing, and then one that is in force on both nodes.
func (l *lab) testTimeOut(t *testing.T, b *browser) {
	b.menu(t, "/ha/heartbeat")
	was := b.value("#f-heartbeat-dead-time")
	b.fill(t, "#f-heartbeat-profile", "custom")
	b.fill(t, "#f-heartbeat-dead-time", "0.5")
	b.click(t, "#update", "#error-summary")
	if text := b.text("#f-heartbeat-dead-time-error"); !strings.Contains(text, "five intervals") {
		t.Errorf("a time-out of 0.5 s says %q at the field", text)
	}
	if got := b.value("#f-heartbeat-dead-time"); got != "0.5" {
		t.Errorf("what was entered became %q", got)
	}
	for _, n := range []string{"a", "b"} {
		if s, _ := l.status(n); s.Heartbeat.DeadTimeMS != 3000 {
			t.Errorf("%s uses %d ms after a refused form", n, s.Heartbeat.DeadTimeMS)
		}
	}
	b.picture(t, "heartbeat-wrong")
	b.fill(t, "#f-heartbeat-dead-time", "4")
	b.click(t, "#update", "[data-notice=ok]")
	for _, n := range []string{"a", "b"} {
		l.is(t, 10*time.Second, n, "uses the new time-out", func(s control.Status) bool { return s.Heartbeat.DeadTimeMS == 4000 })
	}
	b.fill(t, "#f-heartbeat-profile", "standard")
	b.fill(t, "#f-heartbeat-dead-time", was)
	b.click(t, "#update", "[data-notice=ok]")
	for _, n := range []string{"a", "b"} {
		l.is(t, 10*time.Second, n, "uses Standard again", func(s control.Status) bool { return s.Heartbeat.DeadTimeMS == 3000 })
	}
}

// testVirtualAddress replaces the address on wan by another one, which then answers a client; and back.
func (l *lab) testVirtualAddress(t *testing.T, b *browser) {
	for _, address := range []string{"10.88.2.150", "10.88.2.100"} {
		b.menu(t, "/ha/addresses")
		b.click(t, `button[name=do][value="remove:addresses:1"]`, "[data-unsaved]")
		b.click(t, `button[name=do][value="add:addresses"]`, "#f-addresses-1-address")
		b.fill(t, "#f-addresses-1-address", address+"/24")
		b.fill(t, "#f-addresses-1-device", "wan")
		b.fill(t, "#f-addresses-1-master-address", "10.88.2.1")
		b.fill(t, "#f-addresses-1-slave-address", "10.88.2.2")
		b.click(t, "#update", "[data-notice=ok]")
		l.is(t, 10*time.Second, "a", "holds "+address, func(s control.Status) bool { return holds(s, address) })
		p := l.probe(t, time.Second, address+":7007")()
		if p.Sent-p.Lost == 0 || len(p.AnsweredBy) == 0 || p.AnsweredBy[0].Node != "a" {
			t.Errorf("%s does not answer as a: %+v", address, p)
		}
		b.menu(t, "/ha/addresses")
		b.shows(t, 15*time.Second, `#virtual-addresses tr[data-row="`+address+`/24"] [data-state=ok]`)
	}
}

// testWebKill kills the web process while somebody types: the page comes back to life by itself, and what was typed stands there.
func (l *lab) testWebKill(t *testing.T, b *browser) {
	b.menu(t, "/ha/general")
	b.fill(t, "#f-general-master-address", "10.88.1.77")
	if _, err := b.evaluate(`document.getElementById("bar").dataset.before = "the kill"`); err != nil {
		t.Fatal(err)
	}
	l.do(t, "kill", "a", "web")
	took := b.shows(t, 30*time.Second, ":root:not([data-stale]) #bar:not([data-before])")
	t.Logf("General of a is live again %v after the kill of its web process", took)
	if got := b.value("#f-general-master-address"); got != "10.88.1.77" {
		t.Errorf("what was typed became %q", got)
	}
	b.menu(t, "/ha/status")
	b.shows(t, 10*time.Second, "#sentence[data-sentence=ok]")
}

// holds says whether the kernel holds an address.
func holds(s control.Status, address string) bool {
	for _, a := range s.Addresses {
		if strings.HasPrefix(a.Address, address+"/") {
			return a.Held
		}
	}
	return false
}

// testLogPage filters the log.
func (l *lab) testLogPage(t *testing.T, b *browser) {
	b.menu(t, "/ha/logs")
	b.shows(t, 10*time.Second, "li[data-node=a]")
	b.shows(t, 10*time.Second, "li[data-node=b]")
	b.fill(t, "#f-text", "revision")
	b.click(t, "#filter-button", `li[data-event="settings.applied"]`)
	if s, err := b.evaluate(`String([...document.querySelectorAll("li[data-event]")].filter(e => e.dataset.event !== "settings.applied" && !/revision/i.test(e.innerText)).length)`); err != nil || s != "0" {
		t.Errorf("%s events are shown that do not have the text", s)
	}
}

// testButtons presses the switch-over button of a while a client writes, sees the role on b, and takes it back by the other button.
func (l *lab) testButtons(t *testing.T, b *browser) {
	w := l.startWriter(t, "client", guestbook)
	l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
	for _, press := range []struct{ button, to string }{{"#make-slave", "b"}, {"#make-master", "a"}} {
		b.menu(t, "/ha/tools")
		b.click(t, press.button, "#verdict[data-verdict=ok]")
		b.shows(t, time.Second, "[data-step]")
		b.picture(t, "preview"+press.button[1:])
		began := time.Now()
		b.click(t, "#act", "[data-notice=ok]")
		l.settle(t, press.to)
		b.shows(t, 15*time.Second, ".chip[data-node="+press.to+"][data-role=Master]")
		b.shows(t, 15*time.Second, ".chip[data-node="+other(press.to)+"][data-role=Slave]")
		b.shows(t, 15*time.Second, "#sentence[data-sentence=ok]")
		l.await(t, 20*time.Second, "entries are acknowledged", growing(t, w))
		t.Logf("the button %s: writes paused %v", press.button, longestGap(w.acks(t), began))
		l.await(t, 30*time.Second, "the pair is ready to go back", func() bool { s, up := l.status(other(press.to)); return up && s.Takeover.Possible })
	}
	acked := w.stop(t)
	mustHold(t, l.entries(t), acked)
	b.complains.none(t)
}

// testWatchKill looks at Status of b, touching nothing, while a dies and returns.
func (l *lab) testWatchKill(t *testing.T, b *browser) {
	b.menu(t, "/ha/status")
	b.shows(t, 10*time.Second, "#sentence[data-sentence=ok]")
	l.do(t, "kill", "a")
	took := b.shows(t, 40*time.Second, ".chip[data-node=b][data-role=Master]")
	t.Logf("Status of b shows b as master %v after the kill of a", took)
	b.shows(t, 20*time.Second, "#sentence[data-sentence=critical]")
	b.shows(t, 20*time.Second, `[data-condition="peer.dead"]`)
	if s, _ := b.evaluate(`String(document.querySelector(".chip[data-node=a]").classList.contains("is-ok"))`); s != "false" {
		t.Error("the dead node's lamp is green")
	}
	b.picture(t, "killed")
	l.do(t, "start", "a")
	b.shows(t, 60*time.Second, "#sentence[data-sentence=ok]")
	l.settle(t, "b")
	l.run(t, "--node", "a", "takeover")
	l.settle(t, "a")
	b.shows(t, 20*time.Second, ".chip[data-node=a][data-role=Master]")
}
