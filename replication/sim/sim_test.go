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
	states = flag.Int("states", 60_000, "how many different worlds the exhaustive search visits, breadth first")
	walks  = flag.Int("walks", 3_000, "how many random histories are walked")
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
