package e2e

import (
	"context"
	"encoding/json"
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
)

// browser is one tab of a real chromium that looks at the console of one node.
type browser struct {
	ctx       context.Context
	lab       *lab
	base      string // https://127.0.0.1:PORT of the console
	complains *complaints
}

// stepLimit bounds one step in the browser: a page load, a click, a field.
const stepLimit = time.Minute

// startChromium starts a browser with a folder of its own, which ends with the test; a tab is opened from its context.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	return ctx
}

// open opens a tab for the console of a node, with or without JavaScript; nobody is signed in.
func (l *lab) open(t *testing.T, chromium context.Context, node string, script bool) *browser {
	t.Helper()
	b := &browser{lab: l, base: l.console(t, node), complains: &complaints{}}
	ctx, end := chromedp.NewContext(chromium, chromedp.WithListener(b.complains.note))
	t.Cleanup(end)
	b.ctx = ctx
	// The first steps make the tab, which lives as long as their context: no deadline here.
	if err := chromedp.Do(ctx, command(cdplog.Enable, cdp.Empty{}), command(network.Enable, network.EnableParams{}), command(network.ClearBrowserCookies, cdp.Empty{}),
		command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script})); err != nil {
		t.Fatalf("chromium opens no tab: %v", err)
	}
	b.view(t, 1280, "light")
	return b
}

// console is the address of a node's console, as the lab says it.
func (l *lab) console(t *testing.T, node string) string {
	t.Helper()
	var s struct {
		Nodes []struct{ Node, Console string }
	}
	if err := json.Unmarshal([]byte(l.do(t, "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if n.Node == node {
			return n.Console
		}
	}
	t.Fatalf("lab status names no console of %s", node)
	return ""
}

// do carries steps out; each must end within stepLimit.
func (b *browser) do(t *testing.T, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		text, _ := b.evaluate(`location.href + "\n" + document.body.innerText`)
		t.Fatalf("browser: %s: %v\nthe page: %s", what, err, text)
	}
}

// view sets width and colour scheme.
func (b *browser) view(t *testing.T, width int64, scheme string) {
	t.Helper()
	b.do(t, "view", command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 600}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// goTo loads a page by its address.
func (b *browser) goTo(t *testing.T, path string) {
	t.Helper()
	b.do(t, "load "+path, chromedp.Navigate(b.base+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// click clicks on what leads to another page, and waits until that page is there and shows until.
func (b *browser) click(t *testing.T, selector, until string) {
	t.Helper()
	b.do(t, "click "+selector+", wait for "+until, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
		return err
	}), chromedp.WaitReady(chromedp.CSS(until)))
}

// menu goes to a page through the navigation, which is in a drawer on a narrow screen.
func (b *browser) menu(t *testing.T, path string) {
	t.Helper()
	if s, err := b.evaluate("String(innerWidth < 900)"); err == nil && s == "true" {
		b.do(t, "open the drawer", chromedp.Click(chromedp.CSS(".drawer")))
	}
	b.click(t, fmt.Sprintf("a[data-nav=%q]", path), fmt.Sprintf("a[data-nav=%q][aria-current=page]", path))
}

// fill sets a field's value.
func (b *browser) fill(t *testing.T, selector, value string) {
	t.Helper()
	b.do(t, "fill "+selector, chromedp.SetValue(chromedp.CSS(selector), value))
}

// signIn signs in: a wrong password is refused with a message, the right one leads to Status.
func (b *browser) signIn(t *testing.T) {
	t.Helper()
	b.goTo(t, "/")
	b.fill(t, "#name", "admin")
	b.fill(t, "#password", "wrong")
	b.click(t, "#sign-in-button", "#sign-in-error")
	b.fill(t, "#name", "admin")
	b.fill(t, "#password", b.lab.password)
	b.click(t, "#sign-in-button", "#sentence")
}

// evaluate runs an expression in the page; it works without the page's own scripts too.
func (b *browser) evaluate(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string](expression))
}

// value is what stands in a field.
func (b *browser) value(selector string) string {
	s, _ := b.evaluate(fmt.Sprintf("document.querySelector(%q)?.value ?? ''", selector))
	return s
}

// text is the visible text of the first element that matches; "" if there is none.
func (b *browser) text(selector string) string {
	s, _ := b.evaluate(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
	return s
}

// shows waits, without touching the page, until it has an element that matches.
func (b *browser) shows(t *testing.T, d time.Duration, selector string) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < d {
		if s, err := b.evaluate(fmt.Sprintf("String(document.querySelector(%q) !== null)", selector)); err == nil && s == "true" {
			return time.Since(began)
		}
		time.Sleep(pollEvery)
	}
	text, _ := b.evaluate(`location.href + "\n" + document.body.innerText`)
	t.Fatalf("not within %v: the page shows %s; it shows: %s", d, selector, text)
	return 0
}

// picture saves the whole page below out/screens, to be looked at.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	b.save(t, name, chromedp.FullScreenshot(100))
}

// save saves what take takes below out/screens.
func (b *browser) save(t *testing.T, name string, take chromedp.Action[[]byte]) {
	t.Helper()
	b.do(t, "picture "+name, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		image, err := take(ctx, target)
		if err != nil {
			return err
		}
		folder := filepath.Join("..", "..", "out", "screens")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, "real-"+name+".png"), image, 0o644)
	}))
}

// command makes an action of a protocol command.
func command[P, R any](c cdp.Command[P, R], p P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, p)
		return err
	})
}

// complaints gathers what the browser complains about: exceptions, refused by the policy, not found. A form that is refused is none, nor is
// the live stream of a console that the test kills.
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
		if strings.Contains(e.Entry.URL, "/live?") && strings.Contains(e.Entry.Text, "ERR_CONNECTION") {
			return
		}
		if refused := fmt.Sprint(http.StatusUnprocessableEntity); !strings.Contains(e.Entry.Text, refused) && !strings.Contains(e.Entry.Text, fmt.Sprint(http.StatusUnauthorized)) {
			c.list = append(c.list, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// none fails the test if there is a complaint.
func (c *complaints) none(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(c.list, "\n"))
	}
}
