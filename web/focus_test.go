package web_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"evenkeel/ha/control"
)

// browser is a browser of this test's own. It is a slow test's: make test runs them, make check (-short) does not.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()))
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	return ctx
}

// TestLiveAroundTheFocus clicks into what is live, in a real browser: it goes on, and the focus stays where it was.
func TestLiveAroundTheFocus(t *testing.T) {
	e := newEngine(healthy())
	e.peer = healthyPeer()
	c := start(t, e)
	ctx := browser(t)
	must(t, chromedp.Do(ctx, command(network.Enable, network.EnableParams{}), command(network.ClearBrowserCookies, cdp.Empty{}), chromedp.Navigate(c.base+"/signin"), c.enter()))
	tab := tab{t: t, ctx: ctx}

	tab.shows("#links tr[data-row=wan] [data-state=ok]")
	tab.focus("#links .scroll")
	e.set(func(e *engine) { e.status.Links[2].State = "quiet" })
	tab.shows("#links tr[data-row=wan] [data-state=warning]")
	tab.shows("#links .scroll:focus")

	e.set(func(e *engine) { e.status.Links = e.status.Links[:2] })
	tab.shows("#links:not(:has(tr[data-row=wan])) .scroll:focus")

	e.set(func(e *engine) { split(&e.status) })
	tab.shows("#conditions a")
	tab.focus(`#conditions a[href="/ha/tools#split-brain"]`)
	e.set(func(e *engine) {
		e.status.Conditions = append([]control.Condition{conditions("A link is quiet.")[0]}, e.status.Conditions...)
		e.status.Conditions[0].Severity = e.status.Conditions[1].Severity // it stands first
	})
	tab.shows(`#conditions [data-condition="link.quiet"]`)
	tab.shows(`#conditions a[href="/ha/tools#split-brain"]:focus`)

	e.set(func(e *engine) { e.status.Conditions = nil })
	tab.shows("#conditions:not(:has(li))")
}

// TestStepsOnATelephone: on a narrow page a step's name and its time stay in their column, in a real browser.
func TestStepsOnATelephone(t *testing.T) {
	e := newEngine(healthy())
	e.peer = healthyPeer()
	for _, name := range []string{"services before the address", "addresses", "unmount"} {
		e.outcome.Steps = append(e.outcome.Steps, control.Step{Name: name, State: "waiting", MS: ptr(int64(142))})
	}
	c := start(t, e)
	ctx := browser(t)
	must(t, chromedp.Do(ctx, view(360, "light"), chromedp.Navigate(c.base+"/signin"), c.enter(), chromedp.Navigate(c.base+"/ha/tools/release"), chromedp.WaitVisible(chromedp.CSS(".steps li"))))
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[string](`[...document.querySelectorAll(".steps li > *")].filter(x => x.scrollWidth > x.clientWidth + 1 && getComputedStyle(x).display !== "inline" || x.matches("span:not(.badge)") && x.getBoundingClientRect().width < 60).map(x => x.textContent + ": " + x.getBoundingClientRect().width + " px").join("; ")`))
	must(t, err)
	if wide != "" {
		t.Errorf("on 360 px these have no room: %s", wide)
	}
	if folder := os.Getenv("EVENKEEL_SCREENS"); folder != "" {
		must(t, chromedp.Do(ctx, picture(folder, "steps", "phone")))
	}
}

// tab is a page in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func (b tab) evaluate(script string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
	must(b.t, err)
	return s
}

func (b tab) focus(selector string) {
	b.t.Helper()
	if b.evaluate(fmt.Sprintf(`document.querySelector(%[1]q).focus(); String(document.activeElement === document.querySelector(%[1]q))`, selector)) != "true" {
		b.t.Fatalf("%s takes no focus", selector)
	}
}

// shows waits until the page has an element that matches.
func (b tab) shows(selector string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if b.evaluate(fmt.Sprintf("String(document.querySelector(%q) !== null)", selector)) == "true" {
			return
		}
	}
	b.t.Errorf("the page never shows %s: %s", selector, b.evaluate("document.activeElement.outerHTML.slice(0, 200) + document.body.innerText"))
}
