package lab

import (
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
)

func TestParseWhat(t *testing.T) {
	for what, want := range map[string]string{
		"lan": "a:lan b:lan", "serial": "serial", "a:lan": "a:lan", "b:sync": "b:sync", "a:serial": "serial",
		"a:all": "a:lan a:wan a:sync serial", "all": "a:lan a:wan a:sync b:lan b:wan b:sync serial",
	} {
		cables, serial, err := parseWhat(what)
		var got []string
		for _, c := range cables {
			got = append(got, c.String())
		}
		if serial {
			got = append(got, "serial")
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s means %q (%v), not %s", what, got, err, want)
		}
	}
	for _, what := range []string{"", "a", "a:", ":lan", "c:lan", "lan:a", "a:a:lan", "LAN", "client:lan"} {
		if cables, serial, err := parseWhat(what); err == nil {
			t.Errorf("%q means %v %t", what, cables, serial)
		}
	}
}

func TestRules(t *testing.T) {
	f := newFaults()
	if r := f.rules(); strings.Contains(r, "drop") {
		t.Errorf("sound cables drop: %s", r)
	}
	f.cut([]cableID{{"a", "lan"}}, false, "a")
	f.cut([]cableID{{"b", "wan"}}, true, "")
	f.cables[cableID{"a", "sync"}].Loss = 2.5
	f.loss["wan"] = 30
	f.frozen["b"] = true
	r := f.rules()
	for _, want := range []string{
		`oifname "a-lan" drop`, `iifname "b-wan" drop`, `oifname "b-wan" drop`, `iifname "b-sync" drop`,
		`iifname "a-sync" numgen random mod 10000 < 250 drop`, `iifname "client-wan" numgen random mod 10000 < 3000 drop`, `oifname "b-wan" numgen random mod 10000 < 3000 drop`,
	} {
		if !strings.Contains(r, want) {
			t.Errorf("the rules lack %s:\n%s", want, r)
		}
	}
	if strings.Contains(r, `iifname "a-lan"`) {
		t.Errorf("a one-way cut drops both ways:\n%s", r)
	}
	f.join([]cableID{{"a", "lan"}, {"a", "sync"}})
	if r := f.rules(); strings.Contains(r, `"a-lan"`) || !strings.Contains(r, `"a-sync"`) {
		t.Errorf("join ends cuts and leaves loss:\n%s", r)
	}
}

func TestChangesOfACloneStayInIt(t *testing.T) {
	f := newFaults()
	c := f.clone()
	c.loss["wan"], c.frozen["a"] = 30, true
	c.cut([]cableID{{"a", "lan"}}, false, "")
	if r := f.rules(); strings.Contains(r, "drop") || f.cables[cableID{"a", "lan"}].Cut {
		t.Errorf("the faults follow their clone: %s", r)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"16M": 16 << 20, "256M": 256 << 20, "1G": 1 << 30, "1GiB": 1 << 30, "33554432": 32 << 20, "20480k": 20 << 20} {
		if got, err := parseSize("--volume-size", s); err != nil || got != want {
			t.Errorf("%s is %d (%v), not %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "M", "1M", "-1G", "1T", "9999999999G", "1.5G", "1GG", "G1", "0"} {
		if got, err := parseSize("--volume-size", s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}

func TestPairSettingsAreValid(t *testing.T) {
	limits := ha.Limits{BackingPrefixes: []string{disksPath}, MountPrefixes: []string{"/srv"}, Catalogue: []string{"echo", "guestbook"}}
	for _, o := range []Options{
		{Profile: "standard", VolumeSize: 256 << 20}, {Profile: "fast", VolumeSize: 256 << 20, Scratch: 256 << 20},
		{Profile: "cautious", VolumeSize: 256 << 20}, {Profile: "standard"},
	} {
		s := pairSettings(o)
		if wrong := s.Validate(limits); len(wrong) > 0 {
			t.Errorf("%+v: %v", o, wrong)
		}
		if s.Heartbeat.BootWait != bootWait {
			t.Errorf("%+v: boot wait %s, not %s", o, s.Heartbeat.BootWait, bootWait)
		}
	}
}

func TestLineTimes(t *testing.T) {
	if d := lineTime(960, 9600); d != time.Second {
		t.Errorf("960 bytes at 9600 baud take %s", d)
	}
	for baud, want := range map[int]int{1200: 1, 9600: 3, 115200: 46} {
		if n := chunk(baud, 64); n != want {
			t.Errorf("at %d baud the relay moves %d bytes at once, not %d", baud, n, want)
		}
	}
	p := []byte("unchanged")
	disturb(p, 0)
	if string(p) != "unchanged" {
		t.Errorf("no noise makes %q", p)
	}
}
