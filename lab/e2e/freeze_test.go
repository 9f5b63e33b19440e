package e2e

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// TestFreeze: a is paused, b takes over, a is thawed. A client inside a that posts all the while gets no acknowledgement that is not on b's
// volume, and soon a holds no address, mount or service.
func TestFreeze(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{{"machine", nil}, {"userland", []string{"--userland"}}} {
		t.Run(c.name, func(t *testing.T) {
			l := upLab(t)
			l.settle(t, "a")
			w := l.startWriter(t, "a", "http://127.0.0.1:8080/entries")
			l.await(t, 20*time.Second, "the client inside a writes", growing(t, w))
			began := time.Now()
			l.do(t, append([]string{"freeze", "a"}, c.args...)...)
			l.is(t, 30*time.Second, "b", "takes over from the frozen node", serving)
			t.Logf("b serves %.1f s after the freeze", time.Since(began).Seconds())
			l.do(t, "thaw", "a")
			thawed := time.Now()
			l.is(t, 30*time.Second, "a", "holds nothing", func(s control.Status) bool {
				return s.State != "master" && !anyHeld(s) && s.Volumes[0].Mount == nil && s.Volumes[0].Role == "Secondary"
			})
			t.Logf("a holds nothing %.2f s after the thaw", time.Since(thawed).Seconds())
			if out := l.in(t, "a", "cat", "/proc/mounts"); strings.Contains(out, "/srv/data") {
				t.Errorf("still mounted on a:\n%s", out)
			}
			l.settle(t, "b")
			acked := w.stop(t)
			mustHold(t, l.entries(t), acked)
		})
	}
}
