package engine

import (
	"testing"

	"evenkeel/ha"
	"evenkeel/ha/heart"
)

// refusedNow is what the engine says after heart counted n refusals on a link in that state.
func refusedNow(e *engine, state ha.LinkState, why string, n uint64) []ha.Condition {
	e.heart.report.Facts.Links = []ha.LinkFact{{Name: "lan", State: state}}
	e.foreign.follow(map[string]heart.Counters{"lan": {Refused: map[string]uint64{why: n}}}, now())
	return e.refusedConditions()
}

func TestRefusedBeatsAreNamedWhereThePeerIsNotHeard(t *testing.T) {
	for _, c := range []struct {
		name  string
		state ha.LinkState
		why   string
		n     uint64
		want  int
	}{
		{"another cluster on a quiet link", ha.LinkQuiet, "cluster", 3, 1},
		{"another cluster beside the peer", ha.LinkUp, "cluster", 3, 0},
		{"noise is only counted", ha.LinkQuiet, "malformed", 3, 0},
		{"nothing refused", ha.LinkQuiet, "key", 0, 0},
	} {
		if got := refusedNow(&engine{}, c.state, c.why, c.n); len(got) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	e := &engine{}
	refusedNow(e, ha.LinkQuiet, "cluster", 3)
	e.foreign.last["lan"]["cluster"] -= refusedShown + 1
	if got := refusedNow(e, ha.LinkQuiet, "cluster", 3); len(got) != 0 {
		t.Errorf("a condition stays after the last refused beat: %v", got)
	}
}
