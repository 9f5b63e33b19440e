package sim

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var (
	states = flag.Int("states", 40_000, "how many different worlds the exhaustive search visits, breadth first")
	walks  = flag.Int("walks", 2_500, "how many random histories are walked")
	steps  = flag.Int("steps", 60, "events in each random history")
	seed   = flag.Uint64("seed", 1, "of the random histories")
)

// key names a world for the search; two worlds with one key behave alike.
func key(w *World) [32]byte {
	h := sha256.New()
	fmt.Fprint(h, w.linked, w.source, w.todo, w.values)
	for i := range w.n {
		n := &w.n[i]
		h.Write(n.state.Encode())
		fmt.Fprint(h, n.cur, n.stable, n.bits, n.hot, n.up, n.stale, n.begun)
		if n.image != nil {
			h.Write(n.image.state.Encode())
			fmt.Fprint(h, n.image.cur, n.image.bits, n.image.traced)
		}
	}
	return [32]byte(h.Sum(nil))
}

type visited struct {
	world World
	trail string
}

// TestEveryShortHistory walks every history breadth first until the bound on worlds is reached (promise 3, proof 1 of 40-replication).
func TestEveryShortHistory(t *testing.T) {
	queue := []visited{{world: connected(t)}}
	seen := map[[32]byte]bool{}
	depth := 0
	for len(queue) > 0 && len(seen) < *states {
		at := queue[0]
		queue = queue[1:]
		depth = strings.Count(at.trail, "\n")
		for _, e := range Events {
			next := at.world.clone()
			err := e.Do(&next)
			if errors.Is(err, errIllegal) {
				continue
			}
			if err != nil {
				t.Fatalf("%v\nafter:\n%s%s\n%v", err, at.trail, e.Name, &next)
			}
			if k := key(&next); !seen[k] {
				seen[k] = true
				queue = append(queue, visited{next, at.trail + e.Name + "\n"})
			}
		}
	}
	t.Logf("%d worlds, all histories of up to %d events after the first sync", len(seen), depth)
}

// connected is the world after the first full sync, node a primary.
func connected(t *testing.T) World {
	w := NewWorld()
	for _, name := range []string{"promote a", "write a 0 done", "contact ", "sync 0", "sync 1", "finish "} {
		if err := do(&w, name); err != nil {
			t.Fatalf("%s: %v\n%v", name, err, &w)
		}
	}
	return w
}

func do(w *World, name string) error {
	for _, e := range Events {
		if e.Name == name {
			return e.Do(w)
		}
	}
	return fmt.Errorf("there is no event %q", name)
}

// TestLongHistories walks random histories, from the blank disks on.
func TestLongHistories(t *testing.T) {
	did := map[string]int{}
	for walk := range *walks {
		chance := rand.New(rand.NewPCG(*seed, uint64(walk)))
		w := NewWorld()
		var trail []string
		for range *steps {
			e, next, err := pick(chance, &w)
			if len(next.values) > 200 {
				break
			}
			trail = append(trail, e.Name)
			if err != nil {
				t.Fatalf("seed %d walk %d: %v\nafter:\n%s\n%v", *seed, walk, err, strings.Join(trail, "\n"), &next)
			}
			did[e.Name]++
			w = next
		}
	}
	for _, e := range Events {
		if did[e.Name] == 0 {
			t.Errorf("the event %q never happened: the walk proves nothing about it", e.Name)
		}
	}
}

// pick does one legal event; each third time it prefers those that bring the nodes together again.
func pick(chance *rand.Rand, w *World) (Event, World, error) {
	together := chance.IntN(3) == 0
	for try := 0; ; try++ {
		e := Events[chance.IntN(len(Events))]
		kind, _, _ := strings.Cut(e.Name, " ")
		if together && try < 200 && !slices.Contains([]string{"contact", "sync", "finish", "start", "promote"}, kind) {
			continue
		}
		next := w.clone()
		if err := e.Do(&next); !errors.Is(err, errIllegal) {
			return e, next, err
		}
	}
}

// TestFound replays the histories in which the check once found a fault, each named after what was wrong.
func TestFound(t *testing.T) {
	for name, trail := range map[string]string{
		"a crashed primary's cache was preferred to the survivor": "promote a,contact ,sync 0,sync 1,finish ,write a 0 done,write a 0 local," +
			"crash-lose a,start a,contact ",
		"a forced promotion was forgotten before its first write": "contact source,force b,demote b,promote b,write b 1 done,promote a,demote b,revoke a,contact source",
		"a forced primary overwrote the survivor unasked": "promote a,contact ,sync 0,sync 1,finish ,write a 0 done,crash-lose a,start a,force a," +
			"contact ",
		"a source wrote alone under a name that the target held": "contact ,sync 0,sync 1,finish ,promote b,write b 0 peer,contact source,permit b,write b 0 done," +
			"promote a,permit a,write a 0 done,demote b,contact ",
		"a replaced disk was taken for an older copy of itself": "contact ,crash a,blank a,start a,force a,write a 0 done,revoke a,contact source,crash a,start a,contact ",
		"a half-finished target counted as past of its source": "promote a,contact ,sync 0,sync 1,finish ,image b,flush a,crash b,revert b,start b,contact ," +
			"write a 1 local,force b,write b 0 done,crash-lose a,start a,contact ",
	} {
		w, happened := NewWorld(), 0
		for event := range strings.SplitSeq(trail, ",") {
			switch err := do(&w, event); {
			case err == nil:
				happened++
			case !errors.Is(err, errIllegal): // what the rules refuse today is no fault
				t.Errorf("%s: %s: %v\n%v", name, event, err, &w)
			}
		}
		if happened < 4 {
			t.Errorf("%s: only %d events could happen: the history proves nothing", name, happened)
		}
	}
}
