package web_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// shot is one page to look at: what the engine says, where, and what to post there.
type shot struct {
	name, path string
	status     func(*control.Status)
	peerAway   bool
	press      string // a selector that is clicked after the fields are filled
	fill       map[string]string
	dry        *control.Outcome // what a dry run says; nil = it can be done
}

// shots is the storybook: each page in order, and the pair in trouble.
var shots = []shot{
	{name: "status", path: "/ha/status"},
	{name: "general", path: "/ha/general"},
	{name: "heartbeat", path: "/ha/heartbeat"},
	{name: "replication", path: "/ha/replication"},
	{name: "addresses", path: "/ha/addresses"},
	{name: "services", path: "/ha/services"},
	{name: "logs", path: "/ha/logs?follow=on"},
	{name: "tools", path: "/ha/tools"},
	{name: "resync", path: "/ha/status", status: resyncing},
	{name: "alone", path: "/ha/status", status: alone, peerAway: true},
	{name: "split", path: "/ha/status", status: split},
	{name: "split-tools", path: "/ha/tools", status: split},
	{name: "split-resolve", path: "/ha/tools/resolve/data", status: split},
	{name: "blocked", path: "/ha/status", status: blocked, peerAway: true},
	{name: "preview", path: "/ha/tools/release"},
	{name: "force", path: "/ha/tools/takeover?force=on", status: blocked},
	{name: "nothing", path: "/ha/tools/takeover", dry: &control.Outcome{Code: "already_master", Text: "This node is the running master already."}},
	{name: "refused", path: "/ha/tools/takeover?force=on", status: blocked, dry: &control.Outcome{Code: "disk_failed", Blockers: []ha.Blocker{{Code: "disk_failed", Text: ha.ReasonDiskFailed.Text()}}}},
	{name: "backing", path: "/ha/replication", status: backing},
	{name: "backing-status", path: "/ha/status", status: backing},
	{name: "wrong", path: "/ha/heartbeat", press: "#update", fill: map[string]string{"#f-heartbeat-dead-time": "0.5", "#f-heartbeat-cluster-id": "64"}},
}

func resyncing(s *control.Status) {
	v := &s.Volumes[0]
	v.PeerDisk, v.Connection, v.OutOfSyncBytes = "Inconsistent", "SyncSource", 61<<20
	v.Resync = &control.Resync{Percent: 76.4, RateBytes: 48_000_000, SecondsLeft: ptr(int64(2))}
	s.Conditions = []control.Condition{{Condition: ha.Condition{Code: "replication.resyncing", Severity: ha.Warning, Side: "peer", Text: "b catches up: 64 MB of volume data are missing there.", Remedy: "Wait: until it is done b cannot take over."}, Since: time.Now()}}
}

func backing(s *control.Status) {
	text := "volume data: the settings name another backing device, /var/lib/evenkeel/disks/mistyped.img, that cannot be used (cannot open the disk: stat /var/lib/evenkeel/disks/mistyped.img: no such file or directory): the one in use stays, until the next start"
	s.Volumes[0].Reason = &text
	s.Conditions = []control.Condition{
		{Condition: ha.Condition{Code: "volume.backing", Severity: ha.Warning, Side: "local", Text: ha.Sentence("V" + text[1:]), Remedy: "Correct the backing device on Disk Replication, or mark the new disk as this volume's (volume create); a switch-over lets a master use it."}, Since: time.Now()},
		{Condition: ha.AddressConflictCondition("10.88.1.100/24", "02:00:00:00:00:99"), Since: time.Now()},
		{Condition: ha.FlapLimitCondition(), Since: time.Now()},
	}
}

func alone(s *control.Status) {
	s.Attention = true
	s.Peer = control.Peer{Node: "b", Verdict: "dead", LastHeardMS: ptr(int64(48_000))}
	for i := range s.Links {
		s.Links[i].State, s.Links[i].LastHeardMS, s.Links[i].HeardByPeer = "quiet", ptr(int64(48_000)), nil
	}
	s.Links[1].Carrier = ptr(false)
	s.Volumes[0].Connection, s.Volumes[0].PeerDisk, s.Volumes[0].OutOfSyncBytes, s.Volumes[0].Permission = "Connecting", "DUnknown", 3<<20, ptr("peer_dead")
	s.Conditions = []control.Condition{
		{Condition: ha.Condition{Code: "peer.dead", Severity: ha.Critical, Side: "peer", Text: "b is dead: no fresh beat for 48 s, and a whole probe round went unanswered.", Remedy: "Look at the machine b; when it returns it catches up by itself."}, Since: time.Now().Add(-45 * time.Second)},
		{Condition: ha.Condition{Code: "volume.alone", Severity: ha.Warning, Side: "local", Text: "Volume data is written on this node only.", Remedy: "It ends when b is back."}, Since: time.Now().Add(-44 * time.Second)},
	}
}

func split(s *control.Status) {
	s.Volumes[0].SplitBrain, s.Volumes[0].Connection, s.Volumes[0].OutOfSyncBytes = true, "StandAlone", 7<<20
	s.Conditions = []control.Condition{{Condition: ha.Condition{Code: "split_brain", Severity: ha.Critical, Side: "pair", Text: "Volume data: both nodes wrote without each other since generation 3f2a90c1.", Remedy: "Compare what each side holds, then give one history up."}, Since: time.Now()}}
}

