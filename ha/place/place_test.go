package place

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"evenkeel/ha"
)

var all = []Service{
	{Name: "guestbook", Placement: ha.MasterSide, Volume: "data", NeedAddress: true},
	{Name: "echo", Placement: ha.Both},
	{Name: "proxy", Placement: ha.SlaveSide},
	{Name: "mail", Placement: ha.SlaveSide, Volume: "data"},
}

func TestHere(t *testing.T) {
	cases := []struct {
		side   ha.Side
		slave  bool
		expect string
	}{
		{ha.MasterSide, true, "[guestbook echo mail]"},
		{ha.MasterSide, false, "[guestbook echo proxy mail]"}, // slave, else master
		{ha.SlaveSide, true, "[echo proxy]"},
		{ha.SlaveSide, false, "[echo proxy]"},
		{"", true, "[]"},
	}
	for _, c := range cases {
		names := []string{}
		for _, s := range Here(all, c.side, c.slave) {
			names = append(names, s.Name)
		}
		if fmt.Sprint(names) != c.expect {
			t.Errorf("on %q, slave %v: %v, not %s", c.side, c.slave, names, c.expect)
		}
	}
}

func TestStart(t *testing.T) {
	cases := []struct {
		name   string
		in     []Service
		expect string
	}{
		{"none", nil, "{[] []}"},
		{"together", []Service{{Name: "b"}, {Name: "a"}}, "{[[a b]] []}"},
		{"chain", []Service{{Name: "a", After: []string{"b"}}, {Name: "b", After: []string{"c"}}, {Name: "c"}}, "{[[c] [b] [a]] []}"},
		{"not here", []Service{{Name: "a", After: []string{"gone"}}}, "{[[a]] []}"},
		{"after the address", []Service{{Name: "a", AfterAddress: true}, {Name: "b"}}, "{[[b]] [[a]]}"},
		{"drawn after it", []Service{{Name: "a", AfterAddress: true}, {Name: "b", After: []string{"a"}}, {Name: "c", After: []string{"b"}}}, "{[] [[a] [b] [c]]}"},
		{"circle", []Service{{Name: "a", After: []string{"b"}}, {Name: "b", After: []string{"a"}}}, "{[[a] [b]] []}"},
		{"itself", []Service{{Name: "a", After: []string{"a"}}}, "{[[a]] []}"},
	}
	for _, c := range cases {
		if got := fmt.Sprint(Start(c.in)); got != c.expect {
			t.Errorf("%s: %s, not %s", c.name, got, c.expect)
		}
	}
	after, before := Start(cases[5].in).Stop()
	if fmt.Sprint(after, before) != "[[c] [b] [a]] []" {
		t.Errorf("stop: %v %v", after, before)
	}
}

// Every service stands in the order once, and without circles after what it waits for.
func TestOrderHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "n")
		var in []Service
		for i := range n {
			s := Service{Name: fmt.Sprint(i), AfterAddress: rapid.Bool().Draw(t, "late")}
			for range rapid.IntRange(0, i).Draw(t, "after") {
				s.After = append(s.After, fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "of")))
			}
			in = append(in, s)
		}
		o := Start(in)
		at := map[string]int{}
		for i, layer := range append(append([][]string{}, o.Before...), o.After...) {
			for _, name := range layer {
				if _, twice := at[name]; twice {
					t.Fatalf("%s stands twice", name)
				}
				at[name] = i
			}
		}
		if len(at) != n {
			t.Fatalf("%d of %d services are in the order", len(at), n)
		}
		for _, s := range in {
			for _, a := range s.After {
				if at[a] >= at[s.Name] {
					t.Fatalf("%s starts in layer %d, %s after it in %d", a, at[a], s.Name, at[s.Name])
				}
			}
		}
	})
}
