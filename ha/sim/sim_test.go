package sim

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var (
	seeds = flag.Int("seeds", 160, "how many seeded stories are played")
	base  = flag.String("base", "", "play the seeds with these kinds of pair only, by comma: two, wild, and the words of a scenario's pair")
	seed  = flag.Uint64("seed", 0, "play this one story and print it")
)

// options spreads the kinds of pair over the seeds.
func options(s uint64) Options {
	o := Standard(s)
	switch s % 8 {
	case 1, 2:
		o = Fast(s)
	case 3:
		o.NoVolume = true
	case 4:
		o.NoVolume, o.Availability = true, true
	case 5:
		o.FailMount = 0.3
	case 7:
		o.Wild, o.Two = true, s%16 == 15
	}
	if *base != "" {
		words := strings.Split(*base, ",")
		o = pairOptions(words)
		o.Seed, o.Wild = s, slices.Contains(words, "wild")
		if s%4 == 3 {
			o.FailMount = 0.2
		}
	}
	return o
}

// TestSeeds plays seeded stories of faults; none may break a "never" rule, and after every repair one node must serve.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		w := RunSeed(options(*seed))
		fmt.Println(strings.Join(w.Log, "\n"))
		for _, p := range w.Problems {
			t.Error(p)
		}
		return
	}
	failed := 0
	for s := uint64(1); s <= uint64(*seeds); s++ {
		w := RunSeed(options(s))
		if len(w.Problems) > 0 {
			failed++
			t.Errorf("seed %d: %s\n  replay: go test ./ha/sim -run TestSeeds -v -seed %d", s, strings.Join(w.Problems, "; "), s)
			if failed >= 10 {
				t.FailNow()
			}
		}
	}
}