func blocked(s *control.Status) {
	s.RunningRole, s.State, s.StateReason = "slave", "blocked", ptr("no_licence")
	s.Peer = control.Peer{Node: "b", Verdict: "unknown"}
	for i := range s.Links {
		s.Links[i].State, s.Links[i].LastHeardMS, s.Links[i].HeardByPeer = "never_heard", nil, nil
	}
	s.Volumes[0] = control.Volume{Name: "data", Role: "Secondary", Disk: "Consistent", PeerDisk: "DUnknown", Connection: "Connecting", Generation: s.Volumes[0].Generation}
	for i := range s.Addresses {
		s.Addresses[i].Held = false
	}
	s.Takeover.Blockers = []ha.Blocker{{Code: "not_up_to_date", Text: "Volume data is Consistent: the other node may hold newer data."}}
}

// TestScreens looks at every page in a real browser, in light, dark and on a telephone's width, and leaves a picture of each. It
// fails when a page breaks the policy or the script throws. It runs when EVENKEEL_SCREENS names the folder for the pictures.
func TestScreens(t *testing.T) {
	folder := os.Getenv("EVENKEEL_SCREENS")
	if folder == "" {
		t.Skip("EVENKEEL_SCREENS names no folder for the pictures")
	}
	must(t, os.MkdirAll(folder, 0o755))
	e := newEngine(healthy())
	c := start(t, e)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true), chromedp.IgnoreCertErrors)
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	var complaints complaints
	ctx, cancel := chromedp.NewContext(allocated, chromedp.WithListener(complaints.note))
	defer cancel()
	must(t, chromedp.Do(ctx, command(cdplog.Enable, cdp.Empty{}), command(network.Enable, network.EnableParams{})))
	looks := []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 360}}
	if only := os.Getenv("EVENKEEL_LOOK"); only != "" {
		for _, l := range looks {
			if l.name == only {
				looks = looks[:0:0]
				looks = append(looks, l)
				break
			}
		}
	}
	for _, look := range looks {
		must(t, chromedp.Do(ctx, command(network.ClearBrowserCookies, cdp.Empty{}), view(look.width, look.scheme), chromedp.Navigate(c.base+"/signin"), picture(folder, "sign-in", look.name)))
		must(t, chromedp.Do(ctx, c.enter()))
		for _, s := range shots {
			if want := os.Getenv("EVENKEEL_SHOT"); want != "" && !strings.HasPrefix(s.name, want) {
				continue
			}
			e.set(func(e *engine) { s.prepare(e) })
			c.awaits(ctx, t, s)
			must(t, chromedp.Do(ctx, append(s.steps(c.base), picture(folder, s.name, look.name))...))
		}
	}
	if text := complaints.String(); text != "" {
		t.Errorf("the browser complains:\n%s", text)
	}
}

// prepare sets what the engine says.
func (s shot) prepare(e *engine) {
	e.status, e.peer = healthy(), healthyPeer()
	if s.status != nil {
		s.status(&e.status)
	}
	if s.peerAway {
		e.peer = nil
	}
	if s.dry != nil {
		e.outcome = *s.dry
		return
	}
	e.outcome = control.Outcome{Done: true, Digest: "d1", ExpectedGapMS: ptr(int64(640)), Steps: []control.Step{
		{Name: "services", State: "waiting", MS: ptr(int64(210))}, {Name: "addresses", State: "waiting", MS: ptr(int64(8))}, {Name: "unmount", State: "waiting", MS: ptr(int64(90))}, {Name: "volumes", State: "waiting", MS: ptr(int64(31))}}}
}

// awaits waits until the console shows what the engine says now.
func (c *console) awaits(ctx context.Context, t *testing.T, s shot) {
	t.Helper()
	want := 0
	fresh := healthy()
	if s.status != nil {
		s.status(&fresh)
	}
	want = len(fresh.Conditions)
	script := fmt.Sprintf(`fetch("/ha/status").then(r => r.text()).then(h => { const d = new DOMParser().parseFromString(h, "text/html"); return d.querySelectorAll("[data-condition]").length === %d && d.querySelector(".bar").dataset.stale === "false" && d.querySelector("[data-node=a]").dataset.role.toLowerCase() === %q })`, want, fresh.State)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		ready, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise))
		must(t, err)
		if ready {
			return
		}
	}
	t.Fatalf("the console does not show %s", s.name)
}

func (s shot) steps(base string) []chromedp.Action[chromedp.Void] {
	list := []chromedp.Action[chromedp.Void]{chromedp.Navigate(base + s.path), chromedp.WaitVisible(chromedp.CSS("h1"))}
	for field, value := range s.fill {
		list = append(list, chromedp.SetValue(chromedp.CSS(field), value))
	}
	if s.press != "" {
		list = append(list, chromedp.Click(chromedp.CSS(s.press)), chromedp.WaitVisible(chromedp.CSS("#error-summary")))
	}
	return list
}

// enter signs in through the form.
func (c *console) enter() chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.SetValue(chromedp.CSS("#name"), "admin"), chromedp.SetValue(chromedp.CSS("#password"), password),
		chromedp.Click(chromedp.CSS("#sign-in-button")), chromedp.WaitVisible(chromedp.CSS("#sentence")))
}

// command makes an action of a protocol command.
func command[P, R any](c cdp.Command[P, R], p P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, p)
		return err
	})
}

func view(width int64, scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 600}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

func picture(folder, name, look string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		image, err := chromedp.FullScreenshot(100)(ctx, target)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, name+"-"+look+".png"), image, 0o644)
	})
}

// complaints gathers what the browser complains about; answers that refuse a form are none.
type complaints struct {
	mu   sync.Mutex
	list []string
}

func (c *complaints) note(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		c.list = append(c.list, e.ExceptionDetails.Text)
	case *cdplog.EventEntryAdded:
		if !strings.Contains(e.Entry.Text, fmt.Sprint(http.StatusUnprocessableEntity)) {
			c.list = append(c.list, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.list, "\n")
}
